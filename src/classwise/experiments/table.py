"""The table of an experiment: measured beside printed, a verdict for every cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classwise.experiments.base import Column, Row
from classwise.experiments.carry_out import Values
from classwise.experiments.measures import Measure, Timed
from classwise.experiments.notes import notes
from classwise.experiments.plan import Plan
from classwise.experiments.verdict import RULE, Verdict, judge, order, printed
from classwise.report.phrasing import ABSENT
from classwise.report.tables import csv_text, markdown, text
from classwise.runs.atomic import write_text

FIELDS = ("row", "column", "unit", "paper", "mean", "low", "high", "seeds", "verdict", "reason")


def rows(made: Plan, values: Values) -> list[dict[str, Any]]:
    """One dictionary per cell, with the :data:`FIELDS`; numbers in the unit of the cell, nan where there is none."""
    found = []
    for (row, column), judged in judgements(made, values).items():
        cell = made.experiment.printed(row, column)
        paper = printed(cell)[0] if cell is not None else math.nan
        found.append(
            {
                "row": row.name,
                "column": column.name,
                "unit": made.experiment.unit(row, column),
                "paper": paper,
                "mean": judged.mean,
                "low": judged.low,
                "high": judged.high,
                "seeds": judged.seeds,
                "verdict": judged.word,
                "reason": judged.reason,
            }
        )
    return found


def judgements(made: Plan, values: Values) -> dict[tuple[Row, Column], Verdict]:
    """The verdict on every measured cell."""
    experiment = made.experiment
    return {
        (row, column): judge(
            found,
            experiment.printed(row, column),
            made.size.name,
            "s" if isinstance(column.measure, Timed) else "%",
            experiment.paper_runs,
        )
        for (row, column), found in values.items()
    }


def orders(made: Plan, values: Values) -> list[str]:
    """For each column that is about a worst class, or a time, whether the rows come in the paper's order."""
    experiment, lines = made.experiment, []
    for column in experiment.columns:
        if not isinstance(column.measure, Timed) and _figure(column.measure) not in ("worst", "worst-fifth"):
            continue
        there, here = {}, {}
        for row in experiment.rows:
            cell = experiment.printed(row, column) if row.block == column.block else None
            if cell is not None and values.get((row, column)):
                there[row.name] = printed(cell)[0]
                here[row.name] = judge(values[row, column], cell, made.size.name).mean
        if len(here) > 1:
            lines.append(f"{column.name}: {order(there, here)}.")
    return lines


def table_text(made: Plan, values: Values) -> str:
    """The table for people to read, with the rule, the order of the rows and what was assumed."""
    cells = rows(made, values)
    return text([_heading(made), [_line(cell) | {"": ""} for cell in cells], *_notes(made, values, cells)])


def write_table(made: Plan, values: Values) -> list[Path]:
    """Write ``NAME.csv`` and ``NAME.md`` into the plan's folder; returns their paths."""
    cells = rows(made, values)
    lines = [_heading(made), "", markdown([_line(cell) for cell in cells]), "", *_notes(made, values, cells)]
    found = [made.out / f"{made.experiment.name}.{end}" for end in ("csv", "md")]
    for path, content in zip(found, (csv_text(cells), "\n".join(lines) + "\n"), strict=True):
        write_text(path, content)
    return found


def _heading(made: Plan) -> str:
    experiment = made.experiment
    return f"{experiment.name}: {experiment.shows} Size {made.size.name}: {made.size.told}; seeds: {made.seeds}."


def _notes(made: Plan, values: Values, cells: Sequence[dict[str, Any]]) -> list[str]:
    words = [each["verdict"] for each in cells]
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("agrees", "differs", "cannot say"))
    return [f"{len(cells)} cells: {counts}.", *orders(made, values), *notes(made), RULE]


def _figure(measure: Measure) -> str:
    """The figure that a measure is of; empty where it is of none, such as a time."""
    return getattr(measure, "figure", "")


def _line(cell: dict[str, Any]) -> dict[str, str]:
    between = f"[{_number(cell['low'])}, {_number(cell['high'])}]" if not math.isnan(cell["low"]) else ABSENT
    unit = {"%": " %", "1": ""}.get(cell["unit"], f", {cell['unit']}")
    verdict = f"{cell['verdict']}: {cell['reason']}" if cell["reason"] else cell["verdict"]
    return {
        "row": cell["row"],
        "measured": cell["column"] + unit,
        "paper": _number(cell["paper"]),
        "here": _number(cell["mean"]),
        "95 %": between,
        "verdict": verdict,
    }


def _number(value: float) -> str:
    if math.isnan(value):
        return ABSENT
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"
