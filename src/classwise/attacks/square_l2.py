"""The l_2 form of the Square attack: bumps, and a proposal that moves mass from one window to another.

Source: Andriushchenko, Croce, Flammarion and Hein, "Square Attack", ECCV 2020, algorithm 3; the order of clipping and
scaling as in the published code.

A bump (eta in the paper) fills a square window of side s. It is cut across its middle into two parts, the first positive,
the second negative. In each part the value at Chebyshev distance d from the centre is the sum of ``1 / m**2`` for m from
d + 1 to s // 2 + 1, and the sum of squares of each part is 1/2. Half of the bumps are transposed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from classwise.attacks.stepwise import Rows
from classwise.randomness import Noise
from classwise.threat import ThreatModel, per_sample

TILES = 5
"""Bumps along each side of the start."""
_TINY = 1e-12


def start(x: Tensor, radius: Tensor, noise: Noise) -> Tensor:
    """Images at the given distance, before clipping, whose perturbation is a grid of bumps of random signs.

    Args:
        x: (N, C, H, W) originals.
        radius: (N,) distances.
        noise: Gives each bump its direction and, for each channel, its sign.
    """
    count, channels, height, width = x.shape
    side = max(min(height, width) // TILES, 1)
    down, across = height // side, width // side
    chance = noise.uniform(x.new_empty((count, 1 + channels, down, across, 1, 1), dtype=torch.float32)) < 0.5
    upright = torch.from_numpy(eta(side)).to(device=x.device, dtype=x.dtype)
    bumps = torch.where(chance[:, :1], upright, upright.T) * torch.where(chance[:, 1:], 1.0, -1.0).to(x.dtype)
    delta = torch.zeros_like(x)
    top, left = (height - side * down) // 2, (width - side * across) // 2
    tiled = bumps.transpose(3, 4).reshape(count, channels, side * down, side * across)
    delta[:, :, top : top + side * down, left : left + side * across] = tiled
    return (x + delta * (per_sample(radius, x) / ThreatModel.length(delta))).clamp(0, 1)


def moved(rows: Rows, masks: Tensor, bump: Tensor, sign: Tensor) -> Tensor:
    """Proposals: the second window gives its mass to the first, which takes a bump on top of what it holds.

    Mass is length of the perturbation, channel by channel; what the ball still allows is added in equal shares. At
    step 0 the result is ``rows.best``.

    Args:
        rows: N rows, of which ``best`` is changed.
        masks: (N, 2, H, W) 1 inside the first and the second window, 0 outside.
        bump: (N, 1, H, W) bump in the first window.
        sign: (N, C, 1, 1) its sign for each channel.

    Returns:
        (N, C, H, W) images in ball and box.
    """
    x, delta = rows.x, rows.best - rows.x
    first, second = masks[:, :1], masks[:, 1:]
    either = torch.maximum(first, second)
    unused = (per_sample(rows.radius, x) ** 2 - ThreatModel.length(delta) ** 2).clamp_min(0)
    mass = (unused / x.shape[1] + _length(delta * either) ** 2).sqrt()
    held = delta * first
    mixed = held.addcmul_(bump, sign * (_length(held) + _TINY))
    changed = delta.mul_(1 - either).addcmul_(mixed, mass / _length(mixed).clamp_min(1e-30))
    # The start is clipped once and not brought back to the full length before it is evaluated.
    scale = torch.where(rows.step == 0, 1, rows.radius / ThreatModel.length(changed).flatten().clamp_min(1e-30))
    return torch.addcmul(x, changed, per_sample(scale, x)).clamp_(0, 1)


def bump(profiles: Tensor, side: Tensor, offset: Tensor, transposed: Tensor, height: int, width: int) -> Tensor:
    """Bumps in windows anywhere in an image, 0 outside, (N, H, W) float32.

    Args:
        profiles: See :func:`profiles`.
        side: (N, 1) sides of the windows, whole numbers.
        offset: (N, 2, L) row and column of each pixel, counted from the window's first; L at least H and W.
        transposed: (N, 1) whether the halves lie side by side and not one above the other.
        height: H.
        width: W.
    """
    cells = profiles.shape[1]
    entry = 2 * side + torch.cat([transposed, ~transposed], 1)
    cell = (offset + 1).clamp_(0, cells - 1).add_((entry * cells)[..., None])
    value, gain = profiles.view(-1, 2).index_select(0, cell.long().flatten()).view(*cell.shape, 2).unbind(3)
    shape = torch.minimum(value[:, 0, :height, None], value[:, 1, None, :width])
    return shape.mul_(gain[:, 0, :height, None]).mul_(gain[:, 1, None, :width])


def profiles(sides: Iterable[int], longest: int) -> Tensor:
    """All bumps as functions of one coordinate: a bump is the smaller of two values times the product of two gains.

    Returns:
        (2 * (longest + 1), longest + 2, 2) float32: in entry 2 s the value and the gain across the cut of the window of
        side s, in entry 2 s + 1 along it; cell 0 lies before the window, cells 1 to s inside, the rest behind it.
    """
    table = np.zeros((longest + 1, 2, longest + 2, 2), dtype=np.float32)
    for side in sides:
        if side:
            table[side, :, 1 : side + 1] = np.stack(_profile(side))
    return torch.from_numpy(table).view(2 * (longest + 1), longest + 2, 2)


def eta(side: int) -> np.ndarray:
    """The bump of a whole window, (side, side) float64, of length 1, upper half positive."""
    across, along = _profile(side)
    bumps: np.ndarray = np.minimum.outer(across[:, 0], along[:, 0]) * across[:, 1:]
    return bumps


def _profile(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Value and gain at each coordinate across the cut, and along it: two arrays (side, 2)."""
    half, coordinate = side // 2, np.arange(side)
    fall = np.cumsum(1 / np.arange(half + 1, 0, -1.0) ** 2)[::-1]
    along = fall[np.abs(coordinate - half)]
    upper = coordinate < half
    centre = np.where(upper, half // 2, half + (side - half) // 2)
    across = fall[np.abs(coordinate - centre)]
    energy = (np.minimum.outer(across, along) ** 2).sum(1)
    parts = 2 if half else 1
    gain = np.where(upper, 1, -1) / np.sqrt(parts * np.where(upper, energy[upper].sum(), energy[~upper].sum()))
    return np.stack([across, gain], 1), np.stack([along, np.ones(side)], 1)


def _length(delta: Tensor) -> Tensor:
    """Euclidean length of each channel, (N, C, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(delta, dim=(2, 3), keepdim=True)
    return length
