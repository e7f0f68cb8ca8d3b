"""One figure over the seeds of a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from classwise.metrics import Estimate

OVER_SEEDS = "Student t over seeds"
NO_SPREAD = 1e-12
"""Standard deviations of fractions below this are rounding."""


@dataclass(frozen=True)
class OverSeeds:
    """Mean of a figure over the seeds of a recipe.

    Attributes:
        values: One fraction per seed.
        mean: Their mean.
        deviation: Their standard deviation, with n - 1; nan for one seed.
        low: Lower limit of the 95 % interval, a fraction; nan for several seeds of the same value.
        high: Upper limit.
        method: What the interval is of: for one seed that of the audit, which is about the samples; for several one
            about the seeds on these samples.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    low: float
    high: float
    method: str

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; nan becomes None."""
        return {
            "mean": _plain(self.mean),
            "deviation": _plain(self.deviation),
            "low": _plain(self.low),
            "high": _plain(self.high),
            "n": self.n,
            "values": [_plain(each) for each in self.values],
            "method": self.method,
        }


def over_seeds(estimates: Sequence[Estimate], confidence: float = 0.95) -> OverSeeds:
    """Mean, standard deviation and interval of a figure over seeds.

    Several seeds: mean ± t s / sqrt(n), for the mean over all seeds on these test samples, cut off at 0 and 1.
    One seed: the interval of the audit.

    Args:
        estimates: The figure of every seed, at least one.
        confidence: Two-sided level in (0, 1) of the former.
    """
    values = tuple(each.value for each in estimates)
    mean = fmean(values)
    if len(values) == 1:
        return OverSeeds(values, mean, math.nan, estimates[0].low, estimates[0].high, estimates[0].method)
    deviation = stdev(values)
    if deviation < NO_SPREAD:  # a few hundred samples make equal values common, which is no proof of an exact mean
        return OverSeeds(values, mean, deviation, math.nan, math.nan, "none: the seeds do not differ")
    half = t_quantile(len(values) - 1, confidence) * deviation / math.sqrt(len(values))
    return OverSeeds(values, mean, deviation, max(mean - half, 0.0), min(mean + half, 1.0), OVER_SEEDS)


def t_quantile(freedom: float, confidence: float) -> float:
    """Two-sided quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def t_p_value(t: float, freedom: float) -> float:
    """Two-sided p value of a t statistic."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
