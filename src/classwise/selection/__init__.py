"""Selection of an epoch on validation images."""

from classwise.selection.no_worse import NoWorse
from classwise.selection.rules import BestAverage, BestSum, BestWorst, Last, Selection

__all__ = ["BestAverage", "BestSum", "BestWorst", "Last", "NoWorse", "Selection"]
