"""What stands below the table of an experiment: what is left out, what happened in the runs, what was assumed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from classwise.averaging import Gated
from classwise.experiments.courses import History
from classwise.experiments.measures import Certified
from classwise.experiments.plan import Plan
from classwise.published import Cell
from classwise.run import Run
from classwise.runs import RunDirectory

NOISE = 3.0
"""Standard errors above chance up to which an accuracy may be chance."""


def notes(made: Plan) -> list[str]:
    """The lines, one sentence or two each."""
    left = [f"Left out: {name} ({reason})." for name, reason in made.left_out.items()]
    told = [f"In the paper's text alone, not compared: {_spoken(cell)}." for cell in made.experiment.only_told()]
    assumed = [f"Assumed: {each}" for each in made.experiment.assumed]
    return [*left, *_of_runs(made), *told, *assumed, *_of_measures(made)]


def at_chance(history: History) -> bool:
    """Whether a network ended no better than one that says the same of every image, within noise, on validation images.

    Such a network is right on all images of one class and on none of the others: whatever the sizes of the classes, the
    mean of its accuracies over them is one over their number, and its robust accuracy the same. Clean accuracy is looked
    at, as a robust accuracy that happens to be so low says nothing of the kind.
    """
    table = history[-1]["validation"]["raw"]
    n = np.asarray(table["n"], np.int64)
    chance, images = 1 / (n > 0).sum(), n.sum()
    noise = NOISE * math.sqrt(chance * (1 - chance) / images)
    return bool(np.asarray(table["clean"], np.float64)[n > 0].mean() <= chance + noise)


def averaged_nothing(history: History) -> bool:
    """Whether no epoch has entered the average of the weights."""
    return not any("averaged" in entry["validation"] for entry in history)


def _of_runs(made: Plan) -> Iterator[str]:
    """What must be known of finished runs to read their rows."""
    for network in made.networks:
        if network.file or RunDirectory(made.folder(network.name)).status["state"] != "finished":
            continue
        history = Run(made.folder(network.name)).history
        if isinstance(network.config.averaging, Gated) and averaged_nothing(history):
            yield f"{network.name}: the average took in no epoch, its rows are of the live weights."
        if at_chance(history):
            yield f"{network.name}: clean validation accuracy ended at chance, the network may say the same of every image."


def _of_measures(made: Plan) -> Iterator[str]:
    measures = [column.measure for column in made.experiment.columns]
    if made.size.name == "small" and any(getattr(each, "figure", "") == "class" for each in measures):
        yield "Columns of classes are the digits of the same number: the first class is 0."
    if any(isinstance(each, Certified) for each in measures):
        count = "Every test image" if made.size.every == 1 else f"One in {made.size.every} test images of each class"
        yield f"{count} is certified, from {made.size.votes} noisy copies."


def _spoken(cell: Cell) -> str:
    """A number of the prose: of what it is told, the quantity, the number as printed, and what is doubtful about it."""
    of = cell.row.removeprefix("text").removeprefix(": ").strip()
    return f"{of}, {cell.column}, {cell.printed}" + (f" ({cell.note})" if cell.note else "")
