"""Spread over classes against SciPy, double loops and every corner of the limits."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import variation

from classwise.metrics import gini, normalised_spread, simultaneous, standard_deviation

TABLES = st.lists(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=7
).map(lambda pairs: tuple(np.array(pairs).T))


def gini_by_hand(p):
    """The definition over all pairs; 0 where nothing is shared."""
    mean = np.mean(p, axis=-1)
    pairs = np.abs(p[..., :, None] - p[..., None, :]).sum(axis=(-2, -1)) / (2 * p.shape[-1] ** 2)
    return np.divide(pairs, mean, out=np.zeros_like(pairs), where=mean > 0)


def normalised_by_hand(p):
    spread, mean = np.std(p, axis=-1), np.mean(p, axis=-1)
    return np.divide(spread, mean, out=np.zeros_like(spread), where=mean > 0)


def corners_of(low, high):
    return np.array(list(itertools.product(*zip(low, high, strict=True))))


def inside_of(low, high):
    """Accuracies within the limits: spread evenly, and drawn towards a common value."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(low, high, (300, len(low))), np.clip(rng.uniform(0, 1, (300, 1)), low, high)])


@given(TABLES)
@settings(deadline=None)
def test_values_equal_their_definitions(table):
    x, n = table
    p = x / n
    assert gini(x, n).value == pytest.approx(gini_by_hand(p), abs=1e-12)
    assert standard_deviation(x, n).value == pytest.approx(p.std(), abs=1e-12)
    if p.any():
        assert normalised_spread(x, n).value == pytest.approx(variation(p, ddof=0), abs=1e-12)


def test_closed_forms():
    # One class has everything: (C - 1) / C and sqrt(C - 1). Two classes: |a - b| / (2 (a + b)) and |a - b| / (a + b).
    x, n = [0, 0, 0, 50], [100] * 4
    assert gini(x, n).value == pytest.approx(3 / 4)
    assert normalised_spread(x, n).value == pytest.approx(np.sqrt(3))
    assert gini([20, 60], [100, 100]).value == pytest.approx(0.25)
    assert normalised_spread([20, 60], [100, 100]).value == pytest.approx(0.5)


def test_nothing_withstood_tells_nothing_about_ratios():
    for summary, most in ((gini, 0.9), (normalised_spread, 3.0)):
        estimate = summary([0] * 10, [100] * 10)
        assert (estimate.value, estimate.low) == (0, 0)
        assert estimate.high == pytest.approx(most)


def test_one_class_has_no_spread():
    for summary in (gini, normalised_spread, standard_deviation):
        for x in (0, 7, 50):
            estimate = summary([x], [50])
            assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


@given(TABLES)
@settings(deadline=None)
def test_standard_deviation_interval_holds_every_value_within_the_limits(table):
    x, n = table
    estimate = standard_deviation(x, n)
    low, high = simultaneous(x, n)
    largest = corners_of(low, high).std(axis=1).max()
    # Duality costs little: the bound is never below the largest spread, and within width / (2 sqrt C) of it.
    assert largest - 1e-9 <= estimate.high <= largest + (high - low).max() / (2 * np.sqrt(len(x))) + 1e-9
    # No clipping of a common value, on a grid much finer than the tolerance, has less spread.
    clipped = np.clip(np.linspace(0, 1, 2001)[:, None], low, high)
    assert estimate.low == pytest.approx(clipped.std(axis=1).min(), abs=1e-3)
    inside = inside_of(low, high).std(axis=1)
    assert estimate.low - 1e-9 <= inside.min() <= inside.max() <= estimate.high + 1e-9


@given(TABLES)
@settings(deadline=None)
def test_gini_interval_is_the_exact_range_within_the_limits(table):
    x, n = table
    estimate = gini(x, n)
    low, high = simultaneous(x, n)
    # At a given g the definition is convex, so the largest coefficient is at a corner.
    assert estimate.high == pytest.approx(gini_by_hand(corners_of(low, high)).max(), abs=1e-9)
    inside = gini_by_hand(inside_of(low, high))
    assert estimate.low - 1e-9 <= inside.min() <= inside.max() <= estimate.high + 1e-9
    # Reached, up to the fineness of the grid (whose step of t / mean may be large near 0).
    clipped = np.clip(np.concatenate([np.linspace(0, 1, 2001), low, high])[:, None], low, high)
    assert estimate.low == pytest.approx(gini_by_hand(clipped).min(), abs=1e-9)


@given(TABLES)
@settings(deadline=None)
def test_normalised_spread_interval_holds_every_value_within_the_limits(table):
    x, n = table
    estimate = normalised_spread(x, n)
    low, high = simultaneous(x, n)
    largest = normalised_by_hand(corners_of(low, high)).max()
    assert largest - 1e-9 <= estimate.high <= 1.1 * largest + 1e-9
    inside = normalised_by_hand(inside_of(low, high))
    assert estimate.low - 1e-9 <= inside.min() <= inside.max() <= estimate.high + 1e-9
    clipped = np.clip(np.concatenate([np.linspace(0, 1, 2001), low, high])[:, None], low, high)
    assert estimate.low == pytest.approx(normalised_by_hand(clipped).min(), abs=2e-3)


def test_least_values_agree_with_a_general_optimiser():
    from scipy.optimize import minimize

    x, n = np.array([5, 60, 90, 40, 97]), np.full(5, 100)
    low, high = simultaneous(x, n)
    box = list(zip(low, high, strict=True))
    for summary, by_hand in ((gini, gini_by_hand), (normalised_spread, normalised_by_hand)):
        found = min(
            minimize(by_hand, start, bounds=box, method="Powell", options={"xtol": 1e-8, "ftol": 1e-10}).fun
            for start in np.random.default_rng(0).uniform(low, high, (10, 5))
        )
        assert summary(x, n).low <= found + 1e-9
        assert summary(x, n).low == pytest.approx(found, abs=2e-3)


def test_gini_of_many_classes_stays_exact():
    # Classes of one accuracy and one size have one interval, so the corners are told apart by how many are high.
    x, n = np.full(200, 30), np.full(200, 100)
    low, high = (side[0] for side in simultaneous(x, n))
    corners = np.where(np.tri(201, 200, k=-1), high, low)
    assert gini(x, n).high == pytest.approx(gini_by_hand(corners).max(), abs=1e-9)
    assert gini(x, n).low == pytest.approx(0, abs=1e-12)
