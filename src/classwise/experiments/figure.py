"""Figures of class errors: over all images, of one class, or a summary over classes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Figure = Literal["average", "worst", "worst-fifth", "best", "deviation", "class"]


def figure_of(errors: npt.NDArray[np.float64], n: npt.NDArray[np.int64], figure: Figure, group: int) -> float:
    """A figure of class errors.

    Args:
        errors: Error of each class, a fraction, shape (G,).
        n: Samples of each class, shape (G,); classes without samples do not count.
        figure: Which.
        group: Number of the class, for the figure "class".

    Returns:
        A fraction; nan for a class that there is not.
    """
    if figure == "class":
        return float(errors[group]) if group < len(errors) else float("nan")
    there = n > 0
    errors, n = errors[there], n[there]
    ordered = np.sort(errors)[::-1]
    found = {
        "average": (errors * n).sum() / n.sum(),
        "worst": ordered[0],
        "worst-fifth": ordered[: -(-len(ordered) // 5)].mean(),
        "best": ordered[-1],
        "deviation": errors.std(),
    }
    return float(found[figure])
