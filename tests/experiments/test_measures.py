"""Figures of audits and histories against numbers computed by hand."""

import math

import numpy as np
import pytest

from classwise.experiments.measures import Audited, Followed, Timed
from classwise.metrics import class_table

# Three classes of 4, 2 and 4 images; correct without attack 4, 1, 3; also under attack 2, 1, 0.
GROUP = np.repeat([0, 1, 2], [4, 2, 4])
CLEAN = np.array([1, 1, 1, 1, 1, 0, 1, 1, 1, 0], bool)
ROBUST = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0, 0], bool)
TABLE = class_table(GROUP, CLEAN, ROBUST, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Audited("clean"), 80),
        (Audited("clean", "worst"), 50),
        (Audited("clean", "worst", error=True), 50),
        (Audited("robust"), 30),
        (Audited("robust", error=True), 70),
        (Audited("robust", "worst"), 0),
        (Audited("robust", "worst", error=True), 100),
        (Audited("robust", "best"), 50),
        (Audited("robust", "worst-fifth"), 0),
        (Audited("boundary"), 50),
        (Audited("boundary", "worst"), 75),
        (Audited("clean", "class", group=2), 75),
        (Audited("robust", "deviation"), 100 * math.sqrt(1 / 18)),
        (Audited("clean", "class", group=3), math.nan),
    ],
)
def test_figures_of_a_class_table(measure: Audited, expected: float) -> None:
    assert measure.value(TABLE) == pytest.approx(expected, nan_ok=True)


def test_the_worst_fifth_rounds_up() -> None:
    group = np.repeat(np.arange(6), 4)
    right = np.concatenate([np.arange(4) < number for number in (0, 1, 2, 3, 4, 4)])
    table = class_table(group, right, right, tuple("abcdef"))
    assert Audited("robust", "worst-fifth").value(table) == pytest.approx(100 * (0 + 1) / 8)


HISTORY = [
    {
        "validation": {"raw": {"n": [10, 30], "clean": [0.5, 0.9], "robust": [0.1 * epoch, 0.4]}},
        "seconds": {"train": seconds},
    }
    for epoch, seconds in enumerate([9.0, 2.0, 4.0, 3.0])
]


def test_a_curve_and_its_mean_over_the_last_half() -> None:
    worst = Followed("robust", "worst", begin=0.5)
    assert worst.curve(HISTORY) == pytest.approx([0, 10, 20, 30])
    assert worst.value(HISTORY) == pytest.approx(25)
    assert Followed("robust", begin=0.75).value(HISTORY) == pytest.approx((10 * 30 + 30 * 40) / 40)
    assert Followed("clean", "class", error=True, group=1).value(HISTORY) == pytest.approx(10)
    assert all(math.isnan(each) for each in Followed("robust", weights="averaged").curve(HISTORY))


def test_time_is_the_median_without_the_first_epoch() -> None:
    assert Timed().value(HISTORY) == 3.0
    assert Timed().value(HISTORY[:1]) == 9.0
