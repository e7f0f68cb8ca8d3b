"""Which of several points no other one beats in both directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def front(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """The Pareto front of points of which higher is better in both directions.

    Args:
        first: Shape (n,).
        second: Shape (n,).

    Returns:
        Whether no point is at least as high in both and higher in one, shape (n,); points that coincide are all in it.
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    at_least = (x[:, None] >= x) & (y[:, None] >= y)
    higher = (x[:, None] > x) | (y[:, None] > y)
    beaten: npt.NDArray[np.bool_] = np.any(at_least & higher, axis=0)
    return ~beaten
