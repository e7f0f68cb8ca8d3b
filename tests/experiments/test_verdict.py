"""The arithmetic of verdicts against hand computations."""

import math

import pytest

from classwise.experiments.verdict import RULE, interval, judge, order, printed
from classwise.published import Cell

VALUES = [50.0, 51.0, 52.0]
"""Mean 51, standard deviation 1."""
T2 = 4.302652729749464
"""Student's 97.5 % quantile with 2 degrees of freedom, of a printed table: 4.303."""


def cell(text: str, unit: str = "%") -> Cell:
    return Cell("faal", "table2", "row", "column", text, float(text.rstrip("%")) if text else None, unit, "")


def test_the_interval_of_three_runs() -> None:
    half = T2 * math.sqrt(1 + 1 / 3)
    assert interval(VALUES) == pytest.approx((51, 51 - half, 51 + half))
    half_of_five = T2 * math.sqrt(1 / 5 + 1 / 3)
    assert interval(VALUES, 5) == pytest.approx((51, 51 - half_of_five, 51 + half_of_five))
    assert pytest.approx(4.303, abs=5e-4) == T2


def test_one_run_has_no_interval_and_none_has_no_mean() -> None:
    mean, low, high = interval([50.0])
    assert mean == 50
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(math.isnan(each) for each in interval([]))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("51.0", "agrees"),
        ("46.0", "agrees"),
        ("45.9", "differs"),
        ("56.0", "agrees"),
        ("56.1", "differs"),
        ("46", "agrees"),
    ],
)
def test_a_number_inside_agrees_half_its_last_digit_allowed_for(text: str, word: str) -> None:
    """The interval is [46.032, 55.968]: 46.0 is outside by 0.032, which is less than 0.05; 45.9 by more."""
    assert judge(VALUES, cell(text), "paper").word == word


@pytest.mark.parametrize(
    ("values", "what", "size", "unit", "reason"),
    [
        (VALUES, cell("51.0"), "small", "%", "other size (small)"),
        (VALUES, cell("99.0"), "short", "%", "other size (short)"),
        (VALUES[:2], cell("51.0"), "paper", "%", "2 of 3 seeds"),
        (VALUES, None, "paper", "%", "not in the paper"),
        (VALUES, cell(""), "paper", "%", "illegible in the paper"),
        ([], cell("51.0"), "paper", "%", "not measured"),
        ([math.nan] * 3, cell("51.0"), "paper", "%", "not measured"),
        ([48.0, 50.0, 55.0], cell("51.0"), "paper", "%", "interval too wide"),
        ([150.0, 151.0, 152.0], cell("2.63", "min"), "paper", "s", "other machine"),
    ],
)
def test_where_nothing_can_be_said(values: list, what: Cell | None, size: str, unit: str, reason: str) -> None:
    found = judge(values, what, size, unit)
    assert (found.word, found.reason) == ("cannot say", reason)
    assert found.seeds == len(values)


def test_a_wide_interval_can_still_differ() -> None:
    assert judge([48.0, 50.0, 55.0], cell("90.0"), "paper").word == "differs"
    assert (
        "A number outside, after half a unit of its last digit is allowed for, differs; one inside agrees, unless"
        in RULE
    )


def test_runs_that_the_paper_averages_narrow_the_interval() -> None:
    """[46.03, 55.97] for one run, [47.86, 54.14] for the mean of five."""
    assert judge(VALUES, cell("47.0"), "paper").word == "agrees"
    assert judge(VALUES, cell("47.0"), "paper", paper_runs=5).word == "differs"


def test_what_is_printed_with_its_last_digit() -> None:
    assert printed(cell("24.40")) == pytest.approx((24.4, 0.005))
    assert printed(cell("91%")) == pytest.approx((91, 0.5))
    assert printed(cell("2.63", "min")) == pytest.approx((157.8, 0.3))
    assert all(math.isnan(each) for each in printed(cell("")))


def test_the_order_of_rows() -> None:
    there = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 30.0, "e": math.nan}
    here = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0, "e": 9.0}
    found = order(there, here)  # of ab, ac, ad, bc, bd the fourth is the other way round; c and d are equal there
    assert (found.same, found.pairs) == (4, 5)
    assert found.best_here == "d"
    tied = order({"a": 1.0, "b": 2.0}, {"a": 5.0, "b": 5.0})
    assert (tied.same, tied.pairs) == (0, 1)
    assert (order({"a": 1.0}, {"a": 1.0}).pairs, order({}, {}).best_here) == (0, "")
