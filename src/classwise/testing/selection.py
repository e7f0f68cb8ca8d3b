"""The contract of selection rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from classwise.metrics import ClassTable
from classwise.metrics.class_table import class_table
from classwise.selection import Selection
from classwise.testing.demand import Demand, demand, require
from classwise.testing.finding import Finding
from classwise.testing.generators import MEND, seeded, undrawn
from classwise.testing.made import made
from classwise.testing.settings import examine_contract

_GROUPS = (2, 3, 10, 43)
_EPOCHS = (0, 1, 7, 150)
_CLOSE = 1e-9


@dataclass(frozen=True)
class Subject:
    """A selection rule under examination."""

    selection: Selection

    def score(self, table: ClassTable, epoch: int) -> float:
        """Its score, with the global generators at a fixed seed."""
        with seeded(0):
            return self.selection.score(table, epoch)


@demand(
    "score",
    expected="the score of a validation table is a finite number, whatever the number of classes and the accuracies",
    mend="return a float; leave classes without samples out, as table.worst.value and table.class_mean.value do",
)
def score_fits(subject: Subject) -> None:
    """Whether epochs can be compared by it."""
    for words, table in _tables().items():
        for epoch in _EPOCHS:
            score = subject.score(table, epoch)
            real = isinstance(score, Real) and not isinstance(score, bool)
            require(real, f"{words} the score is {type(score).__name__} {score!r}")
            require(math.isfinite(score), f"{words} the score is {score}")


@demand(
    "permutes",
    expected="the order of the classes does not matter",
    mend="use what is the same for every order: the mean, the worst class, the sum",
    after=("score",),
)
def permutes(subject: Subject) -> None:
    """Whether the order of the classes matters."""
    for groups in _GROUPS:
        order = np.random.default_rng(2).permutation(groups) if groups > 2 else np.array([1, 0])
        one, other = (subject.score(_table(groups, order=each), 3) for each in (np.arange(groups), order))
        seen = f"with {groups} classes in another order the score is {other:.6g} instead of {one:.6g}"
        require(math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE), seen)


@demand(
    "repeatable",
    expected="the same table and epoch give the same score, and the table stays as it is",
    mend=MEND,
    after=("score",),
)
def repeatable(subject: Subject) -> None:
    """Whether a score changes."""
    table = _table(10)
    before = {name: value.copy() for name, value in vars(table).items() if isinstance(value, np.ndarray)}
    first = undrawn("score", lambda: subject.selection.score(table, 3))
    with seeded(1):
        subject.selection.score(_table(3), 9)
        again = subject.selection.score(table, 3)
    require(first == again, f"scored twice it gave {first:.6g} and {again:.6g}")
    changed = [
        name for name, value in before.items() if not np.array_equal(value, getattr(table, name), equal_nan=True)
    ]
    require(not changed, f"it changed the table's {', '.join(changed)}", "work on copies of the table's arrays")


DEMANDS: tuple[Demand[Subject], ...] = (score_fits, permutes, repeatable)
"""Demands on a selection rule, beyond those on every component."""


def check_selection(selection: Selection | type[Selection] | str) -> tuple[Finding, ...]:
    """Check a selection rule against its contract, on made-up validation tables.

    Args:
        selection: A rule, or the class or registered name of one that can be made without arguments.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no selection rule, or cannot be made without arguments.
    """
    subject = made(selection, "selection")
    return examine_contract(subject, Subject(subject), DEMANDS)


def _tables() -> dict[str, ClassTable]:
    usual = {f"with {groups} classes": _table(groups) for groups in _GROUPS}
    return usual | {
        "with a class without images": _table(10, absent=4),
        "where nothing withstands": _table(10, share=0.0),
        "where everything withstands": _table(10, share=1.0),
    }


def _table(
    groups: int, order: np.ndarray | None = None, absent: int | None = None, share: float | None = None
) -> ClassTable:
    """Counts of classes of different difficulty; entry i belongs to class order[i]."""
    random = np.random.default_rng(groups)
    labels, clean, robust = [], [], []
    for group in range(groups):
        n = 0 if group == absent else int(random.integers(12, 30))
        right = random.random(n) < 0.9
        withstands = right & (random.random(n) < (0.2 + 0.7 * group / groups))
        if share is not None:
            right = withstands = np.full(n, share == 1.0)
        labels.append(np.full(n, group))
        clean.append(right)
        robust.append(withstands)
    chosen = np.arange(groups) if order is None else order
    place = np.argsort(chosen)
    names = [f"class {group}" for group in chosen]
    return class_table(place[np.concatenate(labels)], np.concatenate(clean), np.concatenate(robust), names)
