"""The configuration of one training run: a choice on every axis of the loop."""

from __future__ import annotations

from classwise.attacks import PGD, Attack, attack_list
from classwise.averaging import Averaging, NoAveraging
from classwise.configuration import config, replace
from classwise.data import Augmentation, DataSource, Digits, NoAugmentation, Split
from classwise.mixing import Mixing, NoMixing
from classwise.models import ModelBuilder, SmallCNN
from classwise.objectives import AdversarialTraining, Objective
from classwise.perturbation import NoPerturbation, Perturbation
from classwise.policies import ClassPolicy, Uniform
from classwise.radius import Radius
from classwise.repair import NoRepair, Repair
from classwise.selection import BestSum, Selection
from classwise.threat import ThreatModel
from classwise.training.fit import check_fit
from classwise.training.optimizer import SGD, Optimizer
from classwise.training.runtime import Hardware
from classwise.training.schedule import Constant, Schedule


@config
class TrainConfig:
    """Everything that decides what a run computes; saved as ``config.yaml``, from which the run can be repeated."""

    recipe: str = ""
    """Name of the recipe this began as; for the record."""
    start: str = ""
    """Checkpoint the weights start from; empty: random weights."""
    teacher: str = ""
    """Checkpoint of a robust teacher (a run directory or a checkpoint folder), for objectives that learn from one."""
    data: DataSource = Digits()
    """Where images come from."""
    split: Split = Split()
    """Validation images held out of the training set."""
    model: ModelBuilder = SmallCNN()
    """The network."""
    threat: ThreatModel = ThreatModel()
    """What the attacker may do."""
    augmentation: Augmentation = NoAugmentation()
    """Random variants of training images."""
    mixing: Mixing = NoMixing()
    """Mixing of images of a class, before or after the attack."""
    adversary: Attack = PGD()
    """The attack of the training step."""
    objective: Objective = AdversarialTraining()
    """What a step lowers."""
    policy: ClassPolicy = Uniform()
    """What each class's radius and weights are."""
    perturbation: Perturbation = NoPerturbation()
    """Perturbation of weights around a step."""
    averaging: Averaging = NoAveraging()
    """Average of the weights."""
    selection: Selection = BestSum()
    """Which epoch is kept, by validation accuracy."""
    repair: Repair = NoRepair()
    """Change of the selected weights without training, fitted on validation images."""
    optimizer: Optimizer = SGD()
    """Optimiser."""
    schedule: Schedule = Constant()
    """Learning rate over training."""
    epochs: int = 30
    """Passes over the training images; 0 only where a repair without training follows."""
    batch_size: int = 128
    """Images of one step, over all processes."""
    balanced: bool = False
    """Whether every class is drawn equally often in an epoch, and within a class each of its groups."""
    seed: int = 0
    """Seed of weights, order, augmentation and attacks."""
    validation_attack: Attack = attack_list("pgd-10")[0]
    """Attack of the validation pass after each epoch."""
    validation_radius: Radius | None = None
    """Radius of the validation attack, in the threat's norm; default: the threat's own."""
    keep_epochs: tuple[int, ...] = ()
    """Checkpoints kept besides the last two and the selected ones: those after so many epochs."""
    keep_every: int = 0
    """Also keep the checkpoint of every so many epochs; 0: none beyond those above."""
    hardware: Hardware = Hardware()
    """Device, precision, compilation."""

    @property
    def validation_threat(self) -> ThreatModel:
        """What the validation attack may do."""
        return self.threat if self.validation_radius is None else replace(self.threat, radius=self.validation_radius)

    def check(self) -> None:
        """Refuse counts below one, and choices that do not fit together."""
        check_fit(self.objective, self.adversary, self.policy, self.mixing, self.averaging)
        groups = getattr(self.data, "groups", "")
        if groups and self.policy.wants_labels():
            raise ValueError(
                f"policy {self.policy.registered_name!r} compares classes with predictions, so its groups must be the labels: "
                f"leave groups {groups!r} of data {self.data.registered_name!r} out, or use another policy"
            )
        if self.objective.taught != bool(self.teacher):
            name = self.objective.registered_name
            raise ValueError(
                f"objective {name!r} learns from a teacher: name the checkpoint of a robust network as teacher"
                if self.objective.taught
                else f"objective {name!r} learns from no teacher: leave teacher empty"
            )
        try:
            self.validation_threat.check()
        except ValueError as error:
            raise ValueError(f"validation_radius: {error}") from None
        if self.keep_every < 0:
            raise ValueError(f"keep_every {self.keep_every} must be at least 1, or 0 for none")
        repaired = not isinstance(self.repair, NoRepair)
        if self.epochs == 0 and repaired and self.repair.needs_start:
            raise ValueError(
                f"epochs 0 leave repair {self.repair.registered_name!r} nothing to do, which looks at what training changed: "
                "train for an epoch at least, or use another repair"
            )
        if self.epochs < (0 if repaired else 1) or self.batch_size < 1:
            alone = (
                "" if repaired or self.epochs else " (0 epochs are for a repair without training: name one as repair)"
            )
            raise ValueError(f"epochs {self.epochs} and batch_size {self.batch_size} must be at least 1{alone}")
        if not 0 <= self.seed < 1 << 31:
            raise ValueError(f"seed {self.seed} must lie in 0..2147483647")
        if any(not 0 <= kept <= self.epochs for kept in self.keep_epochs):
            raise ValueError(f"keep_epochs {list(self.keep_epochs)} must lie in 0..{self.epochs}")
