"""Which epoch is kept: rules on the validation table. The test set plays no part."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from classwise.configuration import Component, config
from classwise.metrics import ClassTable
from classwise.registry import register


@config
class Selection(Component):
    """Base class: scores an epoch by its class-wise validation accuracy; the highest score wins, ties go to the later."""

    kind: ClassVar[str] = "selection"

    @abstractmethod
    def score(self, table: ClassTable, epoch: int) -> float:
        """Score of one set of weights after an epoch (counted from 0)."""


@register("selection", "last")
@config
class Last(Selection):
    """Keeps the last epoch."""

    def score(self, table: ClassTable, epoch: int) -> float:
        """See :class:`Selection`."""
        return float(epoch)


@register("selection", "best-average")
@config
class BestAverage(Selection):
    """Highest robust accuracy, averaged over classes."""

    def score(self, table: ClassTable, epoch: int) -> float:
        """See :class:`Selection`."""
        return table.class_mean.value


@register("selection", "best-worst")
@config
class BestWorst(Selection):
    """Highest robust accuracy of the weakest class."""

    def score(self, table: ClassTable, epoch: int) -> float:
        """See :class:`Selection`."""
        return table.worst.value


@register("selection", "best-sum")
@config
class BestSum(Selection):
    """Highest sum of average and worst-class robust accuracy (the rule of CFA and FAAL, here on validation images)."""

    def score(self, table: ClassTable, epoch: int) -> float:
        """See :class:`Selection`."""
        return table.class_mean.value + table.worst.value
