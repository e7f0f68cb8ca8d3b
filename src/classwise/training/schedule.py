"""Learning-rate schedules: a factor for every position in training."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from classwise.configuration import Component, config
from classwise.registry import register


@config
class Schedule(Component):
    """Base class of schedules."""

    kind: ClassVar[str] = "schedule"

    @abstractmethod
    def factor(self, position: float, epochs: int) -> float:
        """Multiplier of the learning rate.

        Args:
            position: Epochs done so far, fractions included: 2.5 is the middle of the third epoch.
            epochs: Epochs in all.
        """


@register("schedule", "constant")
@config
class Constant(Schedule):
    """The same learning rate throughout."""

    def factor(self, position: float, epochs: int) -> float:
        """See :class:`Schedule`."""
        return 1.0


@register("schedule", "steps", "piecewise")
@config
class Steps(Schedule):
    """Drops by a factor at the start of given epochs (counted from 0), such as 100 and 150 of 200."""

    drops: tuple[int, ...] = (100, 150)
    """Epochs at whose start the rate drops."""
    by: float = 0.1
    """Factor of each drop."""
    to: tuple[float, ...] = ()
    """Multiples of the first rate after each drop, such as 0.1, 0.01, 0.005, where one factor will not do."""

    def check(self) -> None:
        """Refuse multiples that do not belong to the drops."""
        if self.to and len(self.to) != len(self.drops):
            raise ValueError(f"{len(self.to)} multiples for {len(self.drops)} drops: give one for each, or none")

    def factor(self, position: float, epochs: int) -> float:
        """See :class:`Schedule`."""
        done = sum(math.floor(position) >= drop for drop in self.drops)
        return (1.0, *self.to)[done] if self.to else self.by**done


@register("schedule", "one-cycle")
@config
class OneCycle(Schedule):
    """Rises linearly from 0 for the first part of training, then falls linearly to 0 (Wong et al. 2020).

    The very first step has a rate of 0.
    """

    peak: float = 0.4
    """Where in training the rate is highest, in (0, 1)."""

    def check(self) -> None:
        """Refuse a peak at an end."""
        if not 0 < self.peak < 1:
            raise ValueError(f"peak {self.peak} must lie in (0, 1)")

    def factor(self, position: float, epochs: int) -> float:
        """See :class:`Schedule`."""
        done = position / epochs
        return done / self.peak if done < self.peak else (1 - done) / (1 - self.peak)


@register("schedule", "cosine")
@config
class Cosine(Schedule):
    """Half a cosine wave, from the full learning rate to 0."""

    def factor(self, position: float, epochs: int) -> float:
        """See :class:`Schedule`."""
        return 0.5 * (1 + math.cos(math.pi * min(position / epochs, 1)))
