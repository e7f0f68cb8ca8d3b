"""A policy's hooks, called in the order and with the statistics of the loop, but without any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from classwise.policies import ClassPolicy, State
from classwise.testing.statistics import World

EPOCHS = 300
"""As long as the longest of the published schedules."""

Call = Callable[..., Any]
"""Calls a hook: (name of the hook, the bound method, its arguments) -> its answer."""


@dataclass
class Drive:
    """What a policy did in the course of a training.

    Args:
        knobs: Knobs with which each epoch was trained, and those after the last.
        weights: Batch weights, with epoch and number of the batch.
        states: The state before each epoch, and the last.
    """

    knobs: list[dict[str, Tensor]] = field(default_factory=list)
    weights: list[tuple[int, int, Tensor | None]] = field(default_factory=list)
    states: list[State] = field(default_factory=list)


def plain_call(hook: str, method: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a hook and nothing else."""
    return method(*arguments)


def drive(
    policy: ClassPolicy,
    world: World,
    call: Call = plain_call,
    epochs: int = EPOCHS,
    begin: int = 0,
    state: State | None = None,
) -> Drive:
    """Carry a policy through a training.

    Args:
        policy: The policy.
        world: What is measured.
        call: Calls the hooks.
        epochs: Number of epochs.
        begin: First epoch.
        state: The state to go on from; None: from the start.

    Returns:
        What it did. Only some epochs have batches, the first ones among them.
    """
    needs = policy.observes()
    done = Drive()
    if state is None:
        state = call("init", policy.init, world.groups)
        state = call(
            "on_start", policy.on_start, state, world.measure("on_start", needs if policy.looks_first() else (), -1)
        )
    for epoch in range(begin, epochs):
        done.states.append(state)
        done.knobs.append(call("knobs", policy.knobs, state))
        if epoch < 3 or epoch % 40 == 0 or epoch == epochs - 1:
            for batch in range(2):
                stats = world.measure("on_batch", needs, epoch, batch)
                weights, state = call("on_batch", policy.on_batch, state, stats)
                done.weights.append((epoch, batch, weights))
        state = call("on_epoch", policy.on_epoch, state, world.measure("on_epoch", needs, epoch))
    done.states.append(state)
    done.knobs.append(call("knobs", policy.knobs, state))
    return done


def difference(one: Any, other: Any, tolerance: float = 0.0) -> str:
    """Where two answers of a hook differ, in words; empty where they do not.

    Args:
        one: A tensor, None, or tuples, lists and dictionaries of them.
        other: What it is compared with.
        tolerance: Largest difference of two values, relative where they are above 1.
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"{_described(one)} against {_described(other)}"
        close = torch.isclose(one.double(), other.double(), rtol=tolerance, atol=tolerance, equal_nan=True)
        if bool(close.all()):
            return ""
        place = tuple(int(i) for i in (~close).nonzero()[0])
        return (
            f"{one[place].item():.6g} against {other[place].item():.6g} at {list(place)}"
            if place
            else f"{one} against {other}"
        )
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"entries {sorted(one)} against {sorted(other)}"
        found = ((key, difference(one[key], other[key], tolerance)) for key in one)
        return next((f"{key!r}: {text}" for key, text in found if text), "")
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        if len(one) != len(other):
            return f"{len(one)} values against {len(other)}"
        return next((text for a, b in zip(one, other, strict=True) if (text := difference(a, b, tolerance))), "")
    return "" if one is other or bool(one == other) else f"{one!r} against {other!r}"


def _described(value: Tensor) -> str:
    return f"shape {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
