"""Methods set so that they can do nothing train, bit for bit, what they are built on: through the whole loop.

In worlds of 2 to 200 classes, most of them absent from a batch or from all of training, in every norm, down to batches
of one image.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from classwise import config
from classwise.attacks import PGD, BoundaryBalancedPGD, FriendlyPGD
from classwise.averaging import EpochEMA, Gated, NoAveraging, StepEMA
from classwise.configuration import replace
from classwise.mixing import SameClassMixup
from classwise.objectives import AdversarialTraining, Distillation, Mart, Natural, Trades, VarianceRegularised
from classwise.perturbation import AdversarialWeights
from classwise.policies import (
    KLDRO,
    BoundaryBudget,
    CalibratedRadius,
    CalibratedRegularisation,
    CalibratedTemperature,
    Combined,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Fixed,
    Hedge,
    SimilarityTransfer,
    State,
    Stats,
)
from classwise.training import SGD

TOLD = 0.25
"""Robust accuracy that the two policies below are told, exact in binary."""


@config
class ToldRadius(CalibratedRadius):
    """CCM with lambda_1 + t = 1 in every class."""

    offset: float = 1 - TOLD
    begin: int = 1
    registered_name = "told-radius"

    def on_epoch(self, state: State, stats: Stats) -> State:
        return super().on_epoch(state, {**stats, "train_robust": torch.full_like(stats["train_robust"], TOLD)})


@config
class ToldRegularisation(CalibratedRegularisation):
    """CCR with lambda_2 + t = 1 in every class."""

    offset: float = 1 - TOLD
    begin: int = 1
    registered_name = "told-regularisation"

    def on_epoch(self, state: State, stats: Stats) -> State:
        return super().on_epoch(state, {**stats, "train_robust": torch.full_like(stats["train_robust"], TOLD)})


FRL = Combined(
    members=(ConstraintReweight(slack_clean=1.0, slack_boundary=1.0), ConstraintRemargin(slack_boundary=1.0))
)
"""With so much slack nothing is violated: phi and m stay 0."""

ATTACK = {"steps": 3, "relative_step": 0.5}
WITHOUT_DECAY = {"weight_decay": 0.0, "momentum": 0.9}

NEUTRAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "frl with phi 0 and m 0 is trades": (
        {"objective": Trades(beta=1.5), "policy": FRL},
        {"objective": Trades(beta=1.5)},
    ),
    "frl with a radius that may not move": (
        {"policy": ConstraintRemargin(rate=1.0, slack_boundary=0.0, low=1.0, high=1.0)},
        {},
    ),
    "ccm with offset + t = 1": ({"policy": ToldRadius()}, {}),
    "ccr with offset + t = 1 is trades": (
        {"objective": Trades(divided=True), "policy": ToldRegularisation()},
        {"objective": Trades(divided=True)},
    ),
    "ccr with offset + t = 1 is trades over 1 + beta": (  # 1 + beta = 4: the scale is exact in binary
        {
            "objective": Trades(beta=3, divided=True),
            "policy": ToldRegularisation(beta=3.0),
            "optimizer": SGD(lr=0.08, **WITHOUT_DECAY),
        },
        {"objective": Trades(beta=3), "optimizer": SGD(lr=0.02, **WITHOUT_DECAY)},
    ),
    "cfa with both": (
        {"objective": Trades(), "policy": Combined(members=(ToldRadius(), ToldRegularisation()))},
        {"objective": Trades()},
    ),
    "faal with tau 0": ({"policy": KLDRO(tau=0.0)}, {}),
    "faal before its first stage": ({"policy": KLDRO(tau=0.0, stage_epochs=(2,), stage_taus=(0.5,))}, {}),
    "faal with tau 0 on mart": ({"objective": Mart(), "policy": KLDRO(tau=0.0)}, {"objective": Mart()}),
    "wat with rate 0": ({"objective": Trades(), "policy": Hedge(rate=0.0)}, {"objective": Trades()}),
    "dafa with strength 0": ({"policy": SimilarityTransfer(strength=0.0, warmup=1)}, {}),
    "dafa before its warm-up ends": ({"policy": SimilarityTransfer(warmup=2)}, {}),
    "baseline reweight with rate 0": ({"policy": ErrorReweight(rate=0.0)}, {}),
    "baseline reweight with cap 0": ({"policy": ErrorReweight(rate=1.0, cap=0.0)}, {}),
    "baseline reweight with boost 0": ({"policy": ErrorReweight(rule="best-response", boost=0.0)}, {}),
    "absld with rate 0": (
        {"objective": Distillation(), "policy": CalibratedTemperature(rate=0.0)},
        {"objective": Distillation()},
    ),
    "absld with no room": (
        {"objective": Distillation(), "policy": CalibratedTemperature(low=1.0, high=1.0)},
        {"objective": Distillation()},
    ),
    "budget with strength 0": ({"policy": BoundaryBudget(strength=0.0, begin=1)}, {}),
    "fixed without knobs": ({"policy": Fixed()}, {}),
    "all of them at once": (
        {
            "objective": Trades(),
            "policy": Combined(members=(FRL, ToldRadius(), KLDRO(tau=0.0), Hedge(rate=0.0), ErrorReweight(rate=0.0))),
        },
        {"objective": Trades()},
    ),
    "variance with alpha 0": ({"objective": VarianceRegularised(alpha=0.0)}, {}),
    "variance with alpha 0 over slots": ({"objective": VarianceRegularised(alpha=0.0, slots=200)}, {}),
    "variance with alpha 0 on trades": (
        {"objective": VarianceRegularised(base=Trades(), alpha=0.0), "adversary": PGD(**ATTACK)},
        {"objective": Trades(), "adversary": PGD(**ATTACK, loss="cross-entropy", start="uniform")},
    ),
    "awp with gamma 0": ({"perturbation": AdversarialWeights(gamma=0.0)}, {}),
    "awp before it begins": ({"perturbation": AdversarialWeights(gamma=0.1, begin=2)}, {}),
    "fat with tau = T is pgd": ({"adversary": FriendlyPGD(**ATTACK, budget=3)}, {"adversary": PGD(**ATTACK)}),
    "fat with tau > T by schedule": (
        {"adversary": FriendlyPGD(**ATTACK, budget=2, budget_epochs=(0, 1))},
        {"adversary": PGD(**ATTACK)},
    ),
    "fat by cfa's rule with tau > T": (
        {"adversary": FriendlyPGD(**ATTACK, budget=4, rule="cfa")},
        {"adversary": PGD(**ATTACK)},
    ),
    "fat with tau = T in trades": (
        {"objective": Trades(), "adversary": FriendlyPGD(**ATTACK, budget=3)},
        {"objective": Trades(), "adversary": PGD(**ATTACK)},
    ),
    "bat with gamma 0 and tau = T is pgd": (
        {"adversary": BoundaryBalancedPGD(**ATTACK, gamma=0.0, budget=3)},
        {"adversary": PGD(**ATTACK)},
    ),
    "mixup with lam 1": ({"mixing": SameClassMixup(lam=1.0)}, {}),
    "mixup with lam 1 in the batch": ({"mixing": SameClassMixup(lam=1.0, partners="batch")}, {}),
    "mixup with lam 1 after the attack": ({"mixing": SameClassMixup(lam=1.0, partners="batch", stage="after")}, {}),
    "mixup with lam 1 without attack": (
        {"objective": Natural(), "mixing": SameClassMixup(lam=1.0)},
        {"objective": Natural()},
    ),
    "fawa with threshold 0 is ema": ({"averaging": Gated(threshold=0.0)}, {"averaging": EpochEMA()}),
    "fawa with threshold below 0 is ema": (
        {"averaging": Gated(threshold=-1.0, gate="worst-fifth", decay=0.5, start=1)},
        {"averaging": EpochEMA(decay=0.5, start=1)},
    ),
    "ema with decay 0 is the raw weights": ({"averaging": EpochEMA(decay=0.0)}, {"averaging": NoAveraging()}),
    "step ema with decay 0 is the raw weights": (
        {"averaging": StepEMA(decay=0.0, warmup=False)},
        {"averaging": NoAveraging()},
    ),
}
"""What is neutral → it, and what it must equal."""


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("classes", [*(pytest.param(each, marks=pytest.mark.slow) for each in (2, 3, 43)), 10, 200])
@pytest.mark.parametrize("case", NEUTRAL)
def test_a_neutral_setting_is_its_base(case: str, classes: int, worlds: Any) -> None:
    neutral, base = NEUTRAL[case]
    world = worlds.of(classes, norm=list(NEUTRAL).index(case))
    ours, theirs = world.run(neutral), world.run(base)
    assert equal(ours.weights, theirs.weights)
    if "averaging" in neutral:
        assert equal(ours.average, theirs.average or theirs.weights)
        assert ours.average
    assert ours.acted == {}  # a policy that never acted says so
    for one, other in zip(ours.history, theirs.history, strict=True):
        assert one["validation"]["raw"] == other["validation"]["raw"]


@pytest.mark.parametrize("classes", [2, 3, 10, 43, 200])
def test_wat_as_published_with_rate_0_is_a_multiple_of_trades(classes: int, worlds: Any) -> None:
    """Twice the loss in the first epoch, 2 K / (K + 1) times afterwards."""
    world = worlds.of(classes, norm=classes)
    fields = {"objective": Trades(), "policy": Hedge(rate=0.0, normalise=False)}
    run = world.run({**fields, "optimizer": SGD(lr=0.02, **WITHOUT_DECAY)})
    first, second = (each["knobs"]["weight"] for each in run.history)
    assert first == [2.0] * classes
    assert second == pytest.approx([2 * classes / (classes + 1)] * classes, rel=1e-6)
    assert run.acted == {"weight": 0}
    once = world.run({**fields, "optimizer": SGD(lr=0.02, **WITHOUT_DECAY), "epochs": 1})
    faster = world.run({"objective": Trades(), "optimizer": SGD(lr=0.04, **WITHOUT_DECAY), "epochs": 1})
    assert equal(once.weights, faster.weights)


def test_neutral_settings_are_neutral_because_of_their_values(worlds: Any) -> None:
    """The same components, set to act, change what is trained in the same world."""
    world = worlds.of(10, norm=0)
    acting: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"policy": KLDRO(tau=0.5)}, {}),
        ({"policy": replace(ToldRadius(), offset=0.5)}, {}),
        ({"policy": SimilarityTransfer(warmup=1)}, {}),
        ({"policy": ErrorReweight(rate=1.0)}, {}),
        ({"objective": Trades(), "policy": Hedge(rate=1.0)}, {"objective": Trades()}),
        ({"objective": Distillation(), "policy": CalibratedTemperature()}, {"objective": Distillation()}),
        ({"objective": VarianceRegularised(alpha=1.0)}, {}),
        ({"perturbation": AdversarialWeights(gamma=0.1)}, {}),
        ({"adversary": FriendlyPGD(**ATTACK)}, {"adversary": PGD(**ATTACK)}),
        ({"mixing": SameClassMixup(lam=0.5)}, {}),
    ]
    for fields, base in acting:
        assert not equal(world.run(fields).weights, world.run(base).weights), fields


def test_natural_training_leaves_no_terms_for_an_attack(worlds: Any) -> None:
    """The choice of an attack cannot reach a run without one."""
    world = worlds.of(10, norm=1)
    assert equal(
        world.run({"objective": Natural(), "adversary": FriendlyPGD()}).weights,
        world.run({"objective": Natural(), "adversary": PGD()}).weights,
    )
    assert not equal(
        world.run({"objective": Natural()}).weights, world.run({"objective": AdversarialTraining()}).weights
    )
