"""Exact robust margins of a linear classifier, the model on which attacks can be checked to the last digit.

Shapes: N samples, D features, K classes. All results are in the dtype of the weights.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

_DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


def robust_margin(
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    y: Tensor,
    norm: Literal["linf", "l2", "l1"],
    radius: float | Tensor,
) -> Tensor:
    """Smallest margin of ``f(x) = W x + b`` over a norm ball around each sample, without any box.

    ``min over k != y of (z_y - z_k) - radius * ||w_y - w_k||_*`` with z = W x + b and ``||.||_*`` the dual
    norm (l_1 for l_inf, l_2 for l_2, l_inf for l_1): Hölder's inequality, which is attained. A sample is
    robustly classified if and only if the result is positive.

    Args:
        weight: (K, D) rows w_k.
        bias: (K,).
        x: (N, D), or (N, …) with D numbers per sample.
        y: (N,) labels, integers in [0, K).
        norm: Norm of the ball: "linf", "l2" or "l1".
        radius: Radius of the ball in the unit of x, one number or (N,).

    Returns:
        (N,) margins in logits.

    Raises:
        ValueError: If the norm is unknown or there are fewer than two classes.

    >>> weight = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    >>> robust_margin(weight, torch.zeros(2), torch.ones(1, 2), torch.tensor([0]), "linf", 0.5)
    tensor([1.5000])
    """
    if norm not in _DUAL:
        raise ValueError(f"norm {norm!r} is unknown: use one of {', '.join(_DUAL)}")
    logits = x.flatten(1) @ weight.T + bias
    exact = "donot_use_mm_for_euclid_dist"
    lengths = torch.cdist(weight, weight, p=_DUAL[norm], compute_mode=exact)
    margins = logits.gather(1, y[:, None]) - logits - _per_sample(radius, x) * lengths[y]
    return _smallest_rival(margins, y)


def boxed_robust_margin(
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    y: Tensor,
    radius: float | Tensor,
    norm: Literal["linf", "l1"] = "linf",
) -> Tensor:
    """Smallest margin of ``f(x) = W x + b`` over the norm ball around each sample cut to the box [0, 1].

    For one rival class k the margin is linear with slope ``w_y - w_k``, and each coordinate goes against its slope:
    in l_inf to the end of the interval ``[max(x - radius, 0), min(x + radius, 1)]``; in l_1 the steepest coordinate
    goes first, up to the box, then the next, until the radius is spent (a fractional knapsack, which greed solves).
    The least of these K - 1 minima is exact.

    Args:
        weight: (K, D) rows w_k.
        bias: (K,).
        x: (N, D), or (N, …) with D numbers per sample, values in [0, 1].
        y: (N,) labels, integers in [0, K).
        radius: Radius of the ball in the unit of x, one number or (N,).
        norm: Norm of the ball: "linf" or "l1".

    Returns:
        (N,) margins in logits.

    Raises:
        ValueError: If the norm is neither, or there are fewer than two classes.
    """
    if norm not in ("linf", "l1"):
        raise ValueError(f"norm {norm!r} has no exact margin in the box here: use linf or l1")
    flat = x.flatten(1)
    size = _per_sample(radius, x)
    margins = []
    for rival in range(len(weight)):  # one rival at a time: (N, K, D) numbers need not fit in memory
        slope = weight[y] - weight[rival]
        if norm == "linf":
            worst = torch.where(slope > 0, (flat - size).clamp_min(0), (flat + size).clamp_max(1))
        else:
            worst = _greedy(flat, slope, size)
        margins.append((slope * worst).sum(1) + bias[y] - bias[rival])
    return _smallest_rival(torch.stack(margins, 1), y)


def _greedy(x: Tensor, slope: Tensor, size: Tensor) -> Tensor:
    """The point of the cut l_1 ball with the least ``slope . x``: steepest coordinates first, each up to the box."""
    order = slope.abs().argsort(1, descending=True)
    room = torch.where(slope > 0, x, 1 - x).gather(1, order)
    left = size - room.cumsum(1) + room
    change = torch.empty_like(x).scatter(1, order, torch.minimum(left.clamp_min(0), room))
    return x - slope.sign() * change


def _per_sample(radius: float | Tensor, x: Tensor) -> Tensor:
    return torch.as_tensor(radius, dtype=x.dtype, device=x.device).reshape(-1, 1)


def _smallest_rival(margins: Tensor, y: Tensor) -> Tensor:
    if margins.shape[1] < 2:
        raise ValueError("the model has a single class, so there is no margin: give weights of at least two classes")
    return margins.scatter(1, y[:, None], math.inf).amin(1)
