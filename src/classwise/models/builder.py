"""Models by name: a registered component that builds a module."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import nn

from classwise.configuration import Component, config


@config
class ModelBuilder(Component):
    """Base class of model configurations."""

    kind: ClassVar[str] = "model"

    @abstractmethod
    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """A fresh network, randomly initialised by torch's global generator.

        Args:
            classes: Number of outputs.
            shape: Channels, height, width of its input, which lies in [0, 1].
        """
