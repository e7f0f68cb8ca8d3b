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

CLIMBS, MOST_CLIMBS = 16, 64
"""Newton steps on an accelerator; and on a CPU, where they end as soon as nothing moves."""


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
    """Sizes ``min(t speed, room)`` whose sum, weighted by pull, is the gap; the whole room where that is too small.

    The sum is concave in t and linear between arrivals, so that Newton's method from 0 climbs to the exact t without
    passing it, mostly within five steps; sorting the arrivals would take several times as long.
    """
    speed = torch.ones_like(pull) if norm == "linf" else pull
    gain, most = pull * speed, pull * room
    last = torch.where(pull > 0, room / speed, 0).amax(1, keepdim=True)
    time, wanted = torch.zeros_like(last), gap[:, None]
    free = _looks_are_free(pull)
    for _ in range(MOST_CLIMBS if free else CLIMBS):
        reached = time * gain
        pace = (gain * (reached < most)).sum(1, keepdim=True)
        missing = (wanted - torch.minimum(reached, most).sum(1, keepdim=True)).clamp_min(0)
        before, time = time, torch.minimum(time + torch.where(pace > 0, missing / pace, 0), last)
        if free and torch.equal(before, time):
            break
    return torch.where(wanted < most.sum(1, keepdim=True), torch.minimum(time * speed, room), room)


def _looks_are_free(tensor: Tensor) -> bool:
    """Whether reading a value on the host makes no device wait."""
    return tensor.device.type == "cpu"


def _heaviest_first(pull: Tensor, room: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """Sizes that close the gap with the coordinates of the largest pull, each to the end of its room."""
    pulls, order = pull.sort(dim=1, descending=True)
    rooms = room.gather(1, order)
    closed = F.pad((pulls * rooms).cumsum(1)[:, :-1], (1, 0))
    missing = (gap[:, None] - closed).clamp_min(0)
    sizes = torch.where(pulls > 0, torch.minimum(missing / pulls, rooms), 0)
    return torch.zeros_like(room).scatter(1, order, sizes)
