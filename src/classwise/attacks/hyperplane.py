"""The shortest way from a point of the box [0, 1] to a hyperplane, without leaving the box."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from classwise.threat import Norm

_ORDER: dict[Norm, float] = {"linf": math.inf, "l2": 2.0, "l1": 1.0}
_DUAL: dict[Norm, float] = {"linf": 1.0, "l2": 2.0, "l1": math.inf}
_NOTHING = 1e-12
"""Share of the largest weight below which a weight counts as 0: it could close no more than this share of a gap."""


def length_of(delta: Tensor, norm: Norm) -> Tensor:
    """Length of each sample's vector in a norm, (N,)."""
    made: Tensor = torch.linalg.vector_norm(delta.flatten(1), _ORDER[norm], dim=1)
    return made


def dual_length(weight: Tensor, norm: Norm) -> Tensor:
    """Length of each sample's vector in the dual norm, (N,): the most ``<weight, d>`` that d of length 1 can have."""
    made: Tensor = torch.linalg.vector_norm(weight.flatten(1), _DUAL[norm], dim=1)
    return made


def to_hyperplane(x: Tensor, weight: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """The shortest d with ``<weight, d> = gap`` and ``x + d`` in the box.

    Every row is solved exactly, by itself. Where no point of the box lies on the hyperplane, ``x + d`` is the nearest
    such point of the box that comes as close to the plane (in ``<weight, .>``) as any. Coordinates of weight 0 stay.

    Source: the projection in Croce and Hein, "Minimally distorted adversarial examples …", ICML 2020. By its
    optimality conditions coordinate i moves towards the plane by ``min(t s_i, room_i)`` with one t per row, s_i = 1
    for l_inf and ``|weight_i|`` for l_2: the row's progress grows with t and is linear between the values where a
    coordinate reaches the box. For l_1 the heaviest coordinates move first (a continuous knapsack).

    Args:
        x: (N, …) points in [0, 1].
        weight: (N, …) normal of each hyperplane, shape and type of ``x``.
        gap: (N,) how far ``<weight, .>`` must rise, or fall where negative.
        norm: What is shortest: "linf", "l2" or "l1".

    Returns:
        Displacements, shape and type of ``x``.
    """
    flat = weight.flatten(1)
    # Relative weights, so that gradients of any scale keep clear of underflow.
    scale = flat.abs().amax(1).clamp_min(torch.finfo(flat.dtype).tiny)
    pull = flat.abs() / scale[:, None]
    pull = pull * (pull > _NOTHING)
    towards = flat.sign() * gap.sign()[:, None]
    room = torch.where(towards > 0, 1 - x.flatten(1), x.flatten(1)) * (pull > 0)
    solve = _heaviest_first if norm == "l1" else _together
    size = solve(pull, room, gap.abs() / scale, norm)
    return (towards * size).view_as(x)


def _together(pull: Tensor, room: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """Sizes ``min(t speed, room)`` whose sum, weighted by pull, is the gap; the whole room where that is too small."""
    speed = torch.ones_like(pull) if norm == "linf" else pull
    arrival = torch.where(pull > 0, room / speed, 0)
    times, order = arrival.sort(dim=1)
    gain = (pull * speed).gather(1, order)
    # Sums of the coordinates still moving run from the far end: differences of sums would cancel.
    moving = F.pad(gain.flip(1).cumsum(1).flip(1)[:, 1:], (0, 1))
    progress = (gain * times).cumsum(1) + times * moving
    before = (progress < gap[:, None]).sum(1, keepdim=True)
    feasible = before < pull.shape[1]
    moves = arrival >= times.gather(1, before.clamp_max(pull.shape[1] - 1))
    missing = gap[:, None] - (pull * room * ~moves).sum(1, keepdim=True)
    pace = (pull * speed * moves).sum(1, keepdim=True).clamp_min(torch.finfo(pull.dtype).tiny)
    time = (missing / pace).clamp_min(0)
    return torch.where(feasible, torch.minimum(time * speed, room), room)


def _heaviest_first(pull: Tensor, room: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """Sizes that close the gap with the coordinates of the largest pull, each to the end of its room."""
    pulls, order = pull.sort(dim=1, descending=True)
    rooms = room.gather(1, order)
    closed = F.pad((pulls * rooms).cumsum(1)[:, :-1], (1, 0))
    missing = (gap[:, None] - closed).clamp_min(0)
    sizes = torch.where(pulls > 0, torch.minimum(missing / pulls, rooms), 0)
    return torch.zeros_like(room).scatter(1, order, sizes)
