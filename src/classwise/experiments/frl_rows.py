"""Trainings and columns that the two FRL papers (Xu et al., arXiv version 1 and ICML 2021) share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from classwise.configuration import replace
from classwise.data import Augmentation, CropFlip, DataSource, Split
from classwise.experiments.base import Column, Training
from classwise.experiments.measures import USUAL, Audited, Quantity
from classwise.models import ModelBuilder
from classwise.objectives import Trades
from classwise.policies import ClassPolicy, Combined, ConstraintRemargin, ConstraintReweight
from classwise.radius import Radius
from classwise.recipes import cifar10, frl
from classwise.selection import BestSum, Last
from classwise.threat import ThreatModel
from classwise.training import TrainConfig

Method = Literal["Reweight", "Remargin", "Reweight+Remargin"]
"""The three options of FRL."""
CROP_FLIP = CropFlip()
METHODS: tuple[Method, ...] = ("Reweight", "Remargin", "Reweight+Remargin")
TRAINED = (
    "Momentum 0.9, weight decay 5e-4 and batches of 128 are usual; the paper names none.",
    "Attacks in training take ten steps of a quarter of the radius; the paper does not say.",
    "Networks that start from nothing count after the last epoch: the ICML text reports errors of the trained model.",
)
"""Assumed of all trainings of both papers."""
CHOSEN = (
    "Which epoch of a repair counts is not said: that with the highest sum of average and worst-class robust accuracy on "
    "validation images."
)


@dataclass(frozen=True)
class Problem:
    """What the trainings of a table have in common.

    All of them hold out the 300 images of each class that FRL judges by, also the networks that it starts from, so that
    nothing is judged by images that it was trained on. The network after the last epoch counts: the ICML text trains "for
    200 epochs" and reports "the trained model's" errors.

    Args:
        name: Beginning of the names of the trainings, unique in both papers.
        data: Data set.
        model: Network.
        threat: What the attacker may do.
        augmentation: Of training images.
    """

    name: str
    data: DataSource
    model: ModelBuilder
    threat: ThreatModel = USUAL
    augmentation: Augmentation = CROP_FLIP

    def natural(self) -> Training:
        """Natural training."""
        return self._training("natural", cifar10.cifar10_prn18_natural())

    def pgd_at(self) -> Training:
        """PGD adversarial training."""
        return self._training("pgd-at", cifar10.cifar10_prn18_pgd_at())

    def trades(self, beta: float) -> Training:
        """TRADES; beta is 1/lambda."""
        return self._training(f"trades-{beta:g}", replace(cifar10.cifar10_prn18_trades(), objective=Trades(beta=beta)))

    def _training(self, name: str, config: TrainConfig) -> Training:
        changed = replace(
            config,
            data=self.data,
            split=Split(fraction=0, at_least=300),
            model=self.model,
            threat=self.threat,
            augmentation=self.augmentation,
            selection=Last(),
        )
        return Training(f"{self.name}-{name}", changed)


def baseline_reweight(start: Training) -> Training:
    """The baseline after Agarwal et al., as printed: the cost of the class with the highest robust error is raised."""
    return Training(f"{start.name}-baseline-reweight", _unguarded(frl.baseline_reweight_paper()), start)


def repaired(
    start: Training, method: Method, slacks: tuple[float, float], whole: TrainConfig | None = None, form: str = ""
) -> Training:
    """FRL from a robust network.

    Args:
        start: The robust network.
        method: What follows the errors: weights, the radius beside weights for the clean error, or all of them.
        slacks: tau_1 of the clean and tau_2 of the boundary error.
        whole: Recipe of Reweight+Remargin that the others are parts of; default ``frl-rmrw``.
        form: Added to the name where a network is repaired by more than one recipe.
    """
    config = whole or frl.frl_rmrw()
    assert isinstance(config.policy, Combined)
    reweight, remargin = config.policy.members
    assert isinstance(reweight, ConstraintReweight)
    assert isinstance(remargin, ConstraintRemargin)
    clean, boundary = slacks
    weights = replace(reweight, slack_clean=clean, slack_boundary=boundary)
    radius = replace(remargin, slack_boundary=boundary)
    policies: dict[Method, ClassPolicy] = {
        "Reweight": weights,
        "Remargin": Combined(members=(replace(weights, rate_boundary=0.0), radius)),
        "Reweight+Remargin": Combined(members=(weights, radius)),
    }
    tau = f"{clean:g}" if clean == boundary else f"{clean:g}-{boundary:g}"
    words = [start.name, "frl", method.lower().replace("+", "-"), tau, form]
    # Nothing but the radius differs between samples, so without Remargin both kinds of steps are the same.
    adversary = frl.FIXED if method == "Reweight" else config.adversary
    changed = replace(config, policy=policies[method], adversary=adversary)
    return Training("-".join(word for word in words if word), _unguarded(changed), start)


def error_columns(clean: str, threat: ThreatModel = USUAL, attacks: str = "pgd-20") -> tuple[Column, ...]:
    """Average and worst-class error without attack, at the boundary, and under attack, each with its own worst class.

    Args:
        clean: What the paper calls the error without attack: "clean" or "standard".
        threat: What the attacker may do.
        attacks: Whose worst case counts.
    """
    errors: dict[str, Quantity] = {clean: "clean", "boundary": "boundary", "robust": "robust"}
    return tuple(
        Column(f"{figure} {title} error", Audited(of, figure, attacks, error=True, threat=threat))
        for title, of in errors.items()
        for figure in ("average", "worst")
    )


def class_columns(
    of: Quantity,
    names: Sequence[str],
    title: str = "{}",
    *,
    error: bool = True,
    threat: ThreatModel = USUAL,
    attacks: str = "pgd-20",
    block: str = "",
    printed: bool = True,
    groups: Sequence[int] = (),
    step: Radius | None = None,
) -> tuple[Column, ...]:
    """A column for each class.

    Args:
        of: What is measured.
        names: What the paper calls the classes.
        title: Name of a column, with ``{}`` for that of the class.
        error: Whether errors or accuracies are shown.
        threat: What the attacker may do.
        attacks: Whose worst case counts.
        block: Block of the columns.
        printed: Whether the paper prints numbers.
        groups: Numbers of the classes; default: in their order, from 0.
        step: Length of PGD's steps; default: a quarter of the radius.
    """
    return tuple(
        Column(title.format(name), Audited(of, "class", attacks, error, group, threat, step), block, printed)
        for group, name in zip(groups or range(len(names)), names, strict=True)
    )


def _unguarded(config: TrainConfig) -> TrainConfig:
    """The best epoch is kept, also where the start was better: a table shows what a method does."""
    return replace(config, selection=BestSum())
