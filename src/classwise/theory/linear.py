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


def boxed_robust_margin(weight: Tensor, bias: Tensor, x: Tensor, y: Tensor, radius: float | Tensor) -> Tensor:
    """Smallest margin of ``f(x) = W x + b`` over the l_inf ball around each sample cut to the box [0, 1].

    For one rival class k the margin is linear, and the cut ball is a product of the intervals
    ``[max(x - radius, 0), min(x + radius, 1)]``; each coordinate therefore goes to its lower end if
    ``w_yj - w_kj`` is positive, else to its upper end. The least of these K - 1 minima is exact.

    Args:
        weight: (K, D) rows w_k.
        bias: (K,).
        x: (N, D), or (N, …) with D numbers per sample, values in [0, 1].
        y: (N,) labels, integers in [0, K).
        radius: Radius of the ball in the unit of x, one number or (N,).

    Returns:
        (N,) margins in logits.

    Raises:
        ValueError: If there are fewer than two classes.
    """
    flat = x.flatten(1)
    size = _per_sample(radius, x)
    low, high = (flat - size).clamp_min(0), (flat + size).clamp_max(1)
    margins = []
    for rival in range(len(weight)):  # one rival at a time: (N, K, D) numbers need not fit in memory
        slope = weight[y] - weight[rival]
        margins.append((slope * torch.where(slope > 0, low, high)).sum(1) + bias[y] - bias[rival])
    return _smallest_rival(torch.stack(margins, 1), y)


def _per_sample(radius: float | Tensor, x: Tensor) -> Tensor:
    return torch.as_tensor(radius, dtype=x.dtype, device=x.device).reshape(-1, 1)


def _smallest_rival(margins: Tensor, y: Tensor) -> Tensor:
    if margins.shape[1] < 2:
        raise ValueError("the model has a single class, so there is no margin: give weights of at least two classes")
    return margins.scatter(1, y[:, None], math.inf).amin(1)
