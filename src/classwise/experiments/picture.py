"""The picture of an experiment: classes in bars, in order, over radii or epochs, or figures over epochs or a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from classwise.experiments.carry_out import Outcome
from classwise.experiments.class_pictures import (
    Cells,
    certified_classes,
    certified_figure,
    class_knobs,
    dash,
    grid,
    knob_figure,
    sorted_classes,
    sorted_figure,
)
from classwise.experiments.measures import Audited, Course
from classwise.experiments.plan import Plan, asked
from classwise.metrics import ClassTable
from classwise.report.figures import Entry, class_bars_figure, epoch_axis, legend
from classwise.report.svg import PALETTE, drawing, new_figure, standalone
from classwise.report.tables import csv_text
from classwise.run import Run
from classwise.runs.atomic import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_picture(made: Plan, outcome: Outcome) -> list[Path]:
    """Write ``NAME.svg`` where the experiment has a picture; returns the paths of what was written.

    What its table does not hold, such as every epoch of a course, is written beside it: ``NAME-curves.csv``, and so on.
    """
    experiment = made.experiment
    if not experiment.picture:
        return []
    kinds: dict[str, Callable[[], tuple[Cells, Figure]]] = {
        "bars": lambda: ([], class_bars_figure(_tables(made, outcome))),
        "sorted": lambda: _of(sorted_classes(made, outcome), sorted_figure),
        "curves": lambda: _of(_courses(made), _curves),
        "sweep": lambda: ([], _sweep(made, outcome)),
        "certified": lambda: _of(certified_classes(made, outcome), certified_figure),
        "knobs": lambda: _of(class_knobs(made), knob_figure),
    }
    numbers, figure = kinds[experiment.picture]()
    paths = [made.out / f"{experiment.name}.svg"]
    write_text(paths[0], standalone(figure, f"{experiment.shows} Size {made.size.name}."))
    if numbers:
        paths.append(made.out / f"{experiment.name}-{experiment.picture}.csv")
        write_text(paths[1], csv_text(numbers))
    return paths


def _of(numbers: Cells, draw: Callable[[Cells], Figure]) -> tuple[Cells, Figure]:
    return numbers, draw(numbers)


def _tables(made: Plan, outcome: Outcome) -> dict[str, ClassTable]:
    """The class table of each row, of its first seed."""
    found = {}
    for row, column in made.experiment.cells():
        if isinstance(column.measure, Audited) and row.name not in found and row.name not in made.left_out:
            network = made.networks_of(row.training)[0]
            found[row.name] = outcome.audits[network.name, asked(made.size, row, column.measure)].table()
    return found


def _courses(made: Plan) -> Cells:
    """One dictionary for each row, column, run and epoch (counted from 1)."""
    assert all(row.minus is None for row in made.experiment.rows), "a course is of one training"
    return [
        {
            "row": row.name,
            "column": column.name,
            "run": network.name,
            "epoch": epoch,
            "value": value,
            "unit": column.measure.unit,
        }
        for row, column in made.experiment.cells()
        if isinstance(column.measure, Course) and row.name not in made.left_out
        for network in made.networks_of(row.training)
        if not network.file
        for epoch, value in enumerate(column.measure.curve(Run(made.folder(network.name)).history), 1)
    ]


def _curves(courses: Cells) -> Figure:
    """A panel for each column, a line for each row: the mean over its runs."""
    columns = list(dict.fromkeys(each["column"] for each in courses))
    lines = list(dict.fromkeys(each["row"] for each in courses))
    with drawing():
        figure, axes = grid(len(columns))
        entries: dict[str, Entry] = {}
        for ax, column in zip(axes, columns, strict=True):
            for i, row in enumerate(lines):
                points: dict[int, list[float]] = {}
                for each in courses:
                    if (each["row"], each["column"]) == (row, column):
                        points.setdefault(each["epoch"], []).append(each["value"])
                means = [fmean(values) for values in points.values()]
                (line,) = ax.plot(list(points), means, dash(i), color=PALETTE[i % len(PALETTE)])
                entries.setdefault(row, (line, row))
            ax.set_title(column, loc="left")
            epoch_axis(ax)
            ax.set_ylabel(next(each["unit"] for each in courses if each["column"] == column))
        legend(figure, list(entries.values()), "outside right upper")
    return figure


def _sweep(made: Plan, outcome: Outcome) -> Figure:
    """A line for each column over the rows, in their order: the mean over seeds."""
    rows = [row for row in made.experiment.rows if row.name not in made.left_out]
    with drawing():
        figure, (ax,) = new_figure(max(5.0, 1.0 * len(rows)), 3.6)
        for i, column in enumerate(made.experiment.columns):
            means = [fmean(outcome.values.get((row, column)) or [float("nan")]) for row in rows]
            ax.plot(np.arange(len(rows)), means, "o" + dash(i), color=PALETTE[i % len(PALETTE)], label=column.name)
        ax.set_xticks(range(len(rows)), [row.name for row in rows])
        ax.set_ylabel(" / ".join(dict.fromkeys(column.measure.unit for column in made.experiment.columns)))
        ax.legend()
    return figure
