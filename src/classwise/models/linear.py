"""A linear classifier: the model whose robust margin is known exactly."""

from __future__ import annotations

import math

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@register("model", "linear")
@config
class Linear(ModelBuilder):
    """One affine map from pixels to logits; its exact robust margin is in ``classwise.theory.linear``."""

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`."""
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
