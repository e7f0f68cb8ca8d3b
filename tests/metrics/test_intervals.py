"""Intervals against SciPy, statsmodels and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from classwise.metrics import clopper_pearson, clopper_pearson_bounds, simultaneous, wilson

COUNTS = [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (260, 1000), (999, 1000), (1000, 1000), (1, 10_000)]
PAIRS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(
    ("ours", "scipy_name", "statsmodels_name"),
    [(wilson, "wilson", "wilson"), (clopper_pearson, "exact", "beta")],
)
def test_equals_scipy_and_statsmodels(ours, scipy_name, statsmodels_name, confidence):
    x, n = np.array(COUNTS).T
    low, high = ours(x, n, confidence)
    theirs = [binomtest(k, m).proportion_ci(confidence, method=scipy_name) for k, m in COUNTS]
    np.testing.assert_allclose(low, [t.low for t in theirs], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(high, [t.high for t in theirs], rtol=1e-9, atol=1e-12)
    reference = proportion_confint(x, n, alpha=1 - confidence, method=statsmodels_name)
    np.testing.assert_allclose(low, reference[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(high, reference[1], rtol=1e-9, atol=1e-12)


def test_one_sided_bounds_leave_exactly_their_tail():
    low, high = clopper_pearson_bounds(7, 50, 0.01, 0.2)
    assert binom.sf(6, 50, low) == pytest.approx(0.01)
    assert binom.cdf(7, 50, high) == pytest.approx(0.2)


def test_no_successes_has_a_closed_form():
    low, high = clopper_pearson_bounds(0, 30, 0.05, 0.05)
    assert low == 0
    assert high == pytest.approx(1 - 0.05 ** (1 / 30))


@pytest.mark.parametrize("interval", [wilson, clopper_pearson, simultaneous])
def test_no_samples_is_the_whole_range(interval):
    low, high = interval([0, 3], [0, 10])
    assert (low[0], high[0]) == (0, 1)
    assert 0 < low[1] < 0.3 < high[1] < 1


def test_ends_are_exact():
    for interval in (wilson, clopper_pearson, simultaneous):
        for n in (1, 7, 20, 333, 10_000):
            low, high = interval([0, n], [n, n])
            assert low[0] == 0
            assert high[1] == 1


def test_simultaneous_uses_the_sidak_level_and_ignores_empty_classes():
    x, n = np.array([3, 9, 0, 14]), np.array([10, 10, 0, 20])
    low, high = simultaneous(x, n, 0.95)
    expected = clopper_pearson(x, n, 0.95 ** (1 / 3))
    np.testing.assert_allclose((low, high), expected, rtol=1e-12)


def test_scalars_and_batches_broadcast():
    low, high = wilson(3, 10)
    assert low.shape == high.shape == ()
    batch_low, _ = simultaneous(np.array([[3, 9], [5, 5]]), np.array([10, 20]))
    assert batch_low.shape == (2, 2)
    np.testing.assert_allclose(batch_low[1], simultaneous([5, 5], [10, 20])[0])


@given(PAIRS, st.floats(0.5, 0.999))
@settings(deadline=None)
def test_contains_the_point_and_shrinks_with_n(pair, confidence):
    x, n = pair
    for interval in (wilson, clopper_pearson):
        low, high = interval(x, n, confidence)
        assert 0 <= low <= x / n <= high <= 1
        tighter_low, tighter_high = interval(4 * x, 4 * n, confidence)
        assert tighter_high - tighter_low < high - low


@given(PAIRS)
@settings(deadline=None)
def test_grows_with_confidence_and_mirrors(pair):
    x, n = pair
    for interval in (wilson, clopper_pearson):
        narrow, wide = interval(x, n, 0.8), interval(x, n, 0.95)
        assert wide[0] <= narrow[0]
        assert narrow[1] <= wide[1]
        mirrored = interval(n - x, n, 0.8)
        assert mirrored[0] == pytest.approx(1 - narrow[1], abs=1e-10)


@pytest.mark.parametrize(
    ("x", "n", "confidence", "message"),
    [
        (5, 4, 0.95, "0..n"),
        (-1, 4, 0.95, "0..n"),
        (0.3, 4, 0.95, "not fractions"),
        (float("nan"), 4, 0.95, "whole numbers"),
        (1, 4, 95, "between 0 and 1"),
        (1, 4, 1.0, "between 0 and 1"),
    ],
)
def test_refuses_impossible_input(x, n, confidence, message):
    for interval in (wilson, clopper_pearson, simultaneous):
        with pytest.raises(ValueError, match=message):
            interval(x, n, confidence)


def test_refuses_impossible_levels():
    with pytest.raises(ValueError, match="alpha_high"):
        clopper_pearson_bounds(1, 4, 0.5, 0.0)
