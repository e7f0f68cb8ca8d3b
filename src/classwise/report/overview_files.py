"""The files of a comparison of many runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from classwise.comparison.overview import Overview
from classwise.report.overview_figures import class_bars_of_rows, trade_off_figure
from classwise.report.overview_tables import overview_csv, overview_latex, overview_markdown, overview_text
from classwise.report.svg import standalone
from classwise.runs.atomic import write_json, write_text

Format = Literal["text", "json", "csv", "markdown", "latex"]

TABLES: dict[str, Callable[[Overview], str]] = {
    "table.md": overview_markdown,
    "table.csv": overview_csv,
    "table.tex": overview_latex,
}


def write_overview(overview: Overview, folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.csv``, ``table.tex``, ``average-and-worst.svg``, ``classes.svg`` and ``comparison.json``.

    Files of these names are replaced. Returns their paths.
    """
    content = {name: f"{table(overview).rstrip()}\n" for name, table in TABLES.items()}
    content |= {f"{name}.svg": svg for name, svg in figures(overview).items()}
    for name, each in content.items():
        write_text(folder / name, each)
    write_json(folder / "comparison.json", overview.to_dict())
    return [folder / name for name in (*content, "comparison.json")]


def figures(overview: Overview) -> dict[str, str]:
    """The figures as SVG files: "average-and-worst" and "classes"."""
    held = "" if overview.comparable else " (not comparable)"
    return {
        "average-and-worst": standalone(
            trade_off_figure(overview),
            f"Average against worst-class robust accuracy of {len(overview.rows)} rows{held}",
        ),
        "classes": standalone(class_bars_of_rows(overview), "Robust accuracy of every class, rows side by side"),
    }


def formatted_overview(overview: Overview, form: Format) -> str:
    """A comparison in one of the formats, without a final newline.

    Raises:
        ValueError: The format is unknown.
    """
    import json

    if form == "json":
        return json.dumps(overview.to_dict(), ensure_ascii=False, indent=2)
    tables = {"text": overview_text, "csv": overview_csv, "markdown": overview_markdown, "latex": overview_latex}
    if form not in tables:
        raise ValueError(f"format {form!r} is unknown: text, json, csv, markdown or latex")
    return tables[form](overview).rstrip("\n")
