"""What the papers report: the numbers of their tables, kept as data beside our own results."""

from classwise.published.cells import Cell, cells, papers

__all__ = ["Cell", "cells", "papers"]
