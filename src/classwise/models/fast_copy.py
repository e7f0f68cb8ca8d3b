"""A copy of a model on which attacks search: the same function, computed faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from classwise.models.folding import folded, same_function
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
        copy = fastest_layout(folded(model))
        if same_function(model, copy, x, FOLDING):
            best, words = copy, "a copy with BatchNorm folded"
        if bf16:
            low = LowPrecision(folded(model))
            if same_function(model, low, x, ROUNDING):
                best, words = low, "a bf16 copy with BatchNorm folded"
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a stranger's module: copying or converting it may raise anything, and is not needed
        return best, words
    return best, words


class LowPrecision(nn.Module):
    """A network in bf16 behind a first layer that receives what it receives in fp32, rounded.

    Args:
        network: Owned by the copy; it is converted.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = fastest_layout(network.to(torch.bfloat16))
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) in float32 for images in [0, 1]."""
        x = x.to(torch.bfloat16)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        answer: Tensor = self.network(x)
        return answer.float()
