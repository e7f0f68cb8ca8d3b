"""Pictures of every class: accuracies in decreasing order, certified accuracy over radii, class knobs over epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from classwise.evaluation.certificates import CertifyResult
from classwise.experiments.base import Row
from classwise.experiments.carry_out import Outcome
from classwise.experiments.measures import Audited, Certified, Measure
from classwise.experiments.plan import Asked, Plan, asked, asked_certificates
from classwise.metrics import ClassTable
from classwise.report.figures import Entry, class_lines, epoch_axis, legend
from classwise.report.svg import INK, PALETTE, drawing
from classwise.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Cells = list[dict[str, Any]]
"""The numbers of a picture, one dictionary for each."""

DASHES = ("-", "--", ":", "-.")
"""Strokes of lines: others once the colours are used up."""
STEPS = 50
"""Radii of a curve of certified accuracy for each standard deviation of the noise."""
NEUTRAL = 1e-6
"""A knob within this of 1 has not moved."""
_IN_A_ROW = 3


def sorted_classes(made: Plan, outcome: Outcome) -> Cells:
    """Accuracy of every class of each row, the best class first; each quantity has its own order.

    Returns:
        "row", "panel" (clean, or the attack), "place" from 1, "class" and "value" in per cent, the mean over runs.
    """
    cells: Cells = []
    for label, rows in _labelled(made).items():
        tables: dict[Asked, list[ClassTable]] = {}
        for row, measure in _measures(made, rows):
            if isinstance(measure, Audited):
                each = asked(made.size, row, measure)
                tables[each] = [outcome.audits[net.name, each].table() for net in made.networks_of(row.training)]
        if not tables:
            continue
        first = next(iter(tables))
        panels = {"clean": (first, "clean")} | {f"{each.attacks}, {each.threat}": (each, "robust") for each in tables}
        for panel, (each, column) in panels.items():
            names = tables[each][0].names
            values = 100 * np.mean([getattr(table, column) for table in tables[each]], axis=0)
            order = [group for group in np.argsort(-values, kind="stable") if not math.isnan(values[group])]
            cells += [
                {"row": label, "panel": panel, "place": place, "class": names[group], "value": float(values[group])}
                for place, group in enumerate(order, 1)
            ]
    return cells


def sorted_figure(cells: Cells) -> Figure:
    """A panel for clean accuracy and one for each attack, a line for each row."""
    from matplotlib.ticker import MaxNLocator

    panels, rows = (list(dict.fromkeys(each[key] for each in cells)) for key in ("panel", "row"))
    with drawing():
        figure, axes = grid(len(panels))
        entries: dict[str, Entry] = {}
        for ax, panel in zip(axes, panels, strict=True):
            for i, row in enumerate(rows):
                values = [each["value"] for each in cells if (each["panel"], each["row"]) == (panel, row)]
                (line,) = ax.plot(
                    range(1, len(values) + 1), values, dash(i), marker=".", color=PALETTE[i % len(PALETTE)]
                )
                entries.setdefault(row, (line, row))
            ax.set_title("clean accuracy" if panel == "clean" else f"accuracy under {panel}", loc="left")
            ax.set_ylim(0, 102)
            ax.set_ylabel("%")
            ax.set_xlabel("classes, the best of each line first")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        legend(figure, list(entries.values()), "outside right upper")
    return figure


def certified_classes(made: Plan, outcome: Outcome) -> Cells:
    """Certified accuracy of every class over radii.

    Returns:
        "row", "run", "radius" in units of the pixel range, "class" and "value" in per cent.
    """
    cells: Cells = []
    for label, rows in _labelled(made).items():
        wanted = [asked_certificates(row, each) for row, each in _measures(made, rows) if isinstance(each, Certified)]
        for each in dict.fromkeys(wanted):
            panel = label if len(set(wanted)) == 1 else f"{label}, {each.checkpoint}, sigma {each.sigma:g}"
            for network in made.networks_of(rows[0].training):
                result = outcome.certificates[network.name, each]
                for radius in _radii(result, each.sigma):
                    table = result.certified(radius)
                    cells += [
                        {"row": panel, "run": network.name, "radius": radius, "class": name, "value": 100 * float(x)}
                        for name, x in zip(table.names, table.robust, strict=True)
                    ]
    return cells


def certified_figure(cells: Cells) -> Figure:
    """A panel for each row, a line for each class: the mean over runs. Of many classes the weakest are named."""
    rows = list(dict.fromkeys(each["row"] for each in cells))
    names = _classes(cells)
    courses = [_over([each for each in cells if each["row"] == row], "radius", names, rest=0.0) for row in rows]
    order = np.argsort(np.mean([values[0] for _, values in courses], axis=0), kind="stable")
    with drawing():
        figure, axes = grid(len(rows))
        for ax, row, (radii, values) in zip(axes, rows, courses, strict=True):
            entries = class_lines(ax, radii, values, names, order)
            ax.set_title(row, loc="left")
            ax.set_ylim(0, 102)
            ax.set_ylabel("certified accuracy in %")
            ax.set_xlabel("l_2 radius, in units of the pixel range")
        legend(figure, entries, "outside right upper")
    return figure


def class_knobs(made: Plan) -> Cells:
    """Class knobs of every epoch, those that ever leave 1; of a run in which none does, the weight.

    The mean weights of the classes in the batches of an epoch stand beside them.

    Returns:
        "row", "run", "knob", "epoch" counted from 1, "class" and "value", a factor of what the run gives all classes.
    """
    cells: Cells = []
    for label, rows in _labelled(made).items():
        for network in made.networks_of(rows[0].training):
            if network.file:
                continue
            run = Run(made.folder(network.name))
            names, history = run.class_names, run.history
            series = {name: [entry["knobs"].get(name) for entry in history] for name in history[0]["knobs"]}
            series["batch weight"] = [entry["train"].get("batch_weight") for entry in history]
            moved = {name: values for name, values in series.items() if _moved(values)}
            for name, values in (moved or {"weight": series["weight"]}).items():
                for epoch, each in enumerate(values, 1):
                    cells += [
                        {
                            "row": label,
                            "run": network.name,
                            "knob": name,
                            "epoch": epoch,
                            "class": of,
                            "value": math.nan if value is None else float(value),
                        }
                        for of, value in zip(names, each or [None] * len(names), strict=True)
                    ]
    return cells


def knob_figure(cells: Cells) -> Figure:
    """A panel for each knob of each row, a line for each class: the mean over runs. Of many those that moved are named."""
    panels = list(dict.fromkeys((each["row"], each["knob"]) for each in cells))
    names = _classes(cells)
    courses = [
        _over([each for each in cells if (each["row"], each["knob"]) == panel], "epoch", names, rest=math.nan)
        for panel in panels
    ]
    far = np.max([np.nan_to_num(np.abs(values - 1)).max(axis=0) for _, values in courses], axis=0)
    with drawing():
        figure, axes = grid(len(panels))
        for ax, (row, knob), (epochs, values) in zip(axes, panels, courses, strict=True):
            ax.axhline(1, color=INK, linewidth=0.8)
            entries = class_lines(ax, epochs, values, names, np.argsort(-far, kind="stable"))
            epoch_axis(ax)
            ax.set_title(f"{row}\n{knob}", loc="left")
            ax.set_ylabel("factor")
        legend(figure, entries, "outside right upper")
    return figure


def dash(number: int) -> str:
    """The stroke of a line."""
    return DASHES[number // len(PALETTE) % len(DASHES)]


def _labelled(made: Plan) -> dict[str, list[Row]]:
    """The rows that are there by their name, and by their block where a name stands for several trainings."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in made.experiment.rows:
        if row.name not in made.left_out:
            groups.setdefault((row.name, row.training.name), []).append(row)
    names = [name for name, _ in groups]
    return {name if names.count(name) == 1 else f"{name}, {rows[0].block}": rows for (name, _), rows in groups.items()}


