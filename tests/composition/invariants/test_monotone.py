"""More of an error never means less of a weight: every policy that weighs classes, on random statistics."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from classwise.metrics import aggregates
from classwise.policies import (
    KLDRO,
    BoundaryBudget,
    CalibratedRadius,
    CalibratedRegularisation,
    CalibratedTemperature,
    ClassPolicy,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Hedge,
)

CLASSES = st.sampled_from([2, 3, 10, 43, 200])

RISING: dict[str, tuple[ClassPolicy, str, Callable[[ClassPolicy, Any], Tensor], int]] = {
    "frl, clean errors": (
        ConstraintReweight(rate_clean=0.4),
        "validation_clean",
        lambda policy, state: state["clean_multiplier"],
        -1,
    ),
    "frl, boundary errors": (
        ConstraintReweight(rate_boundary=0.4),
        "validation_robust",
        lambda policy, state: state["boundary_multiplier"],
        -1,
    ),
    "frl, growing": (
        ConstraintReweight(update="growing", rate_boundary=2.0),
        "validation_robust",
        lambda policy, state: policy.knobs(state)["robust"],
        -1,
    ),
    "frl, free": (
        ConstraintReweight(update="free", cap=0.0),
        "validation_robust",
        lambda policy, state: policy.knobs(state)["robust"],
        -1,
    ),
    "frl, radii": (
        ConstraintRemargin(rate=1.0),
        "validation_robust",
        lambda policy, state: policy.knobs(state)["radius"],
        -1,
    ),
    "reweight": (ErrorReweight(rate=1.0), "train_error", lambda policy, state: policy.knobs(state)["weight"], 1),
    "reweight, best response": (
        ErrorReweight(rule="best-response"),
        "train_error",
        lambda policy, state: policy.knobs(state)["weight"],
        1,
    ),
    "wat": (Hedge(rate=1.0), "validation_label_loss", lambda policy, state: policy.knobs(state)["weight"], 1),
    "wat as published": (
        Hedge(counted="batches", normalise=False),
        "validation_robust_loss",
        lambda policy, state: policy.knobs(state)["weight"],
        1,
    ),
    "ccm": (CalibratedRadius(begin=0), "train_robust", lambda policy, state: policy.knobs(state)["radius"], 1),
    "ccr, robust": (
        CalibratedRegularisation(begin=0),
        "train_robust",
        lambda policy, state: policy.knobs(state)["robust"],
        1,
    ),
    "ccr, label": (
        CalibratedRegularisation(begin=0),
        "train_robust",
        lambda policy, state: policy.knobs(state)["label"],
        -1,
    ),
    "absld": (
        CalibratedTemperature(),
        "train_cross_entropy",
        lambda policy, state: policy.knobs(state)["robust_temperature"],
        -1,
    ),
    "budget": (BoundaryBudget(begin=0), "train_error", lambda policy, state: policy.knobs(state)["steps"], -1),
}
"""Policy, statistic, what follows from it, and in which direction."""


def statistics(classes: int, seed: int, epoch: int) -> dict[str, Tensor]:
    """Random statistics, a third of the classes without samples; robust accuracy is at most clean accuracy."""
    draw = torch.Generator().manual_seed(seed)

    def some() -> Tensor:
        return torch.rand(classes, generator=draw, dtype=torch.float64)

    count = (some() * 30).floor() * (some() < 2 / 3)
    clean = 0.5 + 0.4 * some()
    stats = {
        "validation_clean": clean,
        "validation_robust": clean * some(),
        "train_robust": some(),
        "train_error": some(),
    }
    for name in ("validation_label_loss", "validation_robust_loss", "train_cross_entropy", "train_clean_cross_entropy"):
        stats[name] = 3 * some()
    for name, value in stats.items():
        stats[name] = torch.where(
            count > 0, value, math.nan if name in ("validation_clean", "validation_robust") else 0
        )
    return stats | {"validation_count": count, "train_count": count, "epoch": torch.tensor(epoch)}


@pytest.mark.parametrize("case", RISING)
@settings(max_examples=25)
@given(classes=CLASSES, seed=st.integers(0, 10_000), share=st.floats(0.01, 1))
def test_a_class_follows_its_own_statistic(case: str, classes: int, seed: int, share: float) -> None:
    policy, name, follows, direction = RISING[case]
    earlier, now = statistics(classes, seed, 0), statistics(classes, seed + 1, 1)
    present = (now["validation_count"] > 0).nonzero()[:, 0]
    assume(len(present) > 0)
    who = int(present[seed % len(present)])
    state = policy.on_epoch(policy.on_start(policy.init(classes), {**earlier, "epoch": torch.tensor(-1)}), earlier)
    more = {key: value.clone() for key, value in now.items()}
    room = now["validation_clean"][who] - now["validation_robust"][who] if name == "validation_robust" else 0.1
    more[name][who] += share * float(room)
    before, after = (follows(policy, policy.on_epoch(state, stats)) for stats in (now, more))
    assert bool(after.isfinite().all())
    assert direction * float(after[who] - before[who]) >= -1e-12


@settings(max_examples=40)
@given(
    classes=CLASSES,
    seed=st.integers(0, 10_000),
    tau=st.sampled_from([0.01, 0.5, 3.0, math.inf]),
    direction=st.sampled_from(["reverse", "forward"]),
    missing=st.sampled_from(["exclude", "minus-one"]),
)
def test_a_class_with_a_higher_score_weighs_more_in_a_batch(
    classes: int, seed: int, tau: float, direction: Any, missing: Any
) -> None:
    policy = KLDRO(tau=tau, direction=direction, missing=missing)
    draw = torch.Generator().manual_seed(seed)
    count = torch.randint(0, 3, (classes,), generator=draw).double()
    assume(bool(count.any()))
    scores = torch.where(count > 0, 2 * torch.rand(classes, generator=draw, dtype=torch.float64) - 1, 0)
    weights, _ = policy.on_batch({}, {"batch_margin": scores, "batch_count": count, "epoch": torch.tensor(0)})
    assert weights is not None
    present = count > 0
    assert float(weights.min()) >= 0
    if missing == "exclude":
        assert float(weights.sum()) == pytest.approx(int(present.sum()), rel=1e-9)
        assert float(weights[~present].abs().sum()) == 0
    rising = weights[present][scores[present].argsort()]
    assert bool((rising[1:] >= rising[:-1] - 1e-9).all())


@settings(max_examples=50)
@given(
    table=st.lists(
        st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=43
    )
)
def test_worst_class_worst_fifth_mean_and_best_are_in_order(table: list[tuple[int, int]]) -> None:
    right, n = [each for each, _ in table], [each for _, each in table]
    assume(any(n))
    rules = aggregates.worst_class, aggregates.worst_share, aggregates.mean_over_classes, aggregates.best_class
    values = [rule(right, n).value for rule in rules]
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(values))
