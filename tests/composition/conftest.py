"""Every component in one form in which it acts at once, and a world in which a run takes hundredths of a second."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, TrainConfig, linf, registry
from classwise.attacks import PGD
from classwise.configuration import from_plain, replace
from classwise.data import Roles
from classwise.progress import Silent
from classwise.runs import RunDirectory
from classwise.training import SGD, Hardware, Runtime
from classwise.training.loop import Trainer

FIELDS = {
    "objective": "objective",
    "policy": "policy",
    "perturbation": "perturbation",
    "averaging": "averaging",
    "mixing": "mixing",
    "attack": "adversary",
    "selection": "selection",
    "repair": "repair",
}
"""Axis → the field of TrainConfig that holds the choice."""

NULLS = {"policy": "uniform", "perturbation": "none", "averaging": "none", "mixing": "none", "repair": "none"}
"""Axes whose default does nothing: it is no part of any pair."""

FIRSTS = {"objective": ("pgd-at", "natural"), "attack": ("pgd", "friendly-pgd"), "selection": ("best-sum", "last")}
"""The other axes: the default, against which the others are held, and what the default itself is held against."""

AUDIT_ONLY = {
    "apgd": "its step size follows a schedule over a hundred steps: an attack for audits",
    "fab": "looks for the nearest boundary, not for the worst point of a ball: an attack for audits",
    "square": "needs no gradient and thousands of queries: an attack for audits",
}
"""Attacks that no training step runs."""

COMPONENTS: dict[str, dict[str, dict[str, Any]]] = {
    "objective": {
        "natural": {},
        "pgd-at": {},
        "trades": {"divided": True},
        "misclassification-aware": {},
        "variance-regularised": {"alpha": 1.0},
        "robust-distillation": {},
    },
    "policy": {
        "fixed": {"weight": [2.0, 0.5, 0.5]},
        "combined": {"members": [{"name": "calibrated-radius", "begin": 1}, {"name": "kl-dro"}]},
        "kl-dro": {},
        "calibrated-radius": {"begin": 1},
        "calibrated-regularisation": {"begin": 1},
        "error-reweight": {"rate": 1.0},
        "constraint-reweight": {"slack_clean": 0.0, "slack_boundary": 0.0, "rate_clean": 1.0, "rate_boundary": 1.0},
        "constraint-remargin": {"slack_boundary": 0.0, "rate": 1.0, "low": 0.5},
        "hedge": {},
        "similarity-transfer": {"warmup": 1},
        "calibrated-temperature": {},
        "boundary-budget": {"begin": 1, "strength": 0.9},
    },
    "perturbation": {"adversarial-weights": {"gamma": 0.05}},
    "averaging": {"epoch-ema": {}, "step-ema": {}, "gated-ema": {"threshold": 0.05}},
    "mixing": {"gaussian-noise": {}, "same-class-mixup": {}},
    "attack": {
        "pgd": {"steps": 6, "relative_step": 0.5},
        "friendly-pgd": {"steps": 6, "relative_step": 0.5},
        "boundary-balanced-pgd": {"steps": 6, "relative_step": 0.5},
    },
    "selection": {
        "best-sum": {},
        "best-average": {},
        "best-worst": {},
        "last": {},
        "no-worse": {"rule": {"name": "last"}},
    },
    "repair": {"logit-bias": {"rounds": 1}, "last-layer-scale": {"rounds": 1}, "interpolation": {"steps": 2}},
}
"""One form of every component in which it acts from the first or the second step on: no warm-up, no slack."""

EXCUSES = {
    ("attack", name, "objective", "natural"): "natural training runs no attack, whichever is chosen"
    for name in COMPONENTS["attack"]
}
"""(axis, part, other axis, other part) → why the part can leave no trace beside the other."""

CLASSES = 3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a ``part`` is run for every component: (axis, name)."""
    if "part" in metafunc.fixturenames:
        parts = [(axis, name) for axis, names in COMPONENTS.items() for name in names]
        metafunc.parametrize("part", parts, ids=[" ".join(part) for part in parts])


class Net(nn.Module):
    """One convolution with BatchNorm and a linear layer."""

    def __init__(self, classes: int = CLASSES, shape: Sequence[int] = (1, 4, 4)) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * height * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


