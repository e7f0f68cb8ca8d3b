"""What an entry of an event log says as single numbers, under names that every tracker takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from classwise.metrics import ClassTable
from classwise.runs.acted import first_acts

Event = Mapping[str, Any]
Values = Sequence[float | None]

LONGEST_NAME = 60
"""Longer names of classes are cut off; the number in front tells classes apart."""


def series_of(events: Sequence[Event], names: Sequence[str]) -> list[tuple[int, float, dict[str, float]]]:
    """The scalars of every entry.

    Args:
        events: Entries of the event log of a run or of a :class:`classwise.trackers.ClasswiseMonitor`, in their order.
        names: Names of the groups that accuracies and knobs are of.

    Returns:
        For every entry that has any: its step (epochs done, or the step given to the monitor), its time in seconds
        since 1970, and its numbers by name. Accuracies are fractions in [0, 1]. A class knob is there from the epoch on
        in which it first left 1 for a class; before, it was 1 for all.
    """
    acted = first_acts([event for event in events if event["event"] == "epoch"])
    found = []
    for event in events:
        kind = event["event"]
        if kind == "start":
            step, values = 0, _validation(event, names)
        elif kind == "epoch":
            step, values = event["epoch"] + 1, _epoch(event, names, acted)
        elif kind == "repair" and event["better"]:
            step, values = event["of"]["epochs"], table_scalars(event["validation"]["after"], names, "-repaired")
        elif kind == "monitor":
            step, values = event["step"], table_scalars(event["table"], names)
        else:
            continue
        found.append((int(step), float(event["time"]), values))
    return found


def table_scalars(table: ClassTable | Mapping[str, Values], names: Sequence[str], suffix: str = "") -> dict[str, float]:
    """Clean and robust accuracy of every class, their mean over classes and the lowest of them, each in [0, 1].

    Args:
        table: A class table, or its columns "clean" and "robust" as an event log has them.
        names: Names of the classes.
        suffix: Put behind "robust" and "clean", to tell tables apart.

    Returns:
        "robust/average", "robust/worst", "robust/0-NAME" …, "clean/average" …; classes without a sample are left out.
    """
    columns = (
        {"robust": table.robust.tolist(), "clean": table.clean.tolist()} if isinstance(table, ClassTable) else table
    )
    scalars: dict[str, float] = {}
    for column in ("robust", "clean"):
        values = _by_class(f"{column}{suffix}", columns[column], names)
        if values:
            scalars[f"{column}{suffix}/average"] = sum(values.values()) / len(values)
            scalars[f"{column}{suffix}/worst"] = min(values.values())
        scalars |= values
    return scalars


def class_key(number: int, name: str, of: int) -> str:
    """A class as part of a name: its number, which keeps names apart and in order, and its name as far as trackers take it.

    Args:
        number: From 0.
        name: Any text.
        of: How many classes there are.
    """
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_")[:LONGEST_NAME]
    return f"{number:0{len(str(of - 1))}d}-{plain}".rstrip("-")


def _epoch(event: Event, names: Sequence[str], acted: Mapping[str, int]) -> dict[str, float]:
    train = event["train"]
    single = {
        "train/loss": train["loss"],
        "train/lr": event["lr"],
        "train/seconds": event["seconds"]["all"],
        **{f"train/term-{name}": value for name, value in train.get("terms", {}).items()},
        **{f"score/{name}": value for name, value in event["scores"].items()},
    }
    scalars = _validation(event, names) | {name: float(value) for name, value in single.items() if _is_number(value)}
    steered = {**event["knobs"], "batch_weight": train.get("batch_weight", [])}
    for knob, values in steered.items():
        if event["epoch"] >= acted.get(knob, math.inf):
            scalars |= _by_class(f"knob-{knob}", values, names)
    for note, values in event.get("policy", {}).items():
        scalars |= _by_class(f"policy-{note}", values, names)
    return scalars


def _validation(event: Event, names: Sequence[str]) -> dict[str, float]:
    scalars: dict[str, float] = {}
    for weights, table in event["validation"].items():
        scalars |= table_scalars(table, names, "" if weights == "raw" else f"-{weights}")
    return scalars


def _by_class(prefix: str, values: Any, names: Sequence[str]) -> dict[str, float]:
    """Numbers of classes by name, or by position where there are not as many of them as classes."""
    listed = values if isinstance(values, list | tuple) else [values]
    keys = [class_key(i, name, len(names)) for i, name in enumerate(names)]
    if len(listed) != len(keys):
        keys = [str(i) for i in range(len(listed))]
    return {f"{prefix}/{key}": float(value) for key, value in zip(keys, listed, strict=True) if _is_number(value)}


def _is_number(value: Any) -> bool:
    """Whether there is a figure: the log writes null for what is not finite."""
    return isinstance(value, int | float) and math.isfinite(value)
