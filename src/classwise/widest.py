"""The widest floating-point type of a device."""

from __future__ import annotations

import torch
from torch import Tensor


def widest(tensor: Tensor) -> Tensor:
    """A tensor in float64; in float32 on Apple's MPS, which has no float64."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)
