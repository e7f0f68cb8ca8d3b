"""Whether a class policy did anything in a run, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NEUTRAL = 1e-6
"""How far from 1 a knob is still neutral: what rounding does to weights that are scaled to mean 1."""


def first_acts(history: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The first epoch (counted from 0) in which each class knob was not 1 for every class.

    Args:
        history: The "epoch" entries of a run's event log.

    Returns:
        Knob, or "batch_weight" for weights set batch by batch, → epoch; knobs that stayed at 1 are left out.
    """
    first: dict[str, int] = {}
    for entry in history:
        values = {**entry["knobs"], "batch_weight": entry["train"].get("batch_weight", [])}
        for name, each in values.items():
            seen = entry["train"]["count"]
            acted = any(
                abs(value - 1) > _NEUTRAL
                for group, value in enumerate(each)
                if name != "batch_weight" or seen[group]  # a class without samples has no mean weight
            )
            if acted:
                first.setdefault(name, int(entry["epoch"]))
    return first