def patterns(labels: Tensor, shape: Sequence[int] = (1, 4, 4), seed: int = 0, noise: float = 0.6) -> Tensor:
    """Images of random class patterns under noise."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.rand(int(labels.max()) + 1, *shape, generator=torch.Generator().manual_seed(99))
    return (1 - noise) * pattern[labels] + noise * torch.rand(len(labels), *shape, generator=generator)


def images(counts: Sequence[int], seed: int, shape: Sequence[int] = (1, 4, 4), noise: float = 0.6) -> ClassData:
    """So many images of each class."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return ClassData(patterns(labels, shape, seed, noise), labels, tuple(f"class {i}" for i in range(len(counts))))


def warmed(data: ClassData, seed: int, steps: int = 20) -> nn.Module:
    """A network that is right about most images, so that there is something to observe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(data.num_classes, data.shape)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(data.images), data.labels)
        with torch.no_grad():
            weights = list(net.parameters())
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight -= 0.3 * slope
    return net.eval()


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two dictionaries of tensors are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@dataclass
class Outcome:
    """What a run left behind."""

    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    policy: dict[str, Tensor]
    best: dict[str, tuple[float, int]]
    history: list[dict[str, Any]]
    acted: dict[str, int]
    tried: int


def _latest(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Tensor], str, int]:
    """What a repair begins from where no checkpoints are written: the last weights, and none as those of the start."""
    weights = {name: value.clone() for name, value in trainer.state.network.inner.state_dict().items()}
    return weights, {name: torch.zeros_like(value) for name, value in weights.items()}, "raw", trainer.state.epochs_done


class Laboratory:
    """Builds configurations of named parts and runs them, each once."""

    fields, table, excuses = FIELDS, COMPONENTS, EXCUSES
    patterns, warmed = staticmethod(patterns), staticmethod(warmed)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roles = Roles(train=images((6, 5, 5), seed=1), validation=images((5, 5, 5), seed=2))
        self.start = warmed(self.roles.train, seed=3)
        self.teacher = warmed(self.roles.train, seed=4, steps=30)
        self.base = TrainConfig(
            threat=linf("0.07"),
            adversary=PGD(steps=6, relative_step=0.5),
            validation_attack=PGD(steps=2, relative_step=0.5, stop_when_fooled=True),
            optimizer=SGD(lr=0.02),
            epochs=2,
            batch_size=16,
            hardware=Hardware(device="cpu", precision="fp32"),
        )
        self._outcomes: dict[str, Outcome] = {}
        self._components: dict[tuple[str, str], Any] = {}

    def names(self, axis: str) -> list[str]:
        """What is registered on an axis and can be part of a combination: neither nulls nor attacks of audits."""
        built_in = [
            name for name in registry.names(axis) if registry.get(axis, name).__module__.startswith("classwise.")
        ]
        return [name for name in built_in if name not in (NULLS.get(axis), *(AUDIT_ONLY if axis == "attack" else ()))]

    def component(self, axis: str, name: str) -> Any:
        """A component in its form from the table."""
        if (axis, name) not in self._components:
            base = next(each for each in registry.get(axis, name).__mro__ if "kind" in vars(each))
            self._components[axis, name] = from_plain(base, {"name": name, **COMPONENTS[axis][name]})
        return self._components[axis, name]

    def config(self, parts: Mapping[str, str], **changes: Any) -> TrainConfig:
        """The configuration with some parts, all other axes at their default; raises ``ValueError`` if refused."""
        chosen = {FIELDS[axis]: self.component(axis, name) for axis, name in parts.items()}
        taught = "objective" in chosen and chosen["objective"].taught
        return replace(self.base, **chosen, teacher="a robust network" if taught else "", **changes)

    def completed(self, parts: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
        """Parts with the first objective that admits them all, and why the others before it were refused.

        An objective among the parts stays. Where an attack is among them, the objective must run one.

        Returns:
            The parts, {} where no objective admits them, and the reasons.
        """
        reasons = []
        first = FIRSTS["objective"][0]
        others = [name for name in self.names("objective") if name != first]
        for objective in [parts["objective"]] if "objective" in parts else [first, *others]:
            if "objective" not in parts and "attack" in parts and not self.component("objective", objective).attacked:
                continue
            try:
                self.config({"objective": objective, **parts})
            except ValueError as error:
                reasons.append(str(error))
            else:
                return {"objective": objective, **parts}, reasons
        return {}, reasons

    def without(self, parts: Mapping[str, str], axis: str) -> dict[str, str]:
        """The same parts but for one; on an axis without a null, with the first other choice that is admitted; else {}."""
        if axis in NULLS:
            return {each: name for each, name in parts.items() if each != axis}
        for name in dict.fromkeys((*FIRSTS[axis], *self.names(axis))):
            changed = {**parts, axis: name}
            try:
                self.config(changed)
            except ValueError:
                continue
            if name != parts[axis]:
                return changed
        return {}

    def idle(self, parts: Mapping[str, str]) -> list[str]:
        """Axes of the parts that left no trace against the same run without them.

        An average and a rule of selection leave their trace in what they keep and must leave none in the weights, a repair in
        the candidates it tried; everything else leaves it in the weights.
        """
        whole = self.run(self.config(parts))
        idle = []
        for axis in parts:
            others = self.without(parts, axis)
            if not others:
                continue
            bare = self.run(self.config(others))
            moved = not same(whole.weights, bare.weights)
            if axis in ("averaging", "selection", "repair"):
                assert not moved, f"{axis} {parts[axis]} changed the training of {parts}"
            if axis == "repair":
                moved = whole.tried > 1 and bare.tried == 0
            elif axis in ("averaging", "selection"):
                moved = whole.best != bare.best if axis == "selection" else not same(whole.average, whole.weights)
                moved = moved and (axis != "averaging" or bool(whole.average))
            if not moved:
                idle.append(axis)
            if axis == "policy":
                assert not moved or whole.acted, f"the policy of {parts} acted, and the run says it did not"
        return idle

    def excused(self, axis: str, parts: Mapping[str, str]) -> bool:
        """Whether a part is known to be idle beside one of the others."""
        return any((axis, parts[axis], other, name) in EXCUSES for other, name in parts.items())

    def steps(self, parts: Mapping[str, str]) -> int:
        """Training steps of the run with these parts."""
        return int(self.run(self.config(parts)).history[-1]["step"])

    def combinations(self, axes: Sequence[str]) -> Iterator[dict[str, str]]:
        """All choices of one part on each of some axes."""
        for names in itertools.product(*(self.names(axis) for axis in axes)):
            yield dict(zip(axes, names, strict=True))

    def run(self, config: TrainConfig) -> Outcome:
        """Train on the laboratory's images from its first weights."""
        key = repr(config)
        if key not in self._outcomes:
            self._outcomes[key] = self.run_on(self.roles, self.start, config, self.teacher)
        return self._outcomes[key]

    def run_on(self, roles: Roles, start: nn.Module, config: TrainConfig, teacher: nn.Module | None = None) -> Outcome:
        """Train, always in the same folder; what it leaves there is overwritten."""
        directory, runtime = RunDirectory(self.folder), Runtime(config.hardware)
        teacher = copy.deepcopy(teacher) if config.objective.taught else None
        with pytest.MonkeyPatch.context() as patch, runtime.session(config.seed):
            # Checkpoints, and validation on a copy made for speed, would cost more than everything else here.
            patch.setattr(Trainer, "_save", lambda *_, **__: None)
            patch.setattr(Trainer, "_to_repair", _latest)
            patch.setattr("classwise.training.loop.shelf.save", lambda *_: None)
            patch.setattr("classwise.evaluation.collect.fast_copy", lambda model, *_, **__: (model, ""))
            patch.setattr("classwise.evaluation.collect.allows_smaller", lambda *_: False)
            trainer = Trainer(config, directory, roles, copy.deepcopy(start), runtime, {}, teacher)
            trainer.fit(Silent())
        state = trainer.state
        weights = {name: value.detach() for name, value in state.network.inner.state_dict().items()}
        history = directory.events.read("epoch")
        tried = sum(each["tried"] for each in directory.events.read("repair"))
        return Outcome(weights, state.average, state.policy, state.best, history, directory.status["acted"], tried)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """Where combinations are built and run."""
    return Laboratory(tmp_path_factory.mktemp("runs"))
