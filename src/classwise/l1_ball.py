"""Geometry of the l_1 ball and of its part inside the box [0, 1]: nearest points, random points, sparse steps.

Shapes: samples are (N, …), radii (N,). Sums are taken in the widest float of the device and results are rounded towards
the original, so that in a large image the many roundings to float32 never add up to a point outside the ball.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from classwise.widest import widest

if TYPE_CHECKING:
    from torch import Tensor

    from classwise.randomness import Noise


def nearest(x_adv: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    """The Euclidean projection of ``x_adv`` onto the points of the box [0, 1] within l_1 distance ``radius`` of ``x``.

    For a multiplier m >= 0 of the constraint on the length, every coordinate of the best change has a closed form:
    the wanted change ``d = x_adv - x`` made shorter by m, then cut off at the box. The m at which the lengths sum to
    the radius is found exactly. Projecting onto the ball and clipping afterwards would stay below the radius wherever
    the box cuts something off. Source: Croce and Hein, "Mind the box", ICML 2021, proposition 2.1.

    Args:
        x_adv: Points (N, …).
        x: Centres (N, …) in [0, 1], of the same dtype.
        radius: (N,).

    Returns:
        The nearest points; ``x_adv`` itself where it is already inside, ``x`` itself where the radius is 0 and in
        every coordinate that is not changed.
    """
    centre, wanted = widest(x), widest(x_adv) - widest(x)
    room = torch.where(wanted > 0, 1 - centre, centre)
    length = _lengths(wanted.abs().flatten(1), room.flatten(1), widest(radius)).view_as(wanted)
    found = torch.where(length >= room, (wanted > 0).to(centre), centre + wanted.sign() * length)
    found = found.clamp(0, 1)
    rounded = found.to(x.dtype)
    outwards = (widest(rounded) - centre).abs() > (found - centre).abs()
    rounded = torch.where(outwards, torch.nextafter(rounded, x), rounded)
    rounded = torch.where(length == wanted.abs(), x_adv.clamp(0, 1), rounded)
    return torch.where(length == 0, x, rounded)


def shrink(delta: Tensor, radius: Tensor) -> Tensor:
    """The Euclidean projection of changes (N, …) onto the l_1 balls of radius (N,) around zero (Duchi et al. 2008)."""
    size = widest(delta).abs().flatten(1)
    return (delta.sign() * _lengths(size, size, widest(radius)).view_as(delta)).to(delta.dtype)


def uniform(like: Tensor, noise: Noise) -> Tensor:
    """Points uniform in volume in the unit l_1 ball, shaped like ``like``.

    D + 1 exponential variables divided by their sum are uniform on the simplex; the first D of them, with random
    signs, are uniform in the ball. Uses three uniform draws: D sizes, the one left over, D signs.
    """
    spacing = _exponential(noise.uniform(like))
    rest = _exponential(noise.uniform(like.flatten(1)[:, :1]))[:, 0]
    total = (spacing.flatten(1).sum(1) + rest).view(-1, *[1] * (like.dim() - 1))
    signs = torch.where(noise.uniform(like) < 0.5, -1.0, 1.0)
    return (signs * spacing / total).to(like.dtype)


def sparse_ascent(gradient: Tensor, point: Tensor | None, share: float) -> Tensor:
    """A direction of unit l_1 length along the largest coordinates of the gradient, in proportion to them.

    Steepest ascent in l_1 moves one coordinate; moving the ``share`` of coordinates with the largest gradient is
    faster (SLIDE: Tramèr and Boneh 2019, algorithm 1). Two departures make the optimum of a linear model a fixed
    point of step and projection: coordinates move in proportion to the gradient, not all equally, so that the largest
    wins in the end; and those that the gradient pushes out of the box at ``point`` are not counted, though still
    pushed, so that the projection takes the excess from the others and not from them.

    Args:
        gradient: (N, …).
        point: (N, …) in [0, 1], where the gradient was taken; None: no coordinate is at the box.
        share: Share of coordinates that move, in (0, 1]; at least one coordinate does.

    Returns:
        (N, …), zero where the gradient is zero.
    """
    flat = gradient.flatten(1)
    free = torch.ones_like(flat, dtype=torch.bool)
    if point is not None:
        free = ~torch.where(flat > 0, point.flatten(1) >= 1, point.flatten(1) <= 0)
    size = torch.where(free, flat.abs(), 0.0)
    least = size.topk(max(1, math.ceil(share * size.shape[1])), dim=1).values[:, -1:]
    size = torch.where(size >= least, size, 0.0)
    direction = torch.where((size > 0) | ~free, flat, 0.0) / size.sum(1, keepdim=True).clamp_min(1e-30)
    return direction.clamp(-1, 1).view_as(gradient)


def _lengths(size: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """``min(max(size - m, 0), room)`` with the least m >= 0 for which each row sums to at most its radius; all (N, D).

    A row's sum falls with m in straight lines, which bend where a coordinate leaves its limit (m = size - room) and
    where it reaches zero (m = size). The bends are sorted, the sums there accumulated, and m is computed from the
    coordinates that change between the two bends that enclose the radius.
    """
    leaves = (size - room).clamp_min(0)
    limit = radius[:, None]
    bends, order = torch.cat([leaves, size], 1).sort(1)
    counts = torch.cat([torch.ones_like(leaves), -torch.ones_like(size)], 1).gather(1, order).cumsum(1)
    whole = (size - leaves).sum(1, keepdim=True)
    falls = (counts[:, :-1] * bends.diff(dim=1)).cumsum(1)
    sums = whole - torch.cat([torch.zeros_like(whole), falls], 1)
    before = (sums >= limit).sum(1, keepdim=True).sub(1).clamp_min(0)
    bend = bends.gather(1, before)
    full, moving = leaves > bend, (leaves <= bend) & (size > bend)
    count = moving.sum(1, keepdim=True)
    spent = torch.where(full, room, torch.where(moving, size, 0.0)).sum(1, keepdim=True)
    multiplier = torch.where(count > 0, (spent - limit) / count.clamp_min(1), bend)
    multiplier = torch.where(whole <= limit, 0.0, multiplier)
    return torch.minimum((size - multiplier).clamp_min(0), room).clamp_max(limit)


def _exponential(uniform: Tensor) -> Tensor:
    """Standard exponential values from uniform ones in [0, 1); a 1 that rounding has made stays finite."""
    return -(1 - widest(uniform)).clamp_min(1e-16).log()
