"""Summaries over classes: values against fixtures and brute force, intervals against definitions."""

import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classwise.metrics import (
    best_class,
    clopper_pearson_bounds,
    gap,
    gini,
    mean_over_classes,
    mean_over_samples,
    normalised_spread,
    simultaneous,
    standard_deviation,
    wilson,
    worst_class,
    worst_share,
)

FRACTIONS = (mean_over_samples, mean_over_classes, worst_class, best_class, worst_share, gap, standard_deviation)
ALL = (*FRACTIONS, gini, normalised_spread)
TABLES = st.lists(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=12
).map(lambda pairs: tuple(np.array(pairs).T))


def test_values_equal_the_published_definitions(shared):
    data = json.loads((shared / "fixtures/methods/metrics.json").read_text())
    # The fixture gives accuracies as real numbers; large counts carry them to eight digits.
    n = np.array(data["class_count"]) * 10**9
    for column, key in (("class_clean_acc", "worst20_clean"), ("class_robust_acc", "worst20_robust")):
        x = np.rint(np.array(data[column]) * n)
        assert worst_share(x, n, 0.2).value == pytest.approx(data[key], abs=1e-8)
    assert worst_class(x, n).value == pytest.approx(data["worst_robust"], abs=1e-8)
    assert mean_over_classes(x, n).value == pytest.approx(data["mean_of_classes_robust"], abs=1e-8)
    assert mean_over_samples(x, n).value == pytest.approx(data["sample_average_robust"], abs=1e-8)
    assert standard_deviation(x, n).value == pytest.approx(data["std_robust"], abs=1e-8)
    assert standard_deviation(x, n).value ** 2 == pytest.approx(data["var_robust"], abs=1e-8)
    assert gap(x, n).value == pytest.approx(data["best_minus_worst"], abs=1e-8)
    both = worst_class(x, n).value + mean_over_classes(x, n).value
    assert both == pytest.approx(data["selection_sum"], abs=1e-8)


def test_mean_over_samples_is_the_pooled_wilson_interval():
    estimate = mean_over_samples([1, 5], [10, 90])
    np.testing.assert_allclose((estimate.low, estimate.high), wilson(6, 100))
    assert (estimate.value, estimate.n) == (0.06, 100)


def test_mean_over_classes_nears_the_textbook_interval_for_large_classes():
    x, n = np.array([3e6, 5e6, 1e6]), np.full(3, 1e7)
    p = x / n
    half = 1.959964 * np.sqrt((p * (1 - p) / n).sum()) / 3
    estimate = mean_over_classes(x, n)
    assert estimate.low == pytest.approx(p.mean() - half, abs=1e-7)
    assert estimate.high == pytest.approx(p.mean() + half, abs=1e-7)


def test_worst_class_interval_by_its_definition():
    x, n = np.array([20, 1, 9]), np.array([100, 4, 30])
    estimate = worst_class(x, n, 0.9)
    lows = [clopper_pearson_bounds(a, b, 0.05, 0.5)[0] for a, b in zip(x, n, strict=True)]
    highs = [clopper_pearson_bounds(a, b, 0.5, 1 - 0.95 ** (1 / 3))[1] for a, b in zip(x, n, strict=True)]
    assert estimate.low == pytest.approx(min(lows))
    assert estimate.high == pytest.approx(min(highs))
    assert (estimate.value, estimate.n) == (0.2, 100)
    # The class of four samples might well be the worst: it alone sets the lower limit.
    assert int(np.argmin(lows)) == 1


def test_one_class_needs_no_correction():
    estimate = worst_class([7], [50], 0.95)
    low, high = clopper_pearson_bounds(7, 50, 0.025, 0.025)
    assert (estimate.low, estimate.high) == pytest.approx((float(low), float(high)))
    assert gap([7], [50]).high == standard_deviation([7], [50]).high == 0


def test_gap_interval_by_its_definition():
    x, n = np.array([900, 100, 480]), np.full(3, 1000)
    low, high = simultaneous(x, n)
    estimate = gap(x, n)
    assert (estimate.low, estimate.high) == pytest.approx((low[0] - high[1], high[0] - low[1]))
    assert 0.7 < estimate.low < estimate.value == 0.8 < estimate.high
    assert estimate.n == 2000
    assert gap([10, 11], [20, 20]).low == 0


@pytest.mark.parametrize(
    ("share", "classes", "k"),
    [(0.2, 10, 2), (0.2, 43, 9), (0.2, 1, 1), (0.07, 100, 7), (0.1, 30, 3), (1.0, 5, 5), (1e-6, 5, 1)],
)
def test_worst_share_averages_the_right_number_of_classes(share, classes, k):
    x = np.arange(classes)[::-1]
    assert worst_share(x, np.full(classes, 200), share).value == pytest.approx(np.arange(k).mean() / 200)


@given(TABLES)
@settings(deadline=None)
def test_intervals_contain_their_points(table):
    for summary in ALL:
        estimate = summary(*table)
        assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12
        # A spread over its mean is no fraction: it goes up to sqrt(C - 1).
        most = 1 if summary in FRACTIONS else np.sqrt(len(table[0]) - 1)
        assert 0 <= estimate.low <= estimate.high <= most + 1e-12


@given(TABLES)
@settings(deadline=None)
def test_intervals_shrink_with_n(table):
    x, n = table
    for summary in ALL:
        few, many = summary(x, n), summary(16 * x, 16 * n)
        assert many.value == pytest.approx(few.value)
        assert many.high - many.low <= few.high - few.low + 1e-9


@given(TABLES)
@settings(deadline=None)
def test_summaries_are_ordered(table):
    worst, tail, mean, best = (f(*table).value for f in (worst_class, worst_share, mean_over_classes, best_class))
    assert worst <= tail + 1e-12
    assert tail <= mean + 1e-12
    assert mean <= best + 1e-12
    assert gap(*table).value == pytest.approx(best - worst)


@given(TABLES, st.randoms())
@settings(deadline=None)
def test_order_of_classes_and_empty_classes_do_not_matter(table, random):
    x, n = table
    order = list(range(len(x)))
    random.shuffle(order)
    # worst_share counts the samples of its classes, which a tie at the border makes depend on the order.
    for summary in ALL:
        plain, moved = summary(x, n), summary(np.append(x[order], 0), np.append(n[order], 0))
        assert (moved.value, moved.low, moved.high) == pytest.approx((plain.value, plain.low, plain.high))


@given(TABLES)
@settings(deadline=None)
def test_best_mirrors_worst(table):
    x, n = table
    best, worst = best_class(x, n), worst_class(n - x, n)
    assert (best.low, best.high) == pytest.approx((1 - worst.high, 1 - worst.low))


@pytest.mark.parametrize("summary", ALL)
def test_refuses_impossible_input(summary):
    with pytest.raises(ValueError, match="no class has a sample"):
        summary([0, 0], [0, 0])
    with pytest.raises(ValueError, match="shape"):
        summary([[1]], [[2]])
    with pytest.raises(ValueError, match="not fractions"):
        summary([0.5], [10])
    with pytest.raises(ValueError, match="confidence"):
        summary([5], [10], confidence=0)


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_refuses_impossible_shares(share):
    with pytest.raises(ValueError, match="share"):
        partial(worst_share, share=share)([1], [2])
