"""Mixing: what happens to a batch before and after the attack."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from classwise.configuration import Component, config
from classwise.data.dataset import ClassData
from classwise.data.loader import Batch
from classwise.randomness import Noise
from classwise.registry import register


@config
class Mixing(Component):
    """Base class: replaces images, never labels. The default of both hooks leaves them alone."""

    kind: ClassVar[str] = "mixing"

    def before(self, batch: Batch, source: ClassData, noise: Noise) -> Batch:
        """The batch that is attacked; ``source`` is the whole training set, for partners of the same class."""
        return batch

    def after(self, x_adv: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """The perturbed images (N, …) that the objective sees."""
        return x_adv


@register("mixing", "none")
@config
class NoMixing(Mixing):
    """Leaves every image alone."""
