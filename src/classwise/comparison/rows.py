"""Rows of a comparison: the audited models of one recipe, a repetition each, and their figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classwise.comparison.conditions import Column, Measured, Measurements
from classwise.comparison.find import Audited
from classwise.comparison.seeds import OverSeeds, over_seeds
from classwise.metrics import ClassTable, Estimate, worst_class


@dataclass(frozen=True, eq=False)
class Member:
    """One audited model within its row.

    Attributes:
        model: The model.
        measured: What was measured on it in the frame of the comparison, by column.
        main: The column that tests, pictures and marks are about.
        letter: Conditions that it was measured under; equal for all of a comparison that was not forced.
    """

    model: Audited
    measured: Measurements
    main: Column
    letter: str

    @cached_property
    def tables(self) -> dict[Column, ClassTable]:
        """Class tables by column."""
        return {column: each.audit.table(each.radius) for column, each in self.measured.items()}

    @property
    def table(self) -> ClassTable:
        """The class table of the main column."""
        return self.tables[self.main]

    @property
    def shown(self) -> Measured:
        """The audit and radius of the main column."""
        return self.measured[self.main]

    @cached_property
    def clean(self) -> dict[str, Estimate]:
        """Clean accuracy: "average" over samples, and of the "worst" class."""
        table = self.table
        successes = np.rint(np.nan_to_num(table.clean) * table.n)
        return {"average": table.overall("clean"), "worst": worst_class(successes, table.n, table.confidence)}

    @cached_property
    def robust(self) -> dict[Column, dict[str, Estimate]]:
        """The same of robust accuracy, by column."""
        return {column: {"average": table.mean, "worst": table.worst} for column, table in self.tables.items()}

    @property
    def repetition(self) -> tuple[int, ...]:
        """Seeds of the run and of those it started from; empty where no run is known."""
        return self.model.training.repetition if self.model.training is not None else ()


@dataclass(frozen=True, eq=False)
class Row:
    """A recipe: runs that differ in their seeds alone.

    Attributes:
        label: Name, which no other row has.
        members: Its models, at least one, each of another repetition.
        start: Label of the row that its runs started from; empty where that is not in the table.
        depth: How many rows it goes back to its first start; 0 where it has none in the table.
    """

    label: str
    members: tuple[Member, ...]
    start: str = ""
    depth: int = 0

    @property
    def letter(self) -> str:
        """Conditions of its figures."""
        return self.members[0].letter

    @property
    def main(self) -> Column:
        """The column of its main figures."""
        return self.members[0].main

    @property
    def seeds(self) -> int:
        """Number of repetitions."""
        return len(self.members)

    @property
    def recipe(self) -> str:
        """Name of the recipe its runs began as; empty where it is not known."""
        training = self.members[0].model.training
        return training.recipe if training is not None else ""

    @cached_property
    def clean(self) -> dict[str, OverSeeds]:
        """Clean accuracy over seeds: "average" and "worst"."""
        return {of: over_seeds([each.clean[of] for each in self.members]) for of in ("average", "worst")}

    @cached_property
    def robust(self) -> dict[Column, dict[str, OverSeeds]]:
        """Robust accuracy over the seeds that were measured, by column: "average" and "worst"."""
        columns = dict.fromkeys(column for each in self.members for column in each.measured)
        return {
            column: {
                of: over_seeds([each.robust[column][of] for each in self.members if column in each.measured])
                for of in ("average", "worst")
            }
            for column in columns
        }

    @property
    def average(self) -> OverSeeds:
        """Robust accuracy over samples in the main column."""
        return self.robust[self.main]["average"]

    @property
    def worst(self) -> OverSeeds:
        """Robust accuracy of the weakest class of each seed in the main column."""
        return self.robust[self.main]["worst"]

    @cached_property
    def classes(self) -> npt.NDArray[np.float64]:
        """Robust accuracy of every class of every seed in the main column, shape (seeds, G)."""
        return np.stack([each.table.robust for each in self.members])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        table = self.members[0].table
        means = self.classes.mean(axis=0).tolist()
        return {
            "label": self.label,
            "recipe": self.recipe,
            "start": self.start,
            "depth": self.depth,
            "conditions": self.letter,
            "models": [each.model.name for each in self.members],
            "repetitions": [list(each.repetition) for each in self.members],
            "main": str(self.main),
            "clean": {of: each.to_dict() for of, each in self.clean.items()},
            "robust": {
                str(column): {of: each.to_dict() for of, each in figures.items()}
                for column, figures in self.robust.items()
            },
            "classes": {name: None if np.isnan(mean) else mean for name, mean in zip(table.names, means, strict=True)},
        }


def gather(members: Sequence[Member], left_out: list[str]) -> list[Row]:
    """Put members of one recipe into one row; rows that started from another row follow it.

    Args:
        members: All of them.
        left_out: Gets a sentence for every repetition that is there twice.
    """
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for i, member in enumerate(members):
        model, training = member.model, member.model.training
        # An audit by itself does not say how its model was trained, so it is a row of its own.
        key = (i,) if training is None else (training.key, model.checkpoint, member.letter)
        group = groups.setdefault(key, [])
        twin = next((each for each in group if each.repetition == member.repetition), None)
        if twin is None:
            group.append(member)
        else:
            left_out.append(f"{_place(model)} repeats recipe and seed of {_place(twin.model)}, which is shown.")
    labels = _labels(list(groups.values()))
    of_recipe: dict[str, str] = {}
    for group, label in zip(groups.values(), labels, strict=True):
        if group[0].model.training is not None:
            of_recipe.setdefault(group[0].model.training.key, label)
    rows = []
    for group, label in zip(groups.values(), labels, strict=True):
        training = group[0].model.training
        start = of_recipe.get(training.start, "") if training is not None else ""
        rows.append(Row(label, tuple(group), start if start != label else ""))
    return _after_their_start(rows)


def _after_their_start(rows: Sequence[Row]) -> list[Row]:
    ordered: list[Row] = []

    def put(row: Row, depth: int) -> None:
        ordered.append(replace(row, depth=depth))
        for other in rows:
            if other.start == row.label:
                put(other, depth + 1)

    for row in rows:
        if not row.start:
            put(row, 0)
    assert len(ordered) == len(rows), "starts form no circle, since a recipe's key is made from that of its start"
    return ordered


def _labels(groups: Sequence[Sequence[Member]]) -> list[str]:
    """A name for every group: what the folder names of its runs share, the recipe's name, or the audit's own words."""
    labels: list[str] = []
    for group in groups:
        model = group[0].model
        if model.training is None:
            label = model.name
        else:
            stems = {_stem(each.model) for each in group}
            label = stems.pop() if len(stems) == 1 else model.training.recipe or " / ".join(sorted(stems))
            label = f"{label} {model.checkpoint}".strip()
        number, unique = 2, label
        while unique in labels:
            unique, number = f"{label} #{number}", number + 1
        labels.append(unique)
    return labels


def _stem(model: Audited) -> str:
    """The folder name of a run without its seed at the end: "at-s1" of seed 1 is "at"."""
    assert model.training is not None
    return re.sub(rf"[-_. ]+(seed|s)?[-_. ]*{model.training.seed}$", "", model.name) or model.name


def _place(model: Audited) -> str:
    return str(model.run if isinstance(model.run, Path) else model.name)
