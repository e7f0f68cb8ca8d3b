"""A model that a caller handed over as a live object."""

from __future__ import annotations

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

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """Refuse: there is nothing to build.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"this run's network ({self.title}) was handed over in Python: pass the same network again")
