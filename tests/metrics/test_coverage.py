"""Coverage: the intervals must hold the true value as often as they say.

Classes are independent binomials, so the coverage of the worst class and of the joint limits is also *computed*, from
the distribution functions; the simulations check the same from drawn counts, and do so where there is no closed form.
"""

import functools

import numpy as np
import pytest
from scipy.special import bdtrc

from classwise.metrics import (
    ClassMatrix,
    clopper_pearson_bounds,
    gap,
    gini,
    mean_over_classes,
    normalised_spread,
    standard_deviation,
    wilson,
    worst_class,
    worst_share,
)
from classwise.metrics.aggregates import mean_over_classes_limits
from classwise.metrics.equalised import excess_limits
from classwise.metrics.intervals import sidak
from classwise.metrics.paired import paired_difference_limits
from classwise.metrics.symmetry import symmetric_gap_limits

DRAWS = 2000
SIZES = (20, 100, 1000)
CLASSES = (10, 43, 200)

# Lowest and highest true accuracy; "equal" ones are those where picking the worst class does the most harm.
TRUTHS = {
    "equal": (0.3, 0.3),
    "half": (0.5, 0.5),
    "close": (0.2, 0.4),
    "spread": (0.02, 0.6),
    "rare": (0.01, 0.04),
    "all rare": (0.01, 0.01),
    "all near one": (0.99, 0.99),
    "from end to end": (0.01, 0.99),
}


def truth_of(shape, classes):
    return np.linspace(*TRUTHS[shape], classes)


