"""Whether a repair lifted the weakest class on validation images, or left the start in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classwise.metrics import ClassTable
from classwise.metrics.class_table import table_of_fractions
from classwise.policies import KLDRO
from classwise.runs import RunDirectory
from classwise.runs.checkpoints import REPAIRED, read_meta
from classwise.runs.repaired import epochs_of
from classwise.trained import selected
from classwise.training import TrainConfig


@dataclass(frozen=True)
class Nearest:
    """The trained weights whose weakest class is strongest.

    Args:
        weights: "raw" or "averaged".
        epochs: Epochs after which they were had.
        table: Their validation table.
    """

    weights: str
    epochs: int
    table: ClassTable


@dataclass(frozen=True)
class Lift:
    """A finished run that started from a network: the weakest class of the start, and of what is handed out.

    Args:
        before: Validation table of the start.
        after: That of the selected checkpoint, under the same attack on the same images.
        is_start: Whether the selected weights are the start's own.
        nearest: The best of its trained weights by the weakest class, the later of equals; None where nothing was trained.
    """

    before: ClassTable
    after: ClassTable
    is_start: bool
    nearest: Nearest | None

    @property
    def points(self) -> float:
        """By how much the robust accuracy of the weakest class rose, whichever class it is; a fraction in [-1, 1]."""
        return self.after.worst.value - self.before.worst.value

    @property
    def is_success(self) -> bool:
        """Whether something was repaired: the weakest class is stronger than that of the start."""
        return not self.is_start and self.points > 0

    def told(self) -> str:
        """In sentences."""
        n = int(self.before.n.sum())
        figures = f"Weakest class under attack, {n} validation images: at the start {_weakest(self.before)}"
        if self.is_start:
            return f"{figures}. Nothing was repaired: the weights handed out are the start's. {self._why()}"
        verdict = (
            f"lifted by {100 * self.points:.1f} points"
            if self.points > 0
            else f"the repair made it worse, by {-100 * self.points:.1f} points"
            if self.points < 0
            else "neither lifted nor made worse"
        )
        return (
            f"{figures}, now {_weakest(self.after)}: {verdict}. Each interval is of its own figure, and what is kept was chosen "
            "on these images, so the second figure is too high on average: compare both on test images."
        )

    def _why(self) -> str:
        """Why nothing is handed out but the start."""
        if self.nearest is None:
            return "No candidate scored higher."
        table, start = self.nearest.table, self.before
        gap = 100 * (table.worst.value - start.worst.value)
        came = f"the {self.nearest.weights} weights after epoch {self.nearest.epochs}, weakest {_weakest(table)}"
        if gap < 0:
            return f"Every epoch made the weakest class worse. Nearest came {came}, {-gap:.1f} points below the start."
        return (
            f"Where the weakest class was no weaker, the score was lower. Nearest came {came}, {gap:.1f} points above the start, "
            f"mean over classes {100 * table.class_mean.value:.1f} % against {100 * start.class_mean.value:.1f} %."
        )


def lift_of(directory: RunDirectory) -> Lift | None:
    """What a run did for its weakest class; None where it started from random weights, or is not finished.

    Raises:
        ValueError: A file of the run is damaged.
    """
    shelf, begun = directory.checkpoints, directory.events.read("start")
    start = shelf.pointed("start")
    if start is None or not begun or directory.status["state"] != "finished":
        return None
    folder, averaged = selected(directory)
    names = read_meta(folder)["group_names"]
    history = directory.events.read("epoch")
    before = table_of_fractions(begun[-1]["validation"]["raw"], names)
    if folder.name.endswith(REPAIRED):
        after = table_of_fractions(directory.events.read("repair")[-1]["validation"]["after"], names)
    elif folder == shelf.path(start):
        after = before
    else:
        after = _tables(history, names)["averaged" if averaged else "raw", epochs_of(folder)]
    nearest = max(
        (Nearest(*key, table) for key, table in _tables(history, names).items()),
        key=lambda each: (each.table.worst.value, each.epochs),
        default=None,
    )
    return Lift(before, after, is_start(shelf.path(start), folder, averaged), nearest)


def what_to_try(config: TrainConfig) -> str:
    """What may serve where a repair did not, as a sentence for the command line."""
    if not config.epochs:
        return "To try: train, with weak class weights: --recipe faal-at --policy.tau 0.05."
    weaker = ""
    if isinstance(config.policy, KLDRO) and config.policy.tau:
        weaker = f"weaker class weights, --policy.tau {0.05 if config.policy.tau > 0.05 else config.policy.tau / 2:g}; "
    other = "" if config.repair.registered_name == "logit-bias" else "; or --recipe logit-bias, which trains nothing"
    return f"To try: {weaker}a lower learning rate, --optimizer.lr {config.optimizer.lr / 10:g}{other}."


def is_start(start: Path, folder: Path, averaged: bool) -> bool:
    """Whether a checkpoint holds the weights of the start, byte for byte."""
    file = "averaged.safetensors" if averaged else "model.safetensors"
    first: str = read_meta(start)["sha256"]["model.safetensors"]
    own: str = read_meta(folder)["sha256"][file]
    return own == first


def _tables(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[tuple[str, int], ClassTable]:
    """Validation tables by weights and epochs done."""
    return {
        (which, entry["epoch"] + 1): table_of_fractions(table, names)
        for entry in history
        for which, table in entry["validation"].items()
    }


def _weakest(table: ClassTable) -> str:
    at = table.names.index(table.weakest)
    return f"class {table.weakest} at {table.worst} (n = {int(table.n[at])})"
