"""Monte Carlo for the models of the papers: draw points, perturb each at worst, count the errors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Simulated:
    """A simulated probability with its interval.

    Args:
        value: Share of the draws.
        low: Lower limit of the interval.
        high: Upper limit.
        n: Number of draws.
    """

    value: float
    low: float
    high: float
    n: int
