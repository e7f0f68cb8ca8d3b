"""What is compared on full CIFAR-10: methods trained from random weights, and the two-epoch repair of robust networks.

Data, split, network, radius, attack, optimiser, schedule, batches and the rule for choosing the epoch are the same for all
methods of a protocol; a method changes its objective, policy, average and perturbation of the weights.

Trained from random weights, these are the ones of its recipe, whose epochs are moved in proportion as in the sizes of
``classwise reproduce``; the rate of WAT, which accumulates over epochs, is multiplied by how much shorter the run is. The
two-epoch repair has the learning rates of FAAL; what waits for some epochs waits for one, averages have a shorter memory, and
half the gate of FAWA, since the networks that are repaired were trained for fewer epochs than its own.

A combination is a configuration that takes several methods at once. Several are listed; the one with the highest validation
score, in the mean over the starts, is called the best combination. Test images have no part in that choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from classwise import recipe
from classwise.averaging import Gated
from classwise.configuration import replace
from classwise.data import CIFAR10, Split
from classwise.experiments.sizes import SIZES as PUBLISHED_SIZES
from classwise.experiments.sizes import Budget, Size, at_epochs, small
from classwise.objectives import AdversarialTraining, Trades
from classwise.perturbation import AdversarialWeights
from classwise.policies import (
    KLDRO,
    CalibratedRadius,
    CalibratedRegularisation,
    Combined,
    Hedge,
    SimilarityTransfer,
)
from classwise.repair import LogitBias
from classwise.threat import linf
from classwise.training import SGD, Hardware, Steps, TrainConfig

SCRATCH, REPAIR = "scratch", "repair"
PROTOCOLS = {SCRATCH: "Trained from random weights", REPAIR: "Two-epoch repair"}
Change = dict[str, Any]
"""Fields of a configuration and their values."""
BASES: dict[str, Change] = {"at": {"objective": AdversarialTraining()}, "trades": {"objective": Trades(beta=6)}}
"""Base methods. The name of every method ends in the one that it is built on."""
COMBINATIONS = ("faal-awp-fawa-at", "cfa-faal-awp-trades", "dafa-faal-awp-fawa-trades")
LABELS = {
    "at": "AT",
    "trades": "TRADES",
    "bias": "a logit bias per class (no training)",
    "cfa": "CFA",
    "faal": "FAAL",
    "faal-0.05": "FAAL (tau 0.05)",
    "wat": "WAT",
    "dafa": "DAFA",
    "faal-awp-fawa": "FAAL (tau 0.05) + AWP + FAWA",
    "cfa-faal-awp": "CFA + FAAL (tau 0.05) + AWP",
    "dafa-faal-awp-fawa": "DAFA + FAAL (tau 0.05) + AWP + FAWA",
}
TAU = 0.05
"""Radius of the KL ball in combinations: the published 0.5 brought classes to zero in a trial on a small network."""


@dataclass(frozen=True)
class Entry:
    """A row of the tables.

    Attributes:
        name: Short name, for files; the protocol comes first.
        label: As in tables.
        config: In the size that is run, without start and seed.
        base: Name of the row that it is compared with; empty: it is one of those itself.
        start: Name of the row whose network it goes on from; empty: random weights.
        combination: Whether it is one of the listed combinations.
    """

    name: str
    label: str
    config: TrainConfig
    base: str = ""
    start: str = ""
    combination: bool = False

    @property
    def protocol(self) -> str:
        """One of ``PROTOCOLS``."""
        return self.name.partition("-")[0]


def trial(config: TrainConfig) -> TrainConfig:
    """On some digits with a small network, at most six epochs of short attacks on a radius that is soon learnt. Pure."""
    short = at_epochs(small(config), 6)
    changes = {axis: replace(getattr(short, axis), steps=3) for axis in ("adversary", "validation_attack")}
    return replace(
        short,
        threat=linf("0.06"),
        split=replace(short.split, at_least=20, train_per_class=40),
        batch_size=20,
        **changes,
    )


SIZES: dict[Budget, Size] = {
    "short": PUBLISHED_SIZES["short"],
    "small": replace(PUBLISHED_SIZES["small"], change=trial, told="some digits, a small CNN, at most six epochs"),
}
"""The form that is meant, that of ``classwise reproduce``, and one to try everything in minutes."""


def entries(size: Size = SIZES["short"], folder: str = "", hardware: Hardware | None = None) -> dict[str, Entry]:
    """All rows by name, in the order in which they are worked off: what others need and what is cheap comes first.

    Args:
        size: One of ``SIZES``.
        folder: The official files of CIFAR-10, where the size has it.
        hardware: Where it runs; None: as the size has it.
    """
    paper = replace(
        recipe("cifar10-prn18-pgd-at"), recipe="", data=CIFAR10(folder=folder), split=Split(fraction=0, at_least=300)
    )
    frame = size.change(paper)
    frame = frame if hardware is None else replace(frame, hardware=hardware)
    two = replace(frame, optimizer=SGD(lr=0.01, weight_decay=5e-4), schedule=Steps(drops=(1,)), epochs=2)
    scratch, repair = _from_scratch(size, frame), _repairs(two)
    ordered = [*scratch[: len(BASES)], *repair, *scratch[len(BASES) :]]
    return {entry.name: entry for entry in sorted(ordered, key=lambda entry: entry.combination)}


def _from_scratch(size: Size, frame: TrainConfig) -> list[Entry]:
    def of(name: str) -> dict[str, Any]:
        """What a method is, of its recipe."""
        config = size.change(recipe(name))
        return {key: getattr(config, key) for key in ("objective", "policy", "averaging", "perturbation")}

    cfa, faal, dafa = of("cfa-trades"), of("faal-at-scratch"), {"policy": of("dafa")["policy"]}
    methods: dict[str, Change] = {
        "cfa-at": of("cfa-at"),
        "faal-at": faal,
        "cfa-trades": cfa,
        "faal-trades": faal | BASES["trades"],
        "wat-trades": {"policy": _hedge(frame.epochs)},
        "dafa-trades": dafa,
    }
    small_ball = replace(faal["policy"], stage_taus=(TAU, TAU))
    made = [Entry(f"{SCRATCH}-{base}", label(base), replace(frame, **change)) for base, change in BASES.items()]
    for name, change in (methods | _combinations(cfa, dafa, small_ball)).items():
        base = base_of(name)
        config = replace(frame, **(BASES[base] | change))
        made.append(Entry(f"{SCRATCH}-{name}", label(name), config, f"{SCRATCH}-{base}", "", name in COMBINATIONS))
    return made


def _repairs(frame: TrainConfig) -> list[Entry]:
    radius, regularisation = CalibratedRadius(offset=0.3, begin=1), CalibratedRegularisation(offset=0.5, begin=1)
    average = {"averaging": Gated(decay=0.5, threshold=0.1)}
    cfa: Change = {"policy": Combined(members=(radius, regularisation))} | average
    dafa: Change = {"policy": SimilarityTransfer(warmup=1)}
    bias: Change = {"repair": LogitBias(), "epochs": 0}
    methods: dict[str, Change] = {
        "bias-at": bias,
        "cfa-at": {"policy": replace(radius, offset=0.5)} | average,
        "faal-at": {"policy": KLDRO(tau=0.5)},
        "faal-0.05-at": {"policy": KLDRO(tau=TAU)},
        "bias-trades": bias,
        "cfa-trades": cfa,
        "faal-trades": {"policy": KLDRO(tau=0.5)},
        "wat-trades": {"policy": _hedge(frame.epochs)},
        "dafa-trades": dafa,
    }
    made = [
        Entry(f"{REPAIR}-{base}", label(base), replace(frame, **change), start=f"{SCRATCH}-{base}")
        for base, change in BASES.items()
    ]
    for name, change in (methods | _combinations(cfa, dafa, KLDRO(tau=TAU))).items():
        base = base_of(name)
        config = replace(frame, **(BASES[base] | change))
        # A repair without training goes on from the network that its base method has repaired.
        start = f"{REPAIR if 'repair' in change else SCRATCH}-{base}"
        made.append(Entry(f"{REPAIR}-{name}", label(name), config, f"{REPAIR}-{base}", start, name in COMBINATIONS))
    return made


def _hedge(epochs: int) -> Hedge:
    """WAT's policy, which moves as far in so many epochs as in those of its recipe."""
    wat = recipe("wat")
    assert isinstance(wat.policy, Hedge)
    return replace(wat.policy, rate=wat.policy.rate * wat.epochs / epochs)


def _combinations(cfa: Change, dafa: Change, kl: KLDRO) -> dict[str, Change]:
    """The listed combinations, of the parts that a protocol has; all with AWP and the gated average of CFA."""
    common = {"averaging": cfa["averaging"], "perturbation": AdversarialWeights(gamma=0.005)}
    assert isinstance(cfa["policy"], Combined)
    return {
        "faal-awp-fawa-at": common | {"policy": kl},
        "cfa-faal-awp-trades": cfa | common | {"policy": Combined(members=(*cfa["policy"].members, kl))},
        "dafa-faal-awp-fawa-trades": common | {"policy": Combined(members=(dafa["policy"], kl))},
    }


def base_of(name: str) -> str:
    """The base method that a method is built on."""
    return name.rpartition("-")[2]


def label(name: str) -> str:
    """A method as in tables, such as "FAAL (tau 0.05) on AT"."""
    if name in BASES:
        return LABELS[name]
    base = base_of(name)
    return f"{LABELS[name.removesuffix(f'-{base}')]} on {LABELS[base]}"
