"""Differences of methods over starts, against other libraries, loops and simulated worlds."""

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.weightstats import DescrStatsW

from classwise.metrics import compare_pairs
from effects_figures import Figure, average, class_accuracies, worst

Bools = NDArray[np.bool_]
LABELS = np.repeat(np.arange(4), (30, 50, 40, 20))
NAMES = ("a", "b", "c", "d")


def outcomes(accuracies: tuple[float, ...], starts: int, seed: int) -> Bools:
    drawn = np.random.default_rng(seed).random((starts, len(LABELS)))
    return drawn < np.array(accuracies)[LABELS]


BEFORE, AFTER = outcomes((0.9, 0.3, 0.7, 0.8), 5, 1), outcomes((0.85, 0.5, 0.7, 0.6), 5, 2)


def test_with_one_start_the_interval_over_images_is_that_of_pairs() -> None:
    table = compare_pairs(LABELS, BEFORE[0], AFTER[0], NAMES)
    expected = table.overall.difference
    figure = average(AFTER[:1], BEFORE[:1])
    assert figure.value == pytest.approx(expected.value, abs=1e-12)
    assert figure.images == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert figure.starts is figure.both is None
    assert figure.shown == 0  # one start tells nothing about others
    figure = worst(AFTER[:1], LABELS, BEFORE[:1])
    assert figure.weakest == (1,)
    assert BEFORE[0][LABELS == 1].mean() == class_accuracies(BEFORE, LABELS)[0].min()
    assert figure.value == pytest.approx(table.difference[1], abs=1e-12)
    assert figure.images == pytest.approx((table.low[1], table.high[1]), abs=1e-12)


def test_two_different_weakest_classes_are_compared_as_agresti_and_caffo_do() -> None:
    before, after = (outcomes(each, 1, 3) for each in ((0.9, 0.3, 0.8, 0.8), (0.9, 0.9, 0.8, 0.4)))
    right = [int(row[0][c == LABELS].sum()) for row, c in ((after, 3), (before, 1))]
    expected = confint_proportions_2indep(right[0], 20, right[1], 50, method="agresti-caffo")
    figure = worst(after, LABELS, before)
    assert figure.weakest == (3,)
    assert figure.value == pytest.approx(right[0] / 20 - right[1] / 50, abs=1e-12)
    assert figure.images == pytest.approx(expected, abs=1e-12)


def test_over_starts_it_is_students_interval_of_what_each_start_gives() -> None:
    lows = [[row[c == LABELS].mean() for c in range(4)] for which in (AFTER, BEFORE) for row in which]
    per_start = np.array([min(lows[s]) - min(lows[5 + s]) for s in range(5)])
    figure = worst(AFTER, LABELS, BEFORE)
    assert figure.value == pytest.approx(per_start.mean(), abs=1e-12)
    assert figure.starts == pytest.approx(DescrStatsW(per_start).tconfint_mean(), abs=1e-12)
    assert figure.weakest == tuple(int(np.argmin(lows[s])) for s in range(5))
    figure = average(AFTER, BEFORE)
    assert figure.starts == pytest.approx(DescrStatsW(AFTER.mean(1) - BEFORE.mean(1)).tconfint_mean(), abs=1e-12)
    figure = average(AFTER)
    assert figure.starts == pytest.approx(DescrStatsW(AFTER.mean(1)).tconfint_mean(), abs=1e-12)
    assert (figure.n_starts, figure.n_images) == (5, 140)


def half(figure: Figure, which: str) -> float:
    low, high = getattr(figure, which)
    return float(high - low) / 2


def test_copies_of_one_start_make_the_images_no_more_certain() -> None:
    single, copied = (average(np.repeat(AFTER[:1], n, 0), np.repeat(BEFORE[:1], n, 0)) for n in (1, 5))
    assert copied.images == pytest.approx(single.images, abs=1e-12)
    assert copied.starts == pytest.approx((single.value, single.value), abs=1e-12)
    assert half(copied, "both") == pytest.approx(half(single, "images"), rel=0.02)  # t of many images for z


def test_the_interval_for_both_is_wider_than_for_either() -> None:
    for figure in (average(AFTER, BEFORE), worst(AFTER, LABELS, BEFORE), average(AFTER), worst(AFTER, LABELS)):
        assert half(figure, "both") > half(figure, "images")
        assert half(figure, "both") > half(figure, "starts") * 0.7  # fewer degrees of freedom there
    lifted = AFTER.copy()
    lifted[:, LABELS == 1] = True
    assert worst(lifted, LABELS, BEFORE).shown == 1
    assert worst(BEFORE, LABELS, lifted).shown == -1
    assert worst(AFTER, LABELS, AFTER).value == worst(AFTER, LABELS, AFTER).shown == 0


def test_intervals_cover_another_start_and_other_images_where_pooling_does_not() -> None:
    """Logits of starts, images and both together; 200 draws of 5 starts and 200 images, no true difference."""
    generator, covered, pooled = np.random.default_rng(0), 0, 0
    labels = np.zeros(200, np.int64)
    for _ in range(200):
        image, common = generator.normal(0, 1, (2, 1, 200)), generator.normal(0, 1, (2, 5, 200))
        start = generator.normal(0, 0.4, (2, 5, 1))  # of each of the two methods
        before, after = image[0] + image + start + common > 0
        covered += average(after, before).both[0] <= 0 <= average(after, before).both[1]  # type: ignore[index]
        naive = compare_pairs(np.tile(labels, 5), before.ravel(), after.ravel(), ("all",)).overall.difference
        pooled += naive.low <= 0 <= naive.high
    assert covered >= 180
    assert pooled <= 140
