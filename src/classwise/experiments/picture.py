"""The picture of an experiment: bars of every class, courses over epochs, or figures over a sweep."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from classwise.experiments.carry_out import Outcome
from classwise.experiments.measures import Audited, Followed
from classwise.experiments.plan import Plan, asked
from classwise.metrics import ClassTable
from classwise.report.figures import class_bars_figure
from classwise.report.svg import PALETTE, drawing, new_figure, standalone
from classwise.report.tables import csv_text
from classwise.run import Run
from classwise.runs.atomic import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_picture(made: Plan, outcome: Outcome) -> list[Path]:
    """Write ``NAME.svg`` where the experiment has a picture, and ``NAME-curves.csv`` for courses; returns their paths."""
    experiment = made.experiment
    if not experiment.picture:
        return []
    courses = _courses(made) if experiment.picture == "curves" else []
    figure = {
        "bars": lambda: class_bars_figure(_tables(made, outcome)),
        "curves": lambda: _curves(courses),
        "sweep": lambda: _sweep(made, outcome),
    }[experiment.picture]()
    paths = [made.out / f"{experiment.name}.svg"]
    write_text(paths[0], standalone(figure, f"{experiment.shows} Size {made.size.name}."))
    if courses:
        paths.append(made.out / f"{experiment.name}-curves.csv")
        write_text(paths[1], csv_text(courses))
    return paths


def _tables(made: Plan, outcome: Outcome) -> dict[str, ClassTable]:
    """The class table of each row, of its first seed."""
    found = {}
    for row, column in made.experiment.cells():
        if isinstance(column.measure, Audited) and row.name not in found and row.name not in made.left_out:
            network = made.networks_of(row.training)[0]
            found[row.name] = outcome.audits[network.name, asked(made.size, row, column.measure)].table()
    return found


def _courses(made: Plan) -> list[dict[str, Any]]:
    """One dictionary for each row, column, run and epoch (counted from 1)."""
    return [
        {"row": row.name, "column": column.name, "run": network.name, "epoch": epoch, "value": value}
        for row, column in made.experiment.cells()
        if isinstance(column.measure, Followed) and row.name not in made.left_out
        for network in made.networks_of(row.training)
        if not network.file
        for epoch, value in enumerate(column.measure.curve(Run(made.folder(network.name)).history), 1)
    ]


def _curves(courses: list[dict[str, Any]]) -> Figure:
    """A panel for each column, a line for each row: the mean over its runs."""
    from matplotlib.ticker import MaxNLocator

    columns = list(dict.fromkeys(each["column"] for each in courses))
    lines = list(dict.fromkeys(each["row"] for each in courses))
    with drawing():
        figure, axes = new_figure(5.0 * len(columns), 3.6, panels=len(columns))
        for ax, column in zip(axes, columns, strict=True):
            for i, row in enumerate(lines):
                points: dict[int, list[float]] = {}
                for each in courses:
                    if (each["row"], each["column"]) == (row, column):
                        points.setdefault(each["epoch"], []).append(each["value"])
                means = [fmean(values) for values in points.values()]
                ax.plot(list(points), means, _dash(i), color=PALETTE[i % len(PALETTE)], label=row)
            ax.set_title(column)
            ax.set_xlabel("epochs done")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            ax.set_ylabel("%")
        axes[0].legend()
    return figure


def _sweep(made: Plan, outcome: Outcome) -> Figure:
    """A line for each column over the rows, in their order: the mean over seeds."""
    rows = [row for row in made.experiment.rows if row.name not in made.left_out]
    with drawing():
        figure, (ax,) = new_figure(max(5.0, 1.0 * len(rows)), 3.6)
        for i, column in enumerate(made.experiment.columns):
            means = [fmean(outcome.values.get((row, column)) or [float("nan")]) for row in rows]
            ax.plot(np.arange(len(rows)), means, "o" + _dash(i), color=PALETTE[i % len(PALETTE)], label=column.name)
        ax.set_xticks(range(len(rows)), [row.name for row in rows])
        ax.set_ylabel(" / ".join(dict.fromkeys(column.measure.unit for column in made.experiment.columns)))
        ax.legend()
    return figure


def _dash(number: int) -> str:
    """The stroke of a line: others once the colours are used up."""
    return ("-", "--", ":", "-.")[number // len(PALETTE) % 4]
