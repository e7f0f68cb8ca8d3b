"""What is compared in the tables on effects: starts, base methods, and the methods built on them.

Every method goes on from a robust start for some epochs, and so does its base method from the same start: same images,
objective, attack, learning rates, epochs and way of choosing the epoch. What differs is what the method adds.

The published schedules are 40 to 300 epochs long. Here rates that accumulate over epochs are multiplied by how much shorter
the run is, warm-ups and waiting times are cut to one epoch (the start is warm), so that every mechanism acts in at least half
of the epochs. All other settings are those of the recipes. Two methods have a length of their own, which their names say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from classwise import recipe
from classwise.attacks import PGD
from classwise.averaging import Gated
from classwise.configuration import replace
from classwise.data import CIFAR10, CropFlip, Split
from classwise.mixing import SameClassMixup
from classwise.models import ResNetCIFAR, SmallCNN
from classwise.objectives import AdversarialTraining, Distillation, Objective, Trades
from classwise.perturbation import AdversarialWeights
from classwise.policies import (
    KLDRO,
    BoundaryBudget,
    CalibratedRadius,
    CalibratedRegularisation,
    CalibratedTemperature,
    ClassPolicy,
    Combined,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Fixed,
    Hedge,
    SimilarityTransfer,
)
from classwise.repair import LogitBias
from classwise.threat import linf
from classwise.training import SGD, Adam, Hardware, OneCycle, Steps, TrainConfig
from classwise.training.schedule import Cosine


@dataclass(frozen=True)
class Base:
    """A base method: what it lowers, and which start it goes on from.

    Attributes:
        label: As in tables.
        objective: What a step lowers.
        start: Objective of the start, by name in ``STARTS``.
        teacher: The start that it learns from, where it learns from one.
    """

    label: str
    objective: Objective
    start: str
    teacher: str = ""


@dataclass(frozen=True)
class Situation:
    """What a method's settings depend on.

    Attributes:
        epochs: Length of the run.
        gate: Worst-class validation accuracy from which on weights enter a gated average.
        start: Robust validation accuracy of every class at the start.
        adversary: The attack of the base method.
    """

    epochs: int
    gate: float
    start: tuple[float, ...]
    adversary: PGD


@dataclass(frozen=True)
class Method:
    """A method on its base.

    Attributes:
        label: As in tables.
        base: Its base method, by name in ``BASES``.
        change: The fields of the configuration that it changes.
        after_base: Whether it goes on from the network of the base method, not from the start: repairs without training.
    """

    label: str
    base: str
    change: Callable[[Situation], dict[str, Any]]
    after_base: bool = False


STARTS: dict[str, Objective] = {"pgd-at": AdversarialTraining(), "trades": Trades(beta=6)}
BASES = {
    "pgd-at": Base("PGD-AT", AdversarialTraining(), "pgd-at"),
    "trades": Base("TRADES (beta 6)", Trades(beta=6), "trades"),
    "trades-1.5": Base("TRADES (beta 1.5)", Trades(beta=1.5), "pgd-at"),
    "distillation": Base("robust distillation", Distillation(), "pgd-at", teacher="trades"),
}


def _of_batch(situation: Situation) -> PGD:
    """The attack of FRL (Remargin): its step is a share of the largest radius in the batch."""
    return replace(situation.adversary, step_from="batch")


def _rate(rate: float, published: int, situation: Situation) -> float:
    """A rate that accumulates over epochs, in a run that is shorter than the published one."""
    return rate * published / situation.epochs


def _reweight(situation: Situation, boundary: bool = True) -> ConstraintReweight:
    rate = _rate(0.05, 120, situation)
    return ConstraintReweight(
        rate_clean=rate, rate_boundary=rate if boundary else 0.0, decay_epochs=_thirds(situation.epochs)
    )


def _remargin(situation: Situation) -> ConstraintRemargin:
    return ConstraintRemargin(rate=_rate(0.05, 120, situation), decay_epochs=_thirds(situation.epochs))


def _thirds(epochs: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, round(epochs * part / 3)) for part in (1, 2)}))


def _doubled(situation: Situation) -> Fixed:
    """Twice the weight for the class that is weakest at the start, on validation images."""
    weakest = situation.start.index(min(situation.start))
    return Fixed(weight=tuple(2.0 if c == weakest else 1.0 for c in range(len(situation.start))))


def _late(tau: float, situation: Situation) -> KLDRO:
    """Class weights from the middle on, when the learning rate has fallen."""
    return KLDRO(tau=0.0, stage_epochs=(situation.epochs // 2,), stage_taus=(tau,))


def _wider(situation: Situation) -> Fixed:
    return Fixed(radius=(1.5,) * len(situation.start))


def _published_frl() -> Combined:
    """Both parts of FRL with their published rates, which are cut at epoch 40."""
    return Combined(members=(ConstraintReweight(decay_epochs=(40,)), ConstraintRemargin(decay_epochs=(40,))))


def _radius(offset: float) -> CalibratedRadius:
    return CalibratedRadius(offset=offset, begin=1)


def _gated(situation: Situation) -> Gated:
    """A shorter memory than the published 0.85, since there are few epochs to average."""
    return Gated(decay=0.5, threshold=situation.gate)


def _policy(make: Callable[[Situation], ClassPolicy]) -> Callable[[Situation], dict[str, Any]]:
    return lambda situation: {"policy": make(situation)}


CCR = CalibratedRegularisation(offset=0.5, begin=1)
METHODS = {
    "faal": Method("FAAL (KL-DRO weights at tau 0.5)", "pgd-at", _policy(lambda _: KLDRO(tau=0.5))),
    "faal-0.05": Method("FAAL (KL-DRO weights at tau 0.05)", "pgd-at", _policy(lambda _: KLDRO(tau=0.05))),
    "faal-late": Method("FAAL in the second half only (tau 0.5)", "pgd-at", _policy(lambda s: _late(0.5, s))),
    "faal-late-0.15": Method("FAAL in the second half only (tau 0.15)", "pgd-at", _policy(lambda s: _late(0.15, s))),
    "faal-ce": Method(
        "FAAL with cross-entropy scores", "pgd-at", _policy(lambda _: KLDRO(tau=0.5, score="cross-entropy"))
    ),
    "faal-2": Method("FAAL for 2 epochs", "pgd-at", lambda _: {"policy": KLDRO(tau=0.5), "epochs": 2}),
    "faal-awp": Method(
        "FAAL with AWP", "pgd-at", lambda _: {"policy": KLDRO(tau=0.5), "perturbation": AdversarialWeights(gamma=0.005)}
    ),
    "baseline-reweight": Method(
        "Baseline Reweight (error reweight)", "pgd-at", _policy(lambda s: ErrorReweight(rate=_rate(0.05, 120, s)))
    ),
    "one-class": Method("twice the weight of the start's weakest class (fixed)", "pgd-at", _policy(_doubled)),
    "margin-1.5": Method("1.5 times the radius for every class (fixed)", "pgd-at", _policy(_wider)),
    "mixup": Method("same-class mixup", "pgd-at", lambda _: {"mixing": SameClassMixup()}),
    "ccm": Method("CCM (calibrated radius)", "pgd-at", _policy(lambda _: _radius(0.5))),
    "boundary-budget": Method("boundary budget (ours)", "pgd-at", _policy(lambda _: BoundaryBudget(begin=1))),
    "ccr": Method("CCR (calibrated regularisation)", "trades", _policy(lambda _: CCR)),
    "fawa": Method("FAWA (gated average)", "trades", lambda s: {"averaging": _gated(s)}),
    "cfa": Method(
        "CFA (CCM + CCR + FAWA)",
        "trades",
        lambda s: {"policy": Combined(members=(_radius(0.3), CCR)), "averaging": _gated(s)},
    ),
    "wat": Method("WAT (hedge)", "trades", _policy(lambda s: Hedge(rate=_rate(0.1, 100, s)))),
    "dafa": Method("DAFA (similarity transfer)", "trades", _policy(lambda _: SimilarityTransfer(warmup=1))),
    "frl-rw": Method("FRL Reweight (constraint reweight)", "trades-1.5", _policy(_reweight)),
    "frl-rm": Method(
        "FRL Remargin (constraint remargin)",
        "trades-1.5",
        lambda s: {
            "policy": Combined(members=(_reweight(s, boundary=False), _remargin(s))),
            "adversary": _of_batch(s),
        },
    ),
    "frl-rmrw": Method(
        "FRL Reweight + Remargin",
        "trades-1.5",
        lambda s: {"policy": Combined(members=(_reweight(s), _remargin(s))), "adversary": _of_batch(s)},
    ),
    "frl-80": Method(
        "FRL Reweight + Remargin for 80 epochs",
        "trades-1.5",
        lambda s: {"policy": _published_frl(), "adversary": _of_batch(s), "epochs": 80},
    ),
    "absld": Method(
        "ABSLD (calibrated temperature)",
        "distillation",
        _policy(lambda _: CalibratedTemperature(rate=0.1, drops=())),
    ),
}
NULL = "logit-bias"
"""The repair without training, one for each base method: ``logit-bias`` of PGD-AT, ``logit-bias-BASE`` of the others."""
METHODS |= {
    NULL if base == "pgd-at" else f"{NULL}-{base}": Method(
        "null model (a logit bias per class)", base, lambda _: {"repair": LogitBias(), "epochs": 0}, after_base=True
    )
    for base in BASES
}


def of_bases(*bases: str) -> tuple[str, ...]:
    """All methods on some base methods, those of one base together."""
    return tuple(name for base in bases for name in METHODS if METHODS[name].base == base)


@dataclass(frozen=True)
class Part:
    """What all cells of one table have in common.

    Attributes:
        name: Of its folder.
        title: Of its section.
        start: How starts are trained, but for the objective.
        repair: How base methods and methods go on, but for the objective and what a method changes.
        methods: Names of the planned methods.
        starts: Number of starts.
        suite: Attacks of the audit.
        per_class: Test images of each class; 0: all.
        gate: See :class:`Situation`.
        checkpoint: A file of weights that is the start of all methods, in place of starts that are trained here.
    """

    name: str
    title: str
    start: TrainConfig
    repair: TrainConfig
    methods: tuple[str, ...]
    starts: int
    suite: str
    gate: float
    per_class: int = 0
    checkpoint: str = ""

    def bases(self) -> tuple[str, ...]:
        """Base methods that the planned methods need, in their order."""
        return tuple(name for name in BASES if any(METHODS[each].base == name for each in self.methods))

    def start_names(self) -> tuple[str, ...]:
        """Starts that the base methods need."""
        if self.checkpoint:
            return ("given",)
        needed = {name for base in self.bases() for name in (BASES[base].start, BASES[base].teacher)}
        return tuple(name for name in STARTS if name in needed)


def digits_part() -> Part:
    """Real images of 8x8 pixels, on which a run takes seconds: all policies."""
    start = recipe("digits-pgd-at")
    repair = replace(start, optimizer=SGD(lr=0.03, weight_decay=5e-4), schedule=Cosine(), epochs=10)
    return Part("digits", "Digits", start, repair, of_bases(*BASES), starts=5, suite="quick", gate=0.2)


SPLIT = Split(fraction=0, at_least=100, train_per_class=1000)
"""A stratified fifth of CIFAR-10's training images, and 100 of each class for validation."""


