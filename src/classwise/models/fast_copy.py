"""A copy of a model on which attacks search: the same function, computed faster."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from classwise.models.folding import folded, same_function
from classwise.models.fused import WithFusedForward, fused
from classwise.models.layout import fastest_layout

FOLDING, ROUNDING = 1e-4, 0.05
"""How far the logits of a copy may be off, relative to the largest one: fp32 after folding, and bf16."""


def fast_copy(model: Any, x: Tensor, bf16: bool) -> tuple[Any, str]:
    """The copy, and in words what it is.

    Every step has to prove itself on a few images: a model that cannot be copied or traced, or whose copy answers
    otherwise, is searched as it is.

    Args:
        model: A module in eval mode; any other callable is returned as it is.
        x: A few images (N, C, H, W) of its kind, on its device.
        bf16: Whether the copy computes in bf16.
    """
    if not isinstance(model, nn.Module):
        return model, "the model itself"
    best, words = model, "the model itself"
    try:
        made = folded(model)
        if same_function(model, fastest_layout(made), x, FOLDING):
            best, words = _quick_forward(made, x), "a copy with BatchNorm folded"
        if bf16:
            low = LowPrecision(deepcopy(model).requires_grad_(False) if best is model else folded(model), x)
            if same_function(model, low, x, ROUNDING):
                words = "a bf16 copy" if best is model else "a bf16 copy with BatchNorm folded"
                best = low
    except Exception:  # a stranger's module: copying or converting it may raise anything, and is not needed
        return best, words
    return best, words


class LowPrecision(nn.Module):
    """A network in bf16 behind a first layer that receives what it receives in fp32, rounded.

    Args:
        network: Owned by the copy; it is converted.
        x: A few images (N, …) of its kind.
    """

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.network = _quick_forward(fastest_layout(network.to(torch.bfloat16)), _rounded(x))
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) in float32 for images in [0, 1]."""
        answer: Tensor = self.network(_rounded(x))
        return answer.float()


def _rounded(x: Tensor) -> Tensor:
    x = x.to(torch.bfloat16)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _quick_forward(network: nn.Module, x: Tensor) -> nn.Module:
    """The network with fused kernels where no gradient is asked for, if it has any and they compute the same."""
    try:
        quick = fused(network, x)
        tolerance = FOLDING if x.dtype == torch.float32 else ROUNDING
        if quick is not None and same_function(network, quick, x, tolerance):
            return WithFusedForward(network, quick)
    except Exception:  # kernels that this version of torch or this processor does not have
        return network
    return network
