"""Simulated coverage: the intervals must hold the true value as often as they say."""

import numpy as np
import pytest

from classwise.metrics import gap, mean_over_classes, standard_deviation, wilson, worst_class, worst_share
from classwise.metrics.aggregates import mean_over_classes_limits, worst_class_limits
from classwise.metrics.paired import paired_difference_limits

DRAWS = 2000
SIZES = (20, 100, 1000)
CLASSES = (10, 43, 200)


TRUTHS = {"equal": (0.3, 0.3), "close": (0.2, 0.4), "spread": (0.02, 0.6), "rare": (0.01, 0.04)}


def truth_of(shape, classes):
    return np.linspace(*TRUTHS[shape], classes)


def sizes_of(shape, n, classes):
    return np.full(classes, n) if shape == "equal" else np.linspace(n / 2, 2 * n, classes).astype(int)


def covered(low, high, true):
    return np.mean((low <= true) & (true <= high))


@pytest.mark.parametrize("sizes", ["equal", "unequal"])
@pytest.mark.parametrize("truth", ["equal", "close", "spread"])
def test_worst_class_interval_covers_where_wilson_of_the_observed_worst_does_not(truth, sizes):
    naive = {}
    for n in SIZES:
        for classes in CLASSES:
            p, total = truth_of(truth, classes), sizes_of(sizes, n, classes)
            x = np.random.default_rng([n, classes]).binomial(total, p, (DRAWS, classes)).astype(float)
            low, high = worst_class_limits(x, total.astype(float), 0.95)
            assert covered(low, high, p.min()) >= 0.94, (n, classes)
            one = worst_class(x[0], total)
            assert (one.low, one.high) == pytest.approx((low[0], high[0]))
            worst = np.argmin(x / total, axis=1)
            naive[n, classes] = covered(*wilson(x[np.arange(DRAWS), worst], total[worst]), p.min())
    # Where one class is far the worst, selection does no harm; the nearer the classes, the more it does.
    assert min(naive.values()) < {"equal": 0.2, "close": 0.8, "spread": 1.0}[truth], naive


@pytest.mark.parametrize("sizes", ["equal", "unequal"])
@pytest.mark.parametrize("truth", list(TRUTHS))
def test_mean_over_classes_interval_covers(truth, sizes):
    for n in SIZES:
        for classes in (2, *CLASSES):
            p, total = truth_of(truth, classes), sizes_of(sizes, n, classes)
            x = np.random.default_rng([n, classes]).binomial(total, p, (DRAWS, classes)).astype(float)
            low, high = mean_over_classes_limits(x, total.astype(float), 0.95)
            assert covered(low, high, p.mean()) >= 0.93, (n, classes)
            if n == 1000:
                assert covered(low, high, p.mean()) <= 0.97, (n, classes)
            one = mean_over_classes(x[0], total)
            assert (one.low, one.high) == pytest.approx((low[0], high[0]))


@pytest.mark.parametrize("truth", ["equal", "close", "spread"])
def test_joint_intervals_cover(truth):
    p, total = truth_of(truth, 10), sizes_of("unequal", 100, 10)
    draws = np.random.default_rng(0).binomial(total, p, (300, 10))
    for summary, true in (
        (worst_share, np.sort(p)[:2].mean()),
        (gap, np.ptp(p)),
        (standard_deviation, p.std()),
    ):
        answers = [summary(x, total) for x in draws]
        # Rounding of an exactly zero spread aside.
        hits = [a.low - 1e-9 <= true <= a.high + 1e-9 for a in answers]
        assert np.mean(hits) >= 0.94, summary.__name__


@pytest.mark.parametrize("n", [20, 100, 1000])
@pytest.mark.parametrize("cells", [(0.05, 0.05), (0.1, 0.02), (0.3, 0.1), (0.01, 0.005), (0.45, 0.45)])
def test_paired_difference_interval_covers(n, cells):
    up, down = cells
    draws = np.random.default_rng(n).multinomial(n, [up, down, 1 - up - down], 20_000)
    low, high = paired_difference_limits(draws[:, 0], draws[:, 1], np.full(20_000, n), 0.95)
    assert covered(low, high, up - down) >= 0.935
