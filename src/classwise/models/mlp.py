"""A multi-layer perceptron."""

from __future__ import annotations

import itertools
import math

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@register("model", "mlp")
@config
class MLP(ModelBuilder):
    """Fully connected layers with ReLU between them, on all pixels.

    Source: textbook; the widths are ours.
    """

    hidden: tuple[int, ...] = (256, 256)
    """Units of each hidden layer; none leaves a linear classifier."""

    def check(self) -> None:
        """Refuse layers without units."""
        if any(units < 1 for units in self.hidden):
            raise ValueError(f"hidden {self.hidden} must be at least 1 unit each")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`."""
        parts: list[nn.Module] = [nn.Flatten()]
        for entering, leaving in itertools.pairwise([math.prod(shape), *self.hidden]):
            parts += [nn.Linear(entering, leaving), nn.ReLU()]
        leaving = self.hidden[-1] if self.hidden else math.prod(shape)
        return nn.Sequential(*parts, nn.Linear(leaving, classes))
