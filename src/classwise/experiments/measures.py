"""What a column of a table measures: a figure of an audit, of the course of training, or of its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from classwise.metrics import ClassTable
from classwise.threat import ThreatModel, linf

Quantity = Literal["clean", "robust", "boundary"]
Figure = Literal["average", "worst", "worst-fifth", "best", "deviation", "class"]

USUAL = linf("8/255")
"""The threat of all the papers unless they say otherwise."""


@dataclass(frozen=True)
class Audited:
    """A figure of the class table of an audit on test images, in per cent.

    Args:
        of: Clean accuracy, robust accuracy, or boundary error (correct without attack, wrong under it).
        figure: Over all images, of the worst class, the mean of the worst fifth of the classes (rounded up), of the best
            class, the standard deviation over classes, or of one class. Each quantity has its own worst class.
        attacks: Whose worst case counts; see :func:`classwise.attacks.attack_list`.
        error: Whether the error (100 - accuracy) is meant; the boundary error always is one.
        group: Number of the class, for the figure "class".
        threat: What the attacker may do, whatever was trained against.
    """

    of: Quantity
    figure: Figure = "average"
    attacks: str = "standard"
    error: bool = False
    group: int = 0
    threat: ThreatModel = USUAL

    unit: ClassVar[str] = "%"

    def value(self, table: ClassTable) -> float:
        """The figure; nan for a class that the data do not have."""
        errors = table.boundary if self.of == "boundary" else 1 - getattr(table, self.of)
        found = _figure(errors, table.n, self.figure, self.group)
        as_error = self.error or self.of == "boundary" or self.figure == "deviation"
        return 100 * (found if as_error else 1 - found)


@dataclass(frozen=True)
class Followed:
    """A figure of the validation passes of a run, its mean over some of the epochs, in per cent.

    Args:
        of: Clean or robust accuracy.
        figure: As for :class:`Audited`.
        error: As for :class:`Audited`.
        group: As for :class:`Audited`.
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
    weights: Literal["raw", "averaged"] = "raw"

    unit: ClassVar[str] = "%"

    def curve(self, history: Sequence[Mapping[str, Any]]) -> list[float]:
        """The figure after each epoch of a run's history; nan where there were no such weights yet."""
        values = []
        for entry in history:
            table = entry["validation"].get(self.weights)
            if table is None:
                values.append(float("nan"))
                continue
            errors = 1 - np.asarray(table[self.of], np.float64)
            found = _figure(errors, np.asarray(table["n"], np.int64), self.figure, self.group)
            values.append(100 * (found if self.error or self.figure == "deviation" else 1 - found))
        return values

    def value(self, history: Sequence[Mapping[str, Any]]) -> float:
        """Mean of the curve over the epochs asked for, the one that an end falls into included."""
        curve = self.curve(history)
        first = min(int(self.begin * len(curve)), len(curve) - 1)
        return fmean(curve[first : max(first + 1, round(self.end * len(curve)))])


@dataclass(frozen=True)
class Timed:
    """Seconds of the training steps of an epoch: the median over epochs without the first, which warms up.

    Validation passes are not in it. It belongs to the machine that it was measured on.
    """

    unit: ClassVar[str] = "s"

    def value(self, history: Sequence[Mapping[str, Any]]) -> float:
        """The median; of a single epoch that one."""
        return median(float(entry["seconds"]["train"]) for entry in (history[1:] or history))


Measure = Audited | Followed | Timed


def _figure(errors: npt.NDArray[np.float64], n: npt.NDArray[np.int64], figure: Figure, group: int) -> float:
    """A figure of class errors, fractions; classes without samples do not count."""
    if figure == "class":
        return float(errors[group]) if group < len(errors) else float("nan")
    there = n > 0
    errors, n = errors[there], n[there]
    ordered = np.sort(errors)[::-1]
    found = {
        "average": (errors * n).sum() / n.sum(),
        "worst": ordered[0],
        "worst-fifth": ordered[: -(-len(ordered) // 5)].mean(),
        "best": ordered[-1],
        "deviation": errors.std(),
    }
    return float(found[figure])
