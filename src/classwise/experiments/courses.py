"""What a column measures of the course of a training: figures of its history, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan, nan
from statistics import fmean, median
from typing import Any, ClassVar, Literal

import numpy as np

from classwise.experiments.figure import Figure, figure_of

History = Sequence[Mapping[str, Any]]
"""One entry per epoch; see :attr:`classwise.Run.history`."""
Weights = Literal["raw", "averaged"]


@dataclass(frozen=True)
class Followed:
    """A figure of the validation passes of a run, its mean over some of the epochs, in per cent.

    Args:
        of: Clean or robust accuracy.
        figure: As for :class:`classwise.experiments.measures.Audited`.
        error: Whether the error (100 - accuracy) is meant.
        group: Number of the class, for the figure "class".
        begin: Where in training the epochs begin, a fraction in [0, 1).
        end: Where they end, a fraction in (begin, 1].
        weights: The live weights, or their average.
    """

    of: Literal["clean", "robust"]
    figure: Figure = "average"
    error: bool = False
    group: int = 0
    begin: float = 0.0
    end: float = 1.0
    weights: Weights = "raw"

    unit: ClassVar[str] = "%"

    def curve(self, history: History) -> list[float]:
        """The figure after each epoch of a run's history; nan where there were no such weights yet."""
        values = []
        for entry in history:
            table = entry["validation"].get(self.weights)
            if table is None:
                values.append(nan)
                continue
            errors = 1 - np.asarray(table[self.of], np.float64)
            found = figure_of(errors, np.asarray(table["n"], np.int64), self.figure, self.group)
            values.append(100 * (found if self.error or self.figure == "deviation" else 1 - found))
        return values

    def value(self, history: History) -> float:
        """Mean of the curve over the epochs asked for, the one that an end falls into included."""
        return _mean_within(self.curve(history), self.begin, self.end)


@dataclass(frozen=True)
class Violation:
    """How far the class that violates a constraint of the policy most does so, in points of error; below 0: none does.

    It is what the policy noted after each epoch: error of the class, minus the average error, minus the slack. Of several
    policies that constrain the same error the largest counts. The value is the mean over some of the epochs.

    Args:
        of: The constraint on the clean or on the boundary error.
        begin: Where in training the epochs begin, a fraction in [0, 1).
        end: Where they end, a fraction in (begin, 1].
    """

    of: Literal["clean", "boundary"]
    begin: float = 0.0
    end: float = 1.0

    unit: ClassVar[str] = "points"

    def curve(self, history: History) -> list[float]:
        """The largest violation after each epoch; nan where the policy noted none."""
        values = []
        for entry in history:
            # Combined policies number the notes of their members: "0.clean_violation".
            noted = [
                note for name, note in entry["policy"].items() if name.rpartition(".")[2] == f"{self.of}_violation"
            ]
            there = np.asarray(entry["validation"]["raw"]["n"]) > 0
            values.append(max((100 * float(np.asarray(note)[there].max()) for note in noted), default=nan))
        return values

    def value(self, history: History) -> float:
        """Mean of the curve over the epochs asked for, the one that an end falls into included."""
        return _mean_within(self.curve(history), self.begin, self.end)


@dataclass(frozen=True)
class Jump:
    """How much a figure of the validation passes jumps: its mean absolute change between adjacent epochs, in points.

    Epochs with another learning rate than the one before do not count, since such a change moves every figure (CFA, section
    3.3: "except when the learning rate decays"); the curve shows them.

    Args:
        of: Clean or robust accuracy.
        figure: As for :class:`Followed`.
        group: Number of the class, for the figure "class".
        begin: Where in training the later one of two epochs may first lie, a fraction in [0, 1).
        end: Where it may last lie, a fraction in (begin, 1].
        weights: The live weights, or their average.
    """

    of: Literal["clean", "robust"]
    figure: Figure = "worst"
    group: int = 0
    begin: float = 0.0
    end: float = 1.0
    weights: Weights = "raw"

    unit: ClassVar[str] = "points"

    def curve(self, history: History) -> list[float]:
        """The absolute change that each epoch brought; nan for the first one, and where there were no such weights."""
        values = Followed(self.of, self.figure, group=self.group, weights=self.weights).curve(history)
        return [nan, *(abs(after - before) for before, after in pairwise(values))]

    def value(self, history: History) -> float:
        """Mean of the curve over the epochs asked for; nan where there is no change to speak of at a constant rate."""
        rates = [float(entry["lr"]) for entry in history]
        same = [True, *(after == before for before, after in pairwise(rates))]
        curve = [each if kept else nan for each, kept in zip(self.curve(history), same, strict=True)]
        return _mean_within(curve, self.begin, self.end, skip=True)


@dataclass(frozen=True)
class Fall:
    """How far validation accuracy has fallen at the end: its best value over epochs minus that after the last, in points.

    Of robust accuracy this is robust over-fitting. Each figure has its own best epoch. As the best of noisy values, the
    first of the two is too high by part of the noise: few images make a fall of their own.

    Args:
        of: Clean or robust accuracy.
        figure: As for :class:`Followed`, but for "deviation", of which the best is no maximum.
        group: Number of the class, for the figure "class".
        weights: The live weights, or their average.
    """

    of: Literal["clean", "robust"]
    figure: Figure = "average"
    group: int = 0
    weights: Weights = "raw"

    unit: ClassVar[str] = "points"

    def __post_init__(self) -> None:
        assert self.figure != "deviation", "a deviation does not fall from its best: measure another figure"

    def value(self, history: History) -> float:
        """The fall, at least 0; nan where there were no such weights after the last epoch."""
        values = Followed(self.of, self.figure, group=self.group, weights=self.weights).curve(history)
        return nan if isnan(values[-1]) else max(each for each in values if not isnan(each)) - values[-1]


@dataclass(frozen=True)
class Timed:
    """Seconds of the training steps of an epoch: the median over epochs without the first, which warms up.

    Validation passes are not in it. It belongs to the machine that it was measured on.
    """

    unit: ClassVar[str] = "s"

    def value(self, history: History) -> float:
        """The median; of a single epoch that one."""
        return median(float(entry["seconds"]["train"]) for entry in (history[1:] or history))


def _mean_within(curve: Sequence[float], begin: float, end: float, skip: bool = False) -> float:
    """Mean of a curve over a part of it, at least one epoch; nan with a nan in it, unless these are skipped."""
    first = min(int(begin * len(curve)), len(curve) - 1)
    part = curve[first : max(first + 1, round(end * len(curve)))]
    known = [each for each in part if not (skip and isnan(each))]
    return fmean(known) if known else nan