def cifar10_part(folder: str = "", per_class: int = 200) -> Part:
    """A fifth of CIFAR-10's training images and a small CNN, from starts that are trained here.

    Args:
        folder: The official files.
        per_class: Test images of each class.
    """
    start = TrainConfig(
        data=CIFAR10(folder=folder),
        split=SPLIT,
        model=SmallCNN(width=16),
        threat=linf("8/255"),
        augmentation=CropFlip(),
        adversary=PGD(steps=5, relative_step=0.4),
        optimizer=Adam(lr=2e-3),
        schedule=OneCycle(),
        epochs=10,
    )
    repair = replace(start, optimizer=SGD(lr=0.01, weight_decay=5e-4), schedule=Steps(drops=(3,)), epochs=4)
    chosen = (
        "faal",
        "faal-0.05",
        "faal-late",
        "baseline-reweight",
        "mixup",
        "cfa",
        "wat",
        "dafa",
        "frl-rw",
        "frl-rm",
        "frl-rmrw",
    )
    return Part(
        "cifar10",
        "CIFAR-10, a small CNN",
        start,
        repair,
        _with_nulls(chosen),
        starts=3,
        suite="pgd-20",
        gate=0.05,
        per_class=per_class,
    )


def published_part(folder: str = "", checkpoint: str = "", per_class: int = 200) -> Part:
    """Two epochs on a fifth of CIFAR-10's training images, from a robust ResNet-20 that is given.

    Args:
        folder: The official files.
        checkpoint: Its weights.
        per_class: Test images of each class.
    """
    repair = TrainConfig(
        data=CIFAR10(folder=folder),
        split=SPLIT,
        model=ResNetCIFAR(depth=20),
        threat=linf("8/255"),
        augmentation=CropFlip(),
        optimizer=SGD(lr=0.01, weight_decay=5e-4),
        schedule=Steps(drops=(1,)),
        epochs=2,
    )
    return Part(
        "published",
        "CIFAR-10, two epochs from a published ResNet-20",
        repair,
        repair,
        _with_nulls(("faal", "faal-0.05", "faal-late", "faal-late-0.15", "baseline-reweight")),
        starts=3,
        suite="pgd-20",
        gate=0.05,
        per_class=per_class,
        checkpoint=checkpoint or "FILE",
    )


def _with_nulls(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """Methods and the null model of each of their bases, those of one base together."""
    bases = {METHODS[name].base for name in chosen}
    return tuple(
        name for name in of_bases(*BASES) if name in chosen or (METHODS[name].base in bases and _is_null(name))
    )


def _is_null(name: str) -> bool:
    return METHODS[name].after_base


def on(part: Part, hardware: Hardware) -> Part:
    """The part on some hardware."""
    start, repair = (replace(each, hardware=hardware) for each in (part.start, part.repair))
    return replace(part, start=start, repair=repair)
