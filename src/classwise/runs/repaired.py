"""What a repair left behind, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classwise.runs.checkpoints import REPAIRED, read_meta
from classwise.runs.directory import RunDirectory


def epochs_of(folder: Path) -> int:
    """Epochs after which a checkpoint was made, or its weights were taken for a repair."""
    return int(folder.name.removesuffix(REPAIRED))


def repaired_by(folder: Path) -> str:
    """A clause for the name of a model: by which repair a checkpoint was made; empty where by training."""
    return f", repaired by {read_meta(folder)['repair']['name']}" if folder.name.endswith(REPAIRED) else ""


def described(directory: RunDirectory, folder: Path, weights: str = "") -> str:
    """Which weights a checkpoint holds, for the name of a model: "raw weights, after epoch 3", or "the start's weights".

    Args:
        directory: The run.
        folder: The checkpoint.
        weights: "raw weights", "averaged weights", or nothing.
    """
    if directory.checkpoints.pointed("start") is not None and folder.name == "0":
        return "the start's weights" + (", since nothing was repaired" if start_kept(directory, folder) else "")
    after = f"after epoch {epochs_of(folder)}{repaired_by(folder)}"
    return f"{weights}, {after}" if weights else after


def start_kept(directory: RunDirectory, folder: Path) -> str:
    """A clause for the name of a model: that it is the start of a run that repaired nothing; else empty."""
    shelf = directory.checkpoints
    start = shelf.pointed("start")
    if start is None or folder != shelf.path(start) or directory.status["state"] != "finished":
        return ""
    kept = shelf.pointed("best") == start and shelf.pointed("averaged") is None and shelf.repaired() is None
    return "; the start itself, since nothing was repaired" if kept else ""


def told(event: Mapping[str, Any], classes: Sequence[str], groups: Sequence[str]) -> str:
    """Sentences on a repair: what it reached on validation images, and what was fitted.

    Args:
        event: The "repair" entry of a run's event log.
        classes: Names of the classes.
        groups: Names of what accuracies are of.
    """
    before, after = event["validation"]["before"], event["validation"]["after"]
    n = int(sum(before["n"]))
    tried = f"{event['tried']} candidates, each attacked anew on {n} validation images"
    if not event["better"] and not event.get("of_selected", True):
        return (
            f"The repair {event['name']} found nothing to hand out in place of what the selection keeps among {tried} "
            f"({_figures(before, groups)} before, {_figures(after, groups)} after)."
        )
    if not event["better"]:
        return (
            f"The repair {event['name']} found nothing better among {tried}: the weights stay as they were "
            f"({_figures(before, groups)})."
        )
    fitted = "; ".join(f"{name} {_values(values, classes)}" for name, values in event["fitted"].items())
    return (
        f"The repair {event['name']} chose among {tried}: {_figures(before, groups)} before, {_figures(after, groups)} after. "
        f"These images were fitted to, so the figures are too high. Fitted: {fitted}."
    )


def _figures(table: Mapping[str, Sequence[float | None]], names: Sequence[str]) -> str:
    robust = {name: value for name, value in zip(names, table["robust"], strict=True) if value is not None}
    worst = min(robust, key=robust.__getitem__)
    return f"robust {100 * sum(robust.values()) / len(robust):.1f} %, weakest class {worst} {100 * robust[worst]:.1f} %"


def _values(values: Sequence[float], names: Sequence[str]) -> str:
    if len(values) != len(names):
        return ", ".join(f"{value:.3g}" for value in values)
    sign = "+" if min(values) < 0 else ""  # factors have none
    return ", ".join(f"{name} {value:{sign}.3g}" for name, value in zip(names, values, strict=True))