def _measures(made: Plan, rows: list[Row]) -> list[tuple[Row, Measure]]:
    return [(row, column.measure) for row, column in made.experiment.cells() if row in rows]


def _radii(result: CertifyResult, sigma: float) -> list[float]:
    """Radii of a curve: up to the first at which nothing is certified, or to where the certificates speak."""
    far = min(float(result.certificates.radius.max(initial=0)) + sigma / STEPS, result.reach)
    return [round(sigma * step / STEPS, 10) for step in range(math.floor(far * STEPS / sigma + 1e-9) + 1)]


def _moved(values: list[list[float] | None]) -> bool:
    return any(abs(value - 1) > NEUTRAL for each in values for value in each or () if value is not None)


def _classes(cells: Cells) -> list[str]:
    """Names of the classes, which all panels share, so that one legend tells them apart."""
    per_row: dict[str, dict[str, None]] = {}
    for each in cells:
        per_row.setdefault(each["row"], {})[each["class"]] = None
    found = [list(names) for names in per_row.values()]
    assert all(names == found[0] for names in found), "rows of different classes share a picture"
    return found[0]


def _over(cells: Cells, key: str, names: list[str], rest: float) -> tuple[list[float], Floats]:
    """Values over one key, shape (places, classes): means over runs, those that a run has not counted as ``rest``."""
    runs = list(dict.fromkeys(each["run"] for each in cells))
    places = sorted({each[key] for each in cells})
    values = np.full((len(runs), len(places), len(names)), rest)
    position = [{each: i for i, each in enumerate(of)} for of in (runs, places, names)]
    for each in cells:
        values[position[0][each["run"]], position[1][each[key]], position[2][each["class"]]] = each["value"]
    return places, values.mean(axis=0)


def grid(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, at most three in a row."""
    from matplotlib.figure import Figure

    across = min(panels, _IN_A_ROW)
    down = -(-panels // across)
    figure = Figure(figsize=(4.4 * across + 1.8, 3.5 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for ax in axes[panels:]:
        ax.set_axis_off()
    return figure, list(axes[:panels])
