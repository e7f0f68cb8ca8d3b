"""A model's quantities as printed, corrected and simulated: for a terminal and for files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from classwise.theory.shown.base import Row, TheoryFigure, TheoryModel
from classwise.theory.simulate import Simulated

DIGITS = 4
"""Significant digits on a terminal."""


def lines(model: TheoryModel, rows: Sequence[Row]) -> list[str]:
    """Paper, parameters, the table, and below it what is wrong with the prints.

    Args:
        model: The model.
        rows: What its ``rows`` gave.
    """
    return [each for part in _parts(model, rows) for each in part]


def picture(model: TheoryModel, rows: Sequence[Row], title: str) -> str:
    """What :func:`lines` gives as an SVG file, whatever the terminal's width; sentences are wrapped to the table.

    Args:
        model: The model.
        rows: What its ``rows`` gave.
        title: The title of the window.
    """
    from classwise.report.terminal import terminal_svg

    above, table, below = _parts(model, rows, plain=True)
    return terminal_svg([*above, *table, "", *below], title, max(map(len, table)))


def _parts(model: TheoryModel, rows: Sequence[Row], plain: bool = False) -> tuple[list[str], list[str], list[str]]:
    """What stands above the table, the table, and what stands below it."""
    from classwise.report.tables import text

    remarks = {
        remark: number for number, remark in enumerate(dict.fromkeys(row.remark for row in rows if row.remark), 1)
    }
    draws = sorted({row.simulated.n for row in rows if row.simulated is not None})
    table = [
        {
            "quantity": row.quantity,
            "as printed": "" if row.printed is None else _number(row.printed),
            "corrected": _number(row.corrected),
            **(_drawn(row.simulated) if draws else {}),
            "remark": f"({remarks[row.remark]})" if row.remark else "",
            "": "",
        }
        for row in rows
    ]
    drawn = [f"Simulated: {' or '.join(f'{n:,}' for n in draws)} draws each; 95 % Wilson intervals."] if draws else []
    notes = [f"({number}) {remark}" for remark, number in remarks.items()]
    return [model.paper, *parameters(model)], text([table], plain).splitlines(), [*drawn, *notes]


def as_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The table with numbers in full, for files; empty where there is none."""
    return [
        {
            "quantity": row.quantity,
            "printed": "" if row.printed is None else row.printed,
            "corrected": row.corrected,
            **(
                {"simulated": "", "low": "", "high": "", "n": ""}
                if row.simulated is None
                else {
                    "simulated": row.simulated.value,
                    "low": row.simulated.low,
                    "high": row.simulated.high,
                    "n": row.simulated.n,
                }
            ),
            "remark": row.remark,
        }
        for row in rows
    ]


def parameters(shown: TheoryModel | TheoryFigure) -> list[str]:
    """Every parameter with its value, those assumed with the reason."""
    fields = {field.name: field.default for field in dataclasses.fields(shown)}
    values = {name: getattr(shown, name) for name in fields}
    assumed = {name: why for name, why in shown.assumed.items() if values[name] == fields[name]}
    return [
        "Parameters: "
        + ", ".join(f"{name} {_value(value)}{'*' if name in assumed else ''}" for name, value in values.items()),
        *(f"  * {name} is assumed: {why}" for name, why in assumed.items()),
    ]


def _drawn(simulated: Simulated | None) -> dict[str, str]:
    """The columns of a simulation, which are left out where no row has one."""
    if simulated is None:
        return {"simulated": "", "95 %": ""}
    return {
        "simulated": _number(simulated.value),
        "95 %": f"[{_number(simulated.low)}, {_number(simulated.high)}]",
    }


def _number(value: float) -> str:
    return f"{value:.{DIGITS}g}"


def _value(value: Any) -> str:
    return _number(value) if isinstance(value, float) else str(value)
