"""Mixing: what happens to a batch before and after the attack."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from classwise.configuration import Component, config
from classwise.data.feed import Feed
from classwise.data.loader import Batch
from classwise.randomness import Noise
from classwise.registry import register


@config
class Mixing(Component):
    """Base class: replaces images, never labels. The default of both hooks leaves them alone."""

    kind: ClassVar[str] = "mixing"

    def refusal(self, attacked: bool) -> str:
        """Why this makes no sense with an objective that is attacked, or is not; empty: it does."""
        return ""

    def before(self, batch: Batch, source: Feed, noise: Noise) -> Batch:
        """The batch that is attacked; ``source`` is the whole training set, for partners of the same class."""
        return batch

    def after(self, batch: Batch, x_adv: Tensor, noise: Noise) -> tuple[Batch, Tensor]:
        """The clean and the perturbed images (N, …) that the objective sees."""
        return batch, x_adv


@register("mixing", "none")
@config
class NoMixing(Mixing):
    """Leaves every image alone."""
