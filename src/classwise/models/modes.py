"""Train and eval mode, set for a while and put back exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def mode(model: Any, training: bool) -> Iterator[None]:
    """Put every submodule into train or eval mode; afterwards restore each one's own mode, also after an error.

    ``model.train()`` at the end would unfreeze BatchNorm layers that somebody froze on purpose.

    Args:
        model: A module; any other callable has no mode and passes through.
        training: True for train mode.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    before = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put a model's buffers, such as BatchNorm's running statistics, back as they were."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, was in before:
                buffer.copy_(was)
