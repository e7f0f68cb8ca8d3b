"""Thresholds that turn an audit into an exit code."""

from __future__ import annotations

import math
from collections.abc import Callable

from classwise.evaluation import AuditResult
from classwise.metrics import ClassTable, Estimate
from classwise.registry import did_you_mean

FIGURES: dict[str, Callable[[ClassTable], Estimate]] = {
    "clean": lambda table: table.overall("clean"),
    "mean-robust": lambda table: table.mean,
    "worst-robust": lambda table: table.worst,
    "worst-fifth-robust": lambda table: table.worst_fifth,
}
"""What a threshold may be set for; fractions, at the first radius."""


def parse_threshold(text: str) -> tuple[str, float]:
    """Name and least value of a threshold such as ``worst-robust=0.30``.

    Raises:
        ValueError: The figure is unknown, or the value no fraction.
    """
    name, _, value = text.partition("=")
    if name not in FIGURES:
        raise ValueError(f"--fail-under {text}: unknown figure {name!r}{did_you_mean(name, list(FIGURES))}")
    try:
        least = float(value)
    except ValueError:
        least = math.nan
    if not 0 <= least <= 1:
        raise ValueError(f"--fail-under {text}: write a fraction from 0 to 1, such as {name}=0.30")
    return name, least


def unmet(result: AuditResult, thresholds: list[tuple[str, float]]) -> list[str]:
    """A sentence for every threshold that is not reached."""
    table = result.table()
    sentences = []
    for name, least in thresholds:
        estimate = FIGURES[name](table)
        if not estimate.value >= least:
            which = f" (class {table.weakest})" if name == "worst-robust" else ""
            sentences.append(f"{name} is {estimate}{which}, below the {100 * least:g} % asked for")
    return sentences
