"""Figures of a comparison of many runs: average against worst class, and class bars side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from classwise.comparison.overview import Overview
from classwise.comparison.rows import Row
from classwise.report.figures import Entry, legend
from classwise.report.svg import INK, PALETTE, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vP"
NAMED = 12
"""So many rows are named in the picture of average and worst class; beyond them only those of the front."""
BARRED = 8
"""So many rows have class bars."""
LONGEST = 28


def trade_off_figure(overview: Overview) -> Figure:
    """Average against worst-class robust accuracy of every row, main column, with intervals (wide ones run out of the picture).

    Rows that no other row beats in both are filled and joined by a line; rows under other conditions have another marker
    and a front of their own.
    """
    on_front = overview.on_front()
    with drawing():
        figure, (ax,) = new_figure(7.0, 5.0)
        entries: list[Entry] = []
        for i, letter in enumerate(overview.conditions):
            rows = [row for row in overview.rows if row.letter == letter]
            colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
            for row in rows:
                _point(ax, row, colour, marker, filled=row.label in on_front)
                if row.label in on_front or len(overview.rows) <= NAMED:
                    ax.annotate(
                        _short(row.label),
                        (100 * row.average.mean, 100 * row.worst.mean),
                        xytext=(5, 5),
                        textcoords="offset points",
                        fontsize=8,
                    )
            best = sorted((row.average.mean, row.worst.mean) for row in rows if row.label in on_front)
            x, y = 100 * np.array(best).T
            (line,) = ax.plot(x, y, "--", color=colour, linewidth=1)
            words = "not beaten in both by another row (means)"
            entries.append((line, words if overview.comparable else f"conditions {letter}: {words}"))
        _frame(ax, overview.rows)
        ax.set_xlabel("robust accuracy in %, average over samples")
        ax.set_ylabel("robust accuracy in %, worst class")
        if not overview.comparable:
            ax.set_title("Not comparable: the markers stand for different conditions", loc="left")
        legend(figure, entries, "outside lower left")
    return figure


def class_bars_of_rows(overview: Overview) -> Figure:
    """Robust accuracy of every class, rows side by side, main column; lines reach from the lowest to the highest seed.

    Rows of the baseline's classes and conditions, at most :data:`BARRED` of them: the baseline, then in the table's order.
    """
    based = next(row for row in overview.rows if row.label == overview.baseline)
    others = [row for row in overview.rows if row is not based and row.letter == based.letter]
    rows = [based, *others][:BARRED]
    names = based.members[0].table.names
    centres, each = np.arange(len(names), dtype=np.float64), 0.84 / len(rows)
    with drawing():
        width = min(max(7.0, 0.9 + len(names) * max(0.5, 0.17 * len(rows))), 40.0)
        crowded = 0.09 * max(len(_short(name)) for name in names) > (width - 1) / len(names)
        figure, (ax,) = new_figure(width, 4.2 + 0.18 * len(rows))
        entries: list[Entry] = []
        for i, row in enumerate(rows):
            x, mean = centres + (i - (len(rows) - 1) / 2) * each, 100 * np.nan_to_num(row.classes.mean(axis=0))
            colour = PALETTE[i % len(PALETTE)]
            fill = colour if i < len(PALETTE) else "none"  # the second time round a colour is an outline
            bars = ax.bar(x, mean, 0.88 * each, color=fill, edgecolor=colour, linewidth=1.2)
            if row.seeds > 1:
                seeds = 100 * np.nan_to_num(row.classes)
                ax.vlines(x, seeds.min(axis=0), seeds.max(axis=0), color=INK, linewidth=1)
            entries.append((bars, row.label))
        ax.set_xticks(centres, [_short(name) for name in names], rotation=60 if crowded else 0)
        ax.set_xlim(-0.6, len(names) - 0.4)
        ax.set_ylim(0, 100)
        ax.set_ylabel("robust accuracy in %")
        ax.grid(axis="x", visible=False)
        ax.tick_params(axis="x", length=0)
        legend(figure, entries, "outside lower left", columns=3)
    return figure


def _point(ax: Axes, row: Row, colour: str, marker: str, filled: bool) -> None:
    x, y = 100 * row.average.mean, 100 * row.worst.mean
    # Rounding may put a limit a hair beyond the mean, which errorbar would refuse; some means have no limits.
    reach = [
        np.maximum(np.nan_to_num(100 * np.array([[each.mean - each.low], [each.high - each.mean]])), 0)
        for each in (row.average, row.worst)
    ]
    ax.errorbar(x, y, xerr=reach[0], yerr=reach[1], fmt="none", ecolor=colour, elinewidth=0.7, alpha=0.5)
    ax.plot(x, y, marker, color=colour, markerfacecolor=colour if filled else "none", markersize=6)


def _frame(ax: Axes, rows: Sequence[Row]) -> None:
    """Room for the means and, up to a point, for their intervals: those of two seeds can span everything."""
    for limit, values in (
        (ax.set_xlim, [100 * row.average.mean for row in rows]),
        (ax.set_ylim, [100 * row.worst.mean for row in rows]),
    ):
        room = max(0.25 * (max(values) - min(values)), 4.0)
        limit(max(min(values) - room, -1.0), min(max(values) + room, 101.0))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
