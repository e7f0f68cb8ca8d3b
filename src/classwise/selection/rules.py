"""Which epoch is kept: rules on the validation table. The test set plays no part."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from classwise.configuration import Component, config
from classwise.metrics import ClassTable
from classwise.registry import register


@config
class Selection(Component):
    """Base class: scores an epoch by its class-wise validation accuracy; the highest score wins, ties go to the later."""

    kind: ClassVar[str] = "selection"
    keeps_start: ClassVar[bool] = False
    """Whether the network that a run starts from, where it starts from one, is a candidate itself. It is scored as the first
    epoch would be, and beaten by an epoch that is admitted and scores as high."""

    @abstractmethod
    def score(self, table: ClassTable, epoch: int) -> float:
        """Score of one set of weights after an epoch (counted from 0)."""

    def admits(self, table: ClassTable, start: ClassTable) -> bool:
        """Whether weights may be kept at all, in a run that starts from a network.

        Args:
            table: Their validation table.
            start: That of the network the run started from.
        """
        return True


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
    """Highest sum of average and worst-class robust accuracy (the rule of CFA and FAAL, here on validation images).

    With many classes of few images each, the mean of the worst fifth of the classes can be taken for the worst class.
    """

    added: Literal["worst", "worst-fifth"] = "worst"
    """What is added to the average: robust accuracy of the worst class, or its mean over the worst fifth of the classes
    (rounded up)."""

    def score(self, table: ClassTable, epoch: int) -> float:
        """See :class:`Selection`."""
        lowest = table.worst if self.added == "worst" else table.worst_fifth
        return table.class_mean.value + lowest.value
