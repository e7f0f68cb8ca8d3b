"""Figures of a report. Each is made as a matplotlib figure, which can be looked into, and rendered by another function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from classwise.metrics import ClassTable
from classwise.report.svg import FAINT, INK, PALETTE, drawing, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Event = Mapping[str, Any]
Entry = tuple[Any, str]
"""What is drawn, and its name in the legend."""
Place = Literal["outside lower left", "outside right upper"]

NAMED_LINES = 10
"""So many lines of one panel have a colour and a name; further classes are drawn faint."""
LONGEST_NAME = 60
"""Longer names are cut off in figures."""


def class_bars(tables: Mapping[str, ClassTable]) -> str:
    """SVG of :func:`class_bars_figure`."""
    return to_svg(
        class_bars_figure(tables), f"Clean and robust accuracy of every class with intervals: {', '.join(tables)}"
    )


def training_curves(events: Sequence[Event]) -> str:
    """SVG of :func:`training_figure`."""
    return to_svg(training_figure(events), "Robust accuracy on validation images and training loss, epoch by epoch")


def class_curves(events: Sequence[Event], names: Sequence[str]) -> str:
    """SVG of :func:`class_curves_figure`."""
    return to_svg(
        class_curves_figure(events, names), "Robust accuracy of every class on validation images, epoch by epoch"
    )


def knob_curves(events: Sequence[Event], names: Sequence[str]) -> str | None:
    """SVG of :func:`knob_figure`; None where no knob ever left 1."""
    figure = knob_figure(events, names)
    return to_svg(figure, "Class knobs, epoch by epoch") if figure is not None else None


def class_bars_figure(tables: Mapping[str, ClassTable]) -> Figure:
    """Bars of every class: robust accuracy solid, clean accuracy as outline, with their intervals.

    The part of the outline above the solid bar is the boundary error. The weakest class of each audit is marked.

    Args:
        tables: Class tables of the same classes, by label.
    """
    names = next(iter(tables.values())).names
    centres = np.arange(len(names), dtype=np.float64)
    each = 0.8 / len(tables)
    with drawing():
        width = min(max(7.0, 0.9 + len(names) * max(0.5, 0.24 * len(tables))), 40.0)
        shown = [_short(name) for name in names]
        longest = 0.09 * max(len(name) for name in shown)  # inches, about
        crowded = longest > (width - 1) / len(names)
        figure, (ax,) = new_figure(width, 3.6 + 0.8 * longest * crowded)
        entries: list[Entry] = []
        for i, (label, table) in enumerate(tables.items()):
            colour = PALETTE[i % len(PALETTE)]
            x = centres + (i - (len(tables) - 1) / 2) * each
            clean, robust = 100 * table.clean, 100 * table.robust
            ax.bar(x, clean, 0.9 * each, fill=False, edgecolor=colour, linewidth=1.2)
            entries.append((ax.bar(x, robust, 0.9 * each, color=colour), label))
            _whiskers(ax, x - 0.15 * each, robust, 100 * table.robust_low, 100 * table.robust_high, 1.4)
            _whiskers(ax, x + 0.15 * each, clean, 100 * table.clean_low, 100 * table.clean_high, 0.7)
            weakest = names.index(table.weakest)
            ax.plot(
                x[weakest], 100 * table.clean_high[weakest] + 4, "v", color=colour, markeredgecolor=INK, markersize=7
            )
        (sign,) = ax.plot([], [], "v", color="none", markeredgecolor=INK)
        entries.append((sign, "weakest class"))
        ax.set_xticks(centres, shown, rotation=60 if crowded else 0, ha="right" if crowded else "center")
        if crowded:
            for tick in ax.get_xticklabels():
                tick.set_rotation_mode("anchor")
        ax.set_xlim(-0.6, len(names) - 0.4)
        ax.set_ylim(0, 112)
        ax.set_yticks(range(0, 101, 20))
        ax.set_ylabel("accuracy in %")
        ax.grid(axis="x", visible=False)
        ax.tick_params(axis="x", length=0)
        legend(figure, entries, "outside lower left")
    return figure


def training_figure(events: Sequence[Event]) -> Figure:
    """Validation accuracy under attack (mean over classes, worst class) and training loss, after every epoch.

    Args:
        events: The "epoch" events of a run. Averaged weights are dashed; the selected epochs are marked.
    """
    epochs = _epochs(events)
    with drawing():
        figure, (accuracy, loss) = new_figure(9.0, 3.4, panels=2)
        entries: list[Entry] = []
        for weights, line in (("raw", "-"), ("averaged", "--")):
            robust = _robust(events, weights)
            if robust is None:
                continue
            for values, what, colour in (
                (_over_classes(np.nanmean, robust), "mean over classes", PALETTE[0]),
                (_over_classes(np.nanmin, robust), "worst class", PALETTE[1]),
            ):
                (curve,) = accuracy.plot(epochs, 100 * values, line, marker=_marker(epochs), color=colour)
                entries.append((curve, f"{what}, {weights} weights"))
            selected = selected_epoch(events, "best" if weights == "raw" else "averaged")
            if selected:
                mark = accuracy.axvline(selected, linestyle=line, color=INK, linewidth=0.8)
                entries.append((mark, f"selected, {weights} weights"))
        accuracy.set_ylabel("robust accuracy in %, validation")
        accuracy.set_ylim(0, None)
        loss.plot(
            epochs, [_number(event["train"]["loss"]) for event in events], marker=_marker(epochs), color=PALETTE[2]
        )
        loss.set_ylabel("training loss")
        for ax in (accuracy, loss):
            epoch_axis(ax)
        legend(figure, entries, "outside lower left", columns=3)
    return figure


def class_curves_figure(events: Sequence[Event], names: Sequence[str]) -> Figure:
    """Robust accuracy of every class on validation images after every epoch, raw and averaged weights apart.

    Args:
        events: The "epoch" events of a run.
        names: Names of the classes.
    """
    epochs = _epochs(events)
    panels = {weights: robust for weights in ("raw", "averaged") if (robust := _robust(events, weights)) is not None}
    with drawing():
        figure, axes = new_figure(5.2 * len(panels) + 1.6, 3.6, panels=len(panels))
        # Where there are many classes, those that are weakest at the end are named.
        order = np.argsort(next(reversed(panels.values()))[-1], kind="stable")
        for ax, (weights, robust) in zip(axes, panels.items(), strict=True):
            entries = class_lines(ax, epochs, 100 * robust, names, order)
            epoch_axis(ax)
            ax.set_title(f"{weights} weights", loc="left")
            ax.set_ylim(0, 105 * max(np.nanmax(each) for each in panels.values()) + 1)
            ax.set_ylabel("robust accuracy in %, validation")
        legend(figure, entries, "outside right upper")
    return figure


def knob_figure(events: Sequence[Event], names: Sequence[str]) -> Figure | None:
    """Class knobs and mean batch weights of every epoch, those that ever leave 1; None where there are none.

    Args:
        events: The "epoch" events of a run.
        names: Names of the classes.
    """
    series = {f"knob {name}": _stack([event["knobs"].get(name) for event in events]) for name in events[0]["knobs"]}
    if any("batch_weight" in event["train"] for event in events):
        series["mean batch weight"] = _stack([event["train"].get("batch_weight") for event in events])
    moved = {title: values for title, values in series.items() if np.nanmax(np.abs(values - 1)) > 1e-6}
    if not moved:
        return None
    with drawing():
        figure, axes = new_figure(5.2 * len(moved) + 1.6, 3.6, panels=len(moved))
        epochs = _epochs(events)
        shown = np.argsort(
            -np.nanmax([np.nanmax(np.abs(values - 1), axis=0) for values in moved.values()], axis=0), kind="stable"
        )
        for ax, (title, values) in zip(axes, moved.items(), strict=True):
            ax.axhline(1, color=INK, linewidth=0.8)
            entries = class_lines(ax, epochs, values, names, shown)
            epoch_axis(ax)
            ax.set_title(title, loc="left")
        legend(figure, entries, "outside right upper")
    return figure


def selected_epoch(events: Sequence[Event], score: str) -> int | None:
    """Epochs done at the checkpoint that is kept: 0 where it is the start, None where there is none of the kind.

    Histories of earlier versions do not say it: there it is the highest score, the latest of several.
    """
    if events and "selected" in events[-1]:
        epochs: int | None = events[-1]["selected"].get(score)
        return epochs
    scores = [
        (event["scores"][score], event["epoch"] + 1) for event in events if event["scores"].get(score) is not None
    ]
    return max(scores)[1] if scores else None


def _epochs(events: Sequence[Event]) -> list[int]:
    """Epochs done after each event; the events count from 0."""
    return [event["epoch"] + 1 for event in events]


def _robust(events: Sequence[Event], weights: str) -> Floats | None:
    """Class-wise robust accuracy on validation images, shape (epochs, G), nan where there is none; None if nowhere."""
    if not any(weights in event["validation"] for event in events):
        return None
    return _stack([event["validation"].get(weights, {}).get("robust") for event in events])


def _stack(rows: Sequence[Sequence[float | None] | None]) -> Floats:
    """Rows of equal length, shape (epochs, G); absent rows and numbers, which the log writes as null, are nan."""
    length = max(len(row) for row in rows if row is not None)
    return np.array([[_number(value) for value in (row or [None] * length)] for row in rows])


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _over_classes(summarise: Callable[..., Floats], robust: Floats) -> Floats:
    """A summary of every epoch over its classes, nan for an epoch without any figure."""
    there = ~np.isnan(robust).all(axis=1)
    values = np.full(len(robust), np.nan)
    values[there] = summarise(robust[there], axis=1)
    return values


def _whiskers(ax: Axes, x: Floats, y: Floats, low: Floats, high: Floats, thickness: float) -> None:
    # Rounding may put a limit a hair beyond the value, which errorbar would refuse.
    reach = np.maximum([y - low, high - y], 0)
    ax.errorbar(x, y, yerr=reach, fmt="none", ecolor=INK, elinewidth=thickness, capsize=1.5, capthick=thickness)


def class_lines(
    ax: Axes, x: Sequence[float], values: Floats, names: Sequence[str], order: npt.NDArray[np.intp]
) -> list[Entry]:
    """Draw a line per class; the first ones of the order are told apart by colour, dashes and name.

    Args:
        ax: The panel.
        x: Places, such as epochs.
        values: Of every class there, shape (places, G).
        names: G names.
        order: All classes, those that are to be named first.

    Returns:
        What the legend says.
    """
    for group in order[NAMED_LINES:]:
        ax.plot(x, values[:, group], color=FAINT, linewidth=1, marker=_marker(x))
    entries: list[Entry] = []
    for i, group in enumerate(sorted(order[:NAMED_LINES])):
        style, colour = ("-", "--")[i // len(PALETTE)], PALETTE[i % len(PALETTE)]
        (curve,) = ax.plot(x, values[:, group], style, color=colour, marker=_marker(x))
        entries.append((curve, names[group]))
    return entries


def _marker(places: Sequence[float]) -> str:
    """Points, which make a single epoch visible, while there is room for them."""
    return "." if len(places) <= 40 else ""


def epoch_axis(ax: Axes) -> None:
    """Whole epochs on the axis of a panel."""
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("epochs done")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def legend(figure: Figure, entries: Sequence[Entry], place: Place, columns: int = 1) -> None:
    """Legend beside the panels. Names are set afterwards, since a label that begins with "_" would be left out."""
    made = figure.legend([artist for artist, _ in entries], ["name"] * len(entries), loc=place, ncols=columns)
    for text, (_, name) in zip(made.get_texts(), entries, strict=True):
        text.set_text(_short(name))


def _short(name: str) -> str:
    """A name that leaves room for the data."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
