"""What a network costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from classwise.models.modes import mode


def multiplications(model: Any, x: Tensor) -> int:
    """Multiplications of a forward pass on one image, in its matrix products and convolutions; 0 where it cannot be run.

    Args:
        model: Any callable.
        x: Images (N, …) of its kind, on its device.
    """
    try:
        with mode(model, training=False), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(x[:1])
    except Exception:  # a stranger's model: what is wrong with it is said where it is checked
        return 0
    return int(counter.get_total_flops()) // 2
