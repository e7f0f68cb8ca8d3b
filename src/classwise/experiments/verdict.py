"""Whether what was measured agrees with what a paper prints: the rule, and its arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from typing import Literal

from classwise.experiments.sizes import Budget
from classwise.published import Cell

Word = Literal["agrees", "differs", "cannot say"]

SEEDS = 3
"""Runs that a verdict needs."""
WIDEST = 5.0
"""Half the width, in percentage points, beyond which an interval agrees with too much to say anything."""
SCALES = {"min": 60.0, "1": 100.0}
"""Units of the papers in units of the measures: times in seconds, fractions in per cent."""

RULE = (
    "Rule: the interval is the one in which the paper's number would lie in 95 % of cases if it came from runs like ours: "
    "mean over seeds ± t s sqrt(1/k + 1/n), with s the standard deviation over our n seeds, t Student's quantile with n - 1 "
    "degrees of freedom and k the runs that the paper averages. A number outside, after half a unit of its last digit is "
    f"allowed for, differs; one inside agrees, unless the interval is wider than {WIDEST:g} points to either side: then "
    f"nothing can be said. Nor can it with fewer than {SEEDS} seeds, in another size, or of times of another machine. Of "
    "cells that are all reproduced, one in twenty is still expected to differ."
)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a cell.

    Args:
        word: What it is.
        reason: Why nothing can be said; empty otherwise.
        mean: Mean over seeds; nan where nothing was measured.
        low: Lower end of the interval of the rule; nan with fewer than two seeds.
        high: Upper end.
        seeds: Number of values.
    """

    word: Word
    reason: str
    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def judge(values: Sequence[float], cell: Cell | None, size: Budget, unit: str = "%", paper_runs: int = 1) -> Verdict:
    """Compare the values of a cell, one per seed, with the paper; see :data:`RULE`.

    Args:
        values: In the unit of the measure; at a size other than "paper" there is never a verdict.
        cell: What the paper has; None: nothing.
        size: The size of the runs.
        unit: "%" or "s".
        paper_runs: Runs that the paper averages, at least 1.
    """
    mean, low, high = interval(values, paper_runs)

    def cannot(reason: str) -> Verdict:
        return Verdict("cannot say", reason, mean, low, high, len(values))

    if not values or math.isnan(mean):
        return cannot("not measured")
    if cell is None:
        return cannot("not in the paper")
    value, half_digit = printed(cell)
    if math.isnan(value):
        return cannot("illegible in the paper")
    if size != "paper":
        return cannot(f"other size ({size})")
    if unit != "%":
        return cannot("other machine")
    if len(values) < SEEDS:
        return cannot(f"{len(values)} of {SEEDS} seeds")
    if low - half_digit <= value <= high + half_digit:
        if (high - low) / 2 > WIDEST:
            return cannot("interval too wide")
        return Verdict("agrees", "", mean, low, high, len(values))
    return Verdict("differs", "", mean, low, high, len(values))


def interval(values: Sequence[float], paper_runs: int = 1) -> tuple[float, float, float]:
    """Mean, and ends of the interval in which the mean of ``paper_runs`` further runs lies in 95 % of cases."""
    if not values:
        return math.nan, math.nan, math.nan
    mean, n = fmean(values), len(values)
    if n < 2 or math.isnan(mean):
        return mean, math.nan, math.nan
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975)) * stdev(values) * math.sqrt(1 / paper_runs + 1 / n)
    return mean, mean - half, mean + half


def printed(cell: Cell) -> tuple[float, float]:
    """The number of a cell and half a unit of its last digit, in units of the measures; nan where it cannot be read."""
    if cell.value is None:
        return math.nan, math.nan
    scale = SCALES.get(cell.unit, 1.0)
    number = cell.printed.strip().rstrip("%").strip()
    digits = len(number.partition(".")[2])
    return cell.value * scale, 0.5 * 10**-digits * scale


@dataclass(frozen=True)
class Order:
    """Whether rows come in the order of the paper.

    Args:
        same: Pairs of rows that have the same order here and there.
        pairs: Pairs with different numbers in the paper.
        best_there: The row with the highest number in the paper.
        best_here: The row with the highest mean here.
    """

    same: int
    pairs: int
    best_there: str
    best_here: str

    def __str__(self) -> str:
        best = "the same row is highest" if self.best_there == self.best_here else f"highest here: {self.best_here}"
        return f"{self.same} of {self.pairs} pairs of rows in the paper's order ({best if self.pairs else 'no pair'})"


def order(there: Mapping[str, float], here: Mapping[str, float]) -> Order:
    """Compare the order of rows.

    Args:
        there: The paper's numbers by row; those without a number (nan) do not count.
        here: Our means by row; equal means have no order.
    """
    both = [row for row in there if row in here and not math.isnan(there[row]) and not math.isnan(here[row])]
    pairs = [(one, other) for one, other in combinations(both, 2) if there[one] != there[other]]
    same = sum((there[one] - there[other]) * (here[one] - here[other]) > 0 for one, other in pairs)
    highest = [max(both, key=numbers.__getitem__, default="") for numbers in (there, here)]
    return Order(same, len(pairs), *highest)
