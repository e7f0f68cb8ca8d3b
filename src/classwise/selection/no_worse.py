"""A guard for repairs: nothing is kept that is worse for its weakest class than what was there before."""

from __future__ import annotations

from typing import ClassVar

from classwise.configuration import config
from classwise.metrics import ClassTable
from classwise.registry import register
from classwise.selection.rules import BestSum, Selection


@register("selection", "no-worse")
@config
class NoWorse(Selection):
    """Best epoch by another rule, of those whose weakest class is no weaker than the start's; else the start itself.

    Compared are robust accuracies of the weakest class on validation images, whichever class it is, exactly. The start is a
    candidate too: it is kept where no epoch is admitted, or where none that is scores as high. Raw and averaged weights are
    admitted each by their own table. A repair without training that follows is held to the same bound. In a run that starts
    from random weights this is the other rule alone.

    Both figures are measured on the same finite number of images and the best of several epochs is taken, so the weakest class
    of what is kept can still be weaker on other images.
    """

    rule: Selection = BestSum()
    """How admitted weights, and the start, are ranked."""
    keeps_start: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse a guard around a guard."""
        if self.rule.keeps_start:
            raise ValueError(
                f"rule {self.rule.registered_name!r} keeps the start already: guard best-sum or another rule"
            )

    def score(self, table: ClassTable, epoch: int) -> float:
        """See :class:`Selection`."""
        return self.rule.score(table, epoch)

    def admits(self, table: ClassTable, start: ClassTable) -> bool:
        """See :class:`Selection`. Equal shares of different numbers of images are equal floats, so ties are exact."""
        return table.worst.value >= start.worst.value
