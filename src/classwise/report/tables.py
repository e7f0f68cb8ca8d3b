"""Audits and comparisons as text: for a terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from classwise.report.phrasing import conditions, level, limits, p_value, percent, points, summary

if TYPE_CHECKING:
    from rich.console import RenderableType

    from classwise.evaluation.check import Check
    from classwise.evaluation.compare import Comparison
    from classwise.evaluation.result import AuditResult
    from classwise.metrics import ClassTable, Estimate

Row = Mapping[str, Any]
Block = str | Sequence[Row]
"""A line of text, or the rows of a table."""

MARKS = {"weakest": "bold", "higher": "green", "lower": "red"}
"""Marks in the last column of a table, and how rich shows their rows."""


def audit_text(result: AuditResult) -> str:
    """An audit for people to read: for each threat model a class table with intervals, and what follows from it.

    Returns:
        Text without a final newline, coloured where standard output is a terminal; a Markdown table without rich.
    """
    searched = result.environment.get("search")
    blocks: list[Block] = [f"{result.plan.model}: {conditions(result.plan)}"]
    blocks += [f"Searched on {searched}; verdicts are the model's own."] if searched else []
    for radius, threat in enumerate(result.plan.threats):
        table = result.table(radius)
        blocks += [f"\n{threat}"] if len(result.plan.threats) > 1 else []
        blocks += [
            [
                {
                    "class": row["name"],
                    "n": row["n"],
                    "clean %": percent(row["clean"]),
                    "robust %": percent(row["robust"]),
                    f"{level(table.confidence)} (Wilson)": limits(row["robust_low"], row["robust_high"]),
                    "boundary %": percent(row["boundary"]),
                    "": "weakest" if row["name"] == table.weakest else "",
                }
                for row in table.rows()
            ],
            "\n".join(f"{name:<36}{summary(estimate)}" for name, estimate in _aggregates(table).items()),
        ]
    if result.checks:
        blocks.append("\n" + checks_text(result.checks))
    return text(blocks)


def checks_text(checks: Sequence[Check], everything: bool = False) -> str:
    """What speaks against believing an audit's figures, one line each; or that nothing was found.

    Args:
        checks: What was looked at.
        everything: Whether checks that passed have a line too.
    """
    found = [check for check in checks if everything or check.verdict != "pass"]
    faults = sum(check.verdict != "pass" for check in checks)
    head = f"Checks: {faults} of {len(checks)} speak up." if faults else f"Checks: none of {len(checks)} found a fault."
    return "\n".join(
        [head, *(f"  {check.verdict:<5}{check.name}: {check.sentence} See {check.link}" for check in found)]
    )


def comparison_text(comparison: Comparison) -> str:
    """A comparison for people to read: the paired table of robust accuracy, then the findings as sentences.

    Returns:
        Text as for :func:`audit_text`.
    """
    table = comparison.robust
    marks = dict.fromkeys(table.improved, "higher") | dict.fromkeys(table.worsened, "lower")
    rows = [
        {
            "class": row["name"],
            "n": row["n"],
            "robust %": f"{percent(row['before'])} → {percent(row['after'])}",
            "difference": points(row["difference"]),
            f"{level(table.confidence)} interval": f"[{points(row['low'])}, {points(row['high'])}]",
            "p (Holm)": p_value(row["p_holm"]),
            "": marks.get(row["name"], ""),
        }
        for row in table.rows()
    ]
    before, after = comparison.before.plan, comparison.after.plan
    header = f"{before.model} → {after.model}: {conditions(before, before.threats[0])}"
    return text([header, rows, *comparison.findings()])


def audit_rows(result: AuditResult, radius: int = 0) -> list[dict[str, Any]]:
    """The class table as plain rows, for files.

    Args:
        result: An audit.
        radius: Which of its threat models, by position.

    Returns:
        One dictionary per class: class, n, clean, robust, robust_low, robust_high, boundary; fractions in [0, 1], nan
        for a class without samples.
    """
    fields = ("n", "clean", "robust", "robust_low", "robust_high", "boundary")
    return [{"class": row["name"], **{field: row[field] for field in fields}} for row in result.table(radius).rows()]


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; floats are fractions and are printed in per cent, everything else as it is."""
    head, *body = _cells(rows)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *body])


def csv_text(rows: Sequence[Row]) -> str:
    """Comma-separated values with a header line; floats in full, nan as an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if _is_nan(value) else value for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _aggregates(table: ClassTable) -> dict[str, Estimate]:
    return {
        "Clean accuracy, mean over samples:": table.overall("clean"),
        "Robust accuracy, mean over samples:": table.mean,
        "Robust accuracy, mean over classes:": table.class_mean,
        "Robust accuracy, worst class:": table.worst,
        "Robust accuracy, worst fifth:": table.worst_fifth,
        "Robust accuracy, best class:": table.best,
        "Gap, best minus worst class:": table.gap,
        "Standard deviation over classes:": table.standard_deviation,
    }


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    shown = [[percent(value) if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return [[" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in [list(rows[0]), *shown]]


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def text(blocks: Sequence[Block], plain: bool = False) -> str:
    """Lines and tables one below the other; Markdown tables without rich.

    Args:
        blocks: The lines and tables.
        plain: Whether it is for a file: else it is coloured, and as wide as the terminal, where standard output is one.
    """
    try:
        from rich.console import Console
    except ImportError:
        return "\n".join(block if isinstance(block, str) else f"\n{markdown(block)}\n" for block in blocks)
    terminal = sys.stdout.isatty() and not plain
    width = max(shutil.get_terminal_size().columns, 80) if terminal else 160
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    for block in blocks:
        # Without a terminal a line stays whole, so that it can be searched for.
        console.print(block if isinstance(block, str) else _rich_table(block), soft_wrap=not terminal)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _rich_table(rows: Sequence[Row]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(rows[0]):
        table.add_column(
            name,
            justify="left" if i == 0 or not name else "right",
            no_wrap=i > 0,
            overflow="fold",
            min_width=10 if i == 0 else None,
        )
    for row in rows:
        mark = row[""]
        cells = [str(value) for value in row.values()]
        table.add_row(*cells[:-1], f"← {mark}" if mark else "", style=MARKS.get(mark))
    return table
