"""A model that a caller handed over as a live object."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@register("model", "given")
@config
class GivenModel(ModelBuilder):
    """Stands in a configuration for a network that was passed to ``train`` or ``finetune`` as an object."""

    title: str = ""
    """Class of the network."""
    sha256: str = ""
    """Checksum of the weights and buffers it was handed over with."""

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """Refuse: there is nothing to build.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"this run's network ({self.title}) was handed over in Python: pass the same network again")


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over every parameter and buffer of a network, those outside its state dictionary included."""
    digest = hashlib.sha256()
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
