"""Whether numbers look normal: the largest difference between their distribution function and the fitted normal one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

NOTICEABLE = 0.05
"""A smaller largest difference is no departure, however sure one may be of it: with many images everything is."""
_CRITICAL = 0.895


@dataclass(frozen=True)
class Departure:
    """How far columns of numbers are from normal.

    Args:
        distance: (C,) largest difference between empirical and fitted distribution function, in [0, 1]; nan for a column
            without spread.
        significant: (C,) whether it is larger than 5 % of normal samples have it.
    """

    distance: Floats
    significant: NDArray[np.bool_]

    @property
    def departs(self) -> NDArray[np.bool_]:
        """(C,) whether the difference is both significant and at least :data:`NOTICEABLE`."""
        return self.significant & (self.distance >= NOTICEABLE)


def departure(values: Floats) -> Departure:
    """Test columns for normality, mean and standard deviation being estimated from them.

    Args:
        values: (N, C), N at least 4.

    Source: H. W. Lilliefors, JASA 1967, with the critical value of M. A. Stephens, JASA 1974 (modified statistic, 5 %).
    """
    n = len(values)
    assert n >= 4
    sd = values.std(0, ddof=1)
    fitted = ndtr(np.sort((values - values.mean(0)) / np.where(sd > 0, sd, 1), axis=0))
    steps = np.arange(n + 1)[:, None] / n
    distance = np.maximum((steps[1:] - fitted).max(0), (fitted - steps[:-1]).max(0))
    modified = distance * (np.sqrt(n) - 0.01 + 0.85 / np.sqrt(n))
    return Departure(np.where(sd > 0, distance, np.nan), (sd > 0) & (modified > _CRITICAL))
