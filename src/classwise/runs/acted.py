"""Whether a class policy did anything in a run, and since when."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def action(policy: str, history: Sequence[Mapping[str, Any]], steered: Collection[str] = ()) -> str:
    """A sentence on what a policy did; empty for the policy "uniform", which does nothing on purpose.

    Args:
        policy: Registered name.
        history: The "epoch" entries of a run's event log.
        steered: Knobs that the policy may set, of which those that stayed at 1 are named.
    """
    if policy == "uniform" or not history:
        return ""
    first = first_acts(history)
    if not first:
        return (
            f"The policy {policy} never acted: every class knob stayed at 1 in all {len(history)} epochs, so this run says "
            "nothing about it; look at the fields that say when and how strongly it begins."
        )
    since = ", ".join(f"{_NAMES.get(name, name)} from epoch {epoch + 1}" for name, epoch in first.items())
    still = sorted(_NAMES.get(name, name) for name in steered if name not in first)
    rest = f" Never left 1: {', '.join(still)}." if still else ""
    return f"The policy {policy} acted: {since} of {len(history)} on.{rest}"


def inaction(policy: str, history: Sequence[Mapping[str, Any]]) -> str:
    """A clause for the name of a model whose policy never acted, so that no table mistakes that for no effect; else empty."""
    return f"; policy {policy} never acted" if "never acted" in action(policy, history) else ""


_NAMES = {
    "batch_weight": "batch weights",
    "label": "weights of the loss on the label",
    "robust": "weights of the robust term",
}
