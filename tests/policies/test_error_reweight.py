"""Weights that follow the robust error on training images: both rules by hand, and as functions of class errors."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from classwise.policies import ErrorReweight, State

SIZES = [2, 3, 10, 43, 200]
POLICIES = [
    ErrorReweight(),
    ErrorReweight(rate=2.0, cap=1.0, slack=0.1),
    ErrorReweight(rate=50.0, cap=0.5),
    ErrorReweight(rule="best-response"),
    ErrorReweight(rule="best-response", boost=0.0),
    ErrorReweight(rule="best-response", boost=3.5),
]
seeds = st.integers(0, 2**31 - 1)


def stats(error: Any, epoch: int = 0, count: Any = None) -> dict[str, Tensor]:
    errors = torch.as_tensor(error, dtype=torch.float64)
    count = torch.full((len(errors),), 100.0, dtype=torch.float64) if count is None else torch.as_tensor(count).double()
    return {"epoch": torch.tensor(epoch), "train_error": errors, "train_count": count}


def drive(policy: ErrorReweight, rows: Any, counts: Any = None) -> State:
    state = policy.init(len(rows[0]))
    for epoch, error in enumerate(rows):
        state = policy.on_epoch(state, stats(error, epoch, None if counts is None else counts[epoch]))
    return state


def weights(policy: ErrorReweight, *rows: Any, counts: Any = None) -> list[float]:
    return policy.knobs(drive(policy, rows, counts))["weight"].tolist()


def test_the_worst_class_weighs_more_by_the_boost() -> None:
    policy = ErrorReweight(rule="best-response", boost=2.0)
    assert weights(policy, [0.1, 0.7, 0.3]) == pytest.approx([0.6, 1.8, 0.6])
    assert weights(policy, [0.1, 0.7, 0.3], [0.8, 0.2, 0.1]) == pytest.approx([1.8, 0.6, 0.6])  # the last epoch counts
    assert weights(policy, [0.7, 0.7, 0.3]) == pytest.approx([9 / 7, 9 / 7, 3 / 7])  # two that are equally bad
    assert policy.knobs(policy.init(4))["weight"].tolist() == [1, 1, 1, 1]
    assert weights(ErrorReweight(rule="best-response", boost=0.0), [0.1, 0.7, 0.3]) == [1, 1, 1]


def test_exponentiated_gradient_by_hand() -> None:
    """lambda = cap exp(theta) / (1 + sum exp(theta)), weights 1 + K lambda - sum lambda."""
    policy = ErrorReweight(rate=0.5, cap=0.8, slack=0.1)
    rows = np.array([[0.1, 0.6, 0.2], [0.3, 0.9, 0.0]])
    theta = 0.5 * (rows - rows.mean(1, keepdims=True) - 0.1).sum(0)
    lam = 0.8 * np.exp(theta) / (1 + np.exp(theta).sum())
    assert weights(policy, *rows) == pytest.approx((1 + 3 * lam - lam.sum()).tolist(), abs=1e-12)
    state = drive(policy, rows)
    assert policy.notes(state)["theta"].tolist() == pytest.approx(theta.tolist())
    assert policy.knobs(policy.init(4))["weight"].tolist() == pytest.approx([1] * 4, abs=1e-15)
    assert weights(ErrorReweight(cap=0.0), *rows) == [1, 1, 1]


def test_weights_stay_bounded_after_very_many_epochs() -> None:
    found = weights(ErrorReweight(rate=1e4, cap=0.5), *[[0.1, 0.9, 0.4]] * 50)
    assert found == pytest.approx([0.5, 2.0, 0.5])


def test_a_class_without_samples_keeps_its_value() -> None:
    rows, counts = [[0.1, 0.7, 0.3], [0.5, 0.0, 0.2]], [[5, 5, 5], [5, 0, 5]]
    best = ErrorReweight(rule="best-response")
    assert weights(best, *rows, counts=counts) == weights(best, rows[0])  # 0.7 is still the worst that was seen
    gradient = ErrorReweight(rate=0.5)
    before, after = (drive(gradient, rows[:n], counts[:n])["theta"] for n in (1, 2))
    assert float(after[1]) == float(before[1])
    assert (after - before)[[0, 2]].tolist() == pytest.approx([0.5 * 0.15, -0.5 * 0.15])  # mean over those present
    nobody = gradient.on_epoch(drive(gradient, rows[:1]), stats([0.0] * 3, count=[0, 0, 0]))
    assert torch.equal(nobody["theta"], before)


@pytest.mark.parametrize("groups", SIZES)
@given(seed=seeds, policy=st.sampled_from(POLICIES))
@settings(max_examples=25)
def test_properties(groups: int, seed: int, policy: ErrorReweight) -> None:
    """Mean 1, a floor, permutation of the classes, and a higher error never lowers a weight."""
    rng = np.random.default_rng(seed)
    rows, counts = rng.integers(0, 20, (3, groups)) / 20, rng.integers(0, 4, (3, groups))
    state = drive(policy, rows, counts)
    found = policy.knobs(state)["weight"]
    assert float(found.mean()) == pytest.approx(1, abs=1e-12)
    floor = 1 - policy.cap if policy.rule == "exponentiated-gradient" else 1 / (1 + policy.boost)
    assert float(found.min()) >= floor - 1e-12
    order = rng.permutation(groups)
    permuted = policy.knobs(drive(policy, rows[:, order], counts[:, order]))["weight"]
    assert torch.allclose(permuted, found[order], rtol=0, atol=1e-12)
    worse = int(rng.integers(groups))
    raised = rows.copy()
    raised[-1, worse] += rng.uniform()
    higher = policy.knobs(drive(policy, raised, counts))["weight"]
    assert float(higher[worse] - found[worse]) >= -1e-12


def test_what_it_asks_for() -> None:
    policy = ErrorReweight()
    assert policy.observes() == {"train_error", "train_count"}
    assert policy.steered() == {"weight"}
    assert policy.reduction() == "weight-sum"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boost": -1.0}, r"boost -1\.0 and rate 0\.05 must be at least 0"),
        ({"rate": float("nan")}, "must be at least 0"),
        ({"cap": 1.5}, r"cap 1\.5 and slack 0\.0 must lie in \[0, 1\]"),
        ({"slack": -0.1}, r"slack -0\.1 must lie"),
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ErrorReweight(**fields)  # type: ignore[arg-type]