def one_weak(classes):
    """One class at 0.01, all others at 0.99."""
    return np.where(np.arange(classes) == classes // 2, 0.01, 0.99)


def every_truth(classes):
    return {shape: truth_of(shape, classes) for shape in TRUTHS} | {"one weak": one_weak(classes)}


def sizes_of(shape, n, classes):
    return np.full(classes, n) if shape == "equal" else np.linspace(n / 2, 2 * n, classes).astype(int)


def covered(low, high, true):
    return np.mean((low <= true) & (true <= high))


@functools.cache
def tables(sizes, n, classes, miss_low, miss_high):
    """Limits for every count: arrays of shape (C, most + 1); nan beyond a class's size."""
    total = sizes_of(sizes, n, classes)
    kinds, which = np.unique(total, return_inverse=True)
    x = np.arange(total.max() + 1)
    low, high = clopper_pearson_bounds(np.minimum(x, kinds[:, None]), kinds[:, None], miss_low, miss_high)
    beyond = x > kinds[:, None]
    return np.where(beyond, np.nan, low)[which], np.where(beyond, np.nan, high)[which]


def at_least(x, total, p):
    """P(count >= x), x of shape (C,) and possibly total + 1."""
    return np.where(x == 0, 1.0, bdtrc(np.maximum(x, 1) - 1.0, total, p))


def first(holds):
    """First count at which a statement that stays true comes true, or one past the last."""
    return np.where(holds.any(axis=1), holds.argmax(axis=1), holds.shape[1])


def worst_class_tables(sizes, n, classes):
    return tables(sizes, n, classes, 0.025, sidak(0.025, classes))


def worst_class_coverage(p, sizes, n):
    """P(min lower limit <= min p <= min upper limit), exactly."""
    total = sizes_of(sizes, n, len(p))
    low, high = worst_class_tables(sizes, n, len(p))
    reaches, exceeds = (np.minimum(first(side), total + 1) for side in (high >= p.min(), low > p.min()))
    all_reach = at_least(reaches, total, p).prod()
    # The lower limit misses only if that of every class exceeds the minimum.
    return all_reach - at_least(np.maximum(reaches, exceeds), total, p).prod()


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("sizes", ["equal", "unequal"])
def test_worst_class_interval_covers_exactly_computed(sizes, n, classes):
    coverage = {name: worst_class_coverage(p, sizes, n) for name, p in every_truth(classes).items()}
    assert min(coverage.values()) >= 0.95, coverage
    # Not bought by mere width: with many samples and equal classes, most of the upper miss probability is used.
    if n == 1000:
        assert coverage["half"] <= 0.99, coverage


def simulate_worst_class(p, sizes, n, draws, seed):
    total = sizes_of(sizes, n, len(p))
    low, high = worst_class_tables(sizes, n, len(p))
    x = np.random.default_rng(seed).binomial(total, p, (draws, len(p)))
    each = np.arange(len(p))
    low, high = low[each, x].min(axis=1), high[each, x].min(axis=1)
    one = worst_class(x[0], total)
    assert (one.low, one.high) == pytest.approx((low[0], high[0]))
    return covered(low, high, p.min()), x, total


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("sizes", ["equal", "unequal"])
def test_worst_class_interval_covers_in_simulation(sizes, n, classes):
    for seed, (name, p) in enumerate(every_truth(classes).items()):
        share, _, _ = simulate_worst_class(p, sizes, n, DRAWS // 4, [n, classes, seed])
        assert share >= 0.94, name
        # Five standard errors around the computed coverage.
        exact = worst_class_coverage(p, sizes, n)
        assert abs(share - exact) <= 5 * np.sqrt(exact * (1 - exact) / (DRAWS // 4)) + 1e-9, name


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ["equal", "unequal"])
def test_worst_class_interval_covers_in_a_long_simulation(sizes):
    for n in SIZES:
        for classes in CLASSES:
            for seed, (name, p) in enumerate(every_truth(classes).items()):
                share, _, _ = simulate_worst_class(p, sizes, n, 10_000, [n, classes, seed, 1])
                assert share >= 0.945, (n, classes, name)


@pytest.mark.parametrize("truth", ["equal", "close", "spread"])
def test_wilson_of_the_observed_worst_class_does_not_cover(truth):
    naive = {}
    for n in SIZES:
        for classes in CLASSES:
            p = truth_of(truth, classes)
            _, x, total = simulate_worst_class(p, "equal", n, DRAWS // 4, [n, classes])
            worst = np.argmin(x, axis=1)
            naive[n, classes] = covered(*wilson(x[np.arange(len(x)), worst], total[worst]), p.min())
    # Where one class is far the worst, selection does no harm; the nearer the classes, the more it does.
    assert min(naive.values()) < {"equal": 0.2, "close": 0.8, "spread": 1.0}[truth], naive


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("sizes", ["equal", "unequal"])
def test_joint_limits_cover_exactly_computed(sizes, n, classes):
    total = sizes_of(sizes, n, classes)
    half = sidak(0.05, classes) / 2
    low, high = tables(sizes, n, classes, half, half)
    for name, p in every_truth(classes).items():
        reaches, exceeds = (np.minimum(first(side), total + 1) for side in (high >= p[:, None], low > p[:, None]))
        coverage = (at_least(reaches, total, p) - at_least(exceeds, total, p)).prod()
        assert coverage >= 0.95, name


@pytest.mark.parametrize("sizes", ["equal", "unequal"])
@pytest.mark.parametrize("truth", ["equal", "close", "spread", "rare"])
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


def true_gini(p):
    return np.abs(p[:, None] - p).sum() / (2 * len(p) ** 2 * p.mean())


SUMMARIES = {
    worst_share: lambda p: np.sort(p)[: -(-len(p) // 5)].mean(),
    gap: np.ptp,
    standard_deviation: np.std,
    gini: true_gini,
    normalised_spread: lambda p: p.std() / p.mean(),
}


def joint_summaries_cover(p, total, draws):
    x = np.random.default_rng(0).binomial(total, p, (draws, len(p)))
    for summary, truth in SUMMARIES.items():
        answers = [summary(row, total) for row in x]
        # Rounding of an exactly zero spread aside.
        hits = [a.low - 1e-9 <= truth(p) <= a.high + 1e-9 for a in answers]
        assert np.mean(hits) >= 0.94, summary.__name__


@pytest.mark.parametrize("truth", ["equal", "spread", "all rare", "from end to end"])
def test_summaries_from_joint_limits_cover(truth):
    joint_summaries_cover(truth_of(truth, 10), sizes_of("unequal", 100, 10), 100)


@pytest.mark.slow
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("n", SIZES)
def test_summaries_from_joint_limits_cover_everywhere(n, classes):
    for p in every_truth(classes).values():
        for sizes in ("equal", "unequal"):
            joint_summaries_cover(p, sizes_of(sizes, n, classes), 20)


def excess_covers(p, total, draws):
    wrong = np.random.default_rng([len(p), int(total.max())]).binomial(total, 1 - p, (draws, len(p))).astype(float)
    low, high = excess_limits(wrong, np.broadcast_to(total, wrong.shape).astype(float), 0.95)
    true = (1 - p) - np.average(1 - p, weights=total)
    return np.mean(((low <= true + 1e-12) & (true <= high + 1e-12)).all(axis=1))


@pytest.mark.parametrize("truth", [*TRUTHS, "one weak"])
def test_joint_excess_intervals_cover(truth):
    for n in SIZES:
        for classes in (2, 10):
            share = excess_covers(every_truth(classes)[truth], sizes_of("unequal", n, classes), 400)
            assert share >= 0.94, (n, classes)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ["equal", "unequal"])
def test_joint_excess_intervals_cover_everywhere(sizes):
    for n in SIZES:
        for classes in CLASSES:
            for name, p in every_truth(classes).items():
                assert excess_covers(p, sizes_of(sizes, n, classes), 400) >= 0.94, (n, classes, name)


def falls(kind, classes):
    """Row fractions: half of every class withstands, or nothing; the rest falls in various ways."""
    fallen = 1.0 if kind == "all fall" else 0.5
    matrix = np.full((classes, classes), fallen / (classes - 1))
    if kind == "cycle":
        matrix = fallen * np.roll(np.eye(classes), 1, axis=1)
    elif kind == "random":
        matrix = np.random.default_rng(classes).dirichlet(np.full(classes, 0.3), classes)
        np.fill_diagonal(matrix, 0)
        matrix *= fallen / matrix.sum(axis=1, keepdims=True)
    np.fill_diagonal(matrix, 0)
    return matrix + np.diag(np.maximum(1 - matrix.sum(axis=1), 0))


def drawn_matrices(matrix, total, draws):
    rng = np.random.default_rng([len(matrix), int(total.max())])
    # Rounding may lift the sum of a row above 1, which the generator refuses.
    rows = matrix / matrix.sum(axis=1, keepdims=True)
    return np.stack([rng.multinomial(size, row, draws) for size, row in zip(total, rows, strict=True)], axis=1)


def symmetric_gap_covers(kind, classes, n, draws):
    matrix, total = falls(kind, classes), sizes_of("unequal", n, classes)
    value, low, high = symmetric_gap_limits(drawn_matrices(matrix, total, draws), 0.95)
    true = np.abs(matrix - matrix.T)[np.triu_indices(classes, 1)].mean()
    # Noise adds to the measured gap, which is why the interval has to reach far below it.
    assert value.mean() >= true - 3 * value.std() / np.sqrt(draws) - 1e-9
    return covered(low - 1e-12, high + 1e-12, true)


KINDS = ["even", "cycle", "random", "all fall"]


@pytest.mark.parametrize("kind", KINDS)
def test_symmetric_gap_interval_covers(kind):
    for n in SIZES:
        for classes in (2, 3, 10):
            assert symmetric_gap_covers(kind, classes, n, 500) >= 0.94, (n, classes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_symmetric_gap_interval_covers_for_many_classes(kind):
    for n in SIZES:
        for classes in (43, 200):
            assert symmetric_gap_covers(kind, classes, n, 100) >= 0.94, (n, classes)


@pytest.mark.parametrize("n", SIZES)
def test_interval_of_the_most_frequent_target_covers(n):
    for classes in (3, 10):
        matrix = falls("even", classes)
        counts = drawn_matrices(matrix, np.full(classes, n), 500)
        names = tuple(map(str, range(classes)))
        shares = [ClassMatrix(names, one).falls_into(0) for one in counts]
        # The true share of whichever target came out first is the same here.
        hits = [share[1].low <= matrix[0, 1] <= share[1].high for share in shares if share is not None]
        assert len(hits) == 500
        assert np.mean(hits) >= 0.94


@pytest.mark.parametrize("n", [20, 100, 1000])
@pytest.mark.parametrize("cells", [(0.05, 0.05), (0.1, 0.02), (0.3, 0.1), (0.01, 0.005), (0.45, 0.45)])
def test_paired_difference_interval_covers(n, cells):
    up, down = cells
    draws = np.random.default_rng(n).multinomial(n, [up, down, 1 - up - down], 20_000)
    low, high = paired_difference_limits(draws[:, 0], draws[:, 1], np.full(20_000, n), 0.95)
    assert covered(low, high, up - down) >= 0.935
