"""Confidence intervals for one or many binomial proportions, vectorised over counts."""

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Floats, check_confidence, check_counts


def normal_quantile(confidence: float) -> float:
    """Two-sided standard normal quantile, about 1.96 at 0.95."""
    from scipy.special import ndtri

    check_confidence(confidence)
    return float(ndtri(0.5 + confidence / 2))


def wilson(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson score interval: coverage close to nominal on average, short, never empty.

    Args:
        successes: Counts, any shape.
        n: Counts that broadcast with `successes`; n = 0 gives (0, 1).
        confidence: Two-sided level in (0, 1).

    Returns:
        Lower and upper limits, fractions, float64 of the broadcast shape.

    Raises:
        ValueError: If counts or confidence are out of range.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
    """
    return wilson_limits(*check_counts(successes, n), confidence)


def wilson_limits(x: Floats, total: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Limits of `wilson` for counts of one shape that were checked; planning gives counts that are not whole."""
    z2 = normal_quantile(confidence) ** 2
    centre = (x + z2 / 2) / (total + z2)
    spread = x * (total - x) / np.maximum(total, 1)
    half = np.sqrt(z2 * (spread + z2 / 4)) / (total + z2)
    # The formula gives exactly 0 and 1 at the ends; rounding must not lift the limits off them.
    low = np.where(x == 0, 0.0, centre - half)
    high = np.where(x == total, 1.0, centre + half)
    return low, high


def clopper_pearson_bounds(
    successes: npt.ArrayLike, n: npt.ArrayLike, alpha_low: npt.ArrayLike, alpha_high: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Exact one-sided limits, each missed with at most its own probability.

    Args:
        successes: Counts, any shape.
        n: Counts that broadcast with `successes`; n = 0 gives (0, 1).
        alpha_low: Greatest probability that the lower limit exceeds the true value, in (0, 1).
        alpha_high: Greatest probability that the upper limit falls below the true value, in (0, 1).

    Returns:
        Lower and upper limits, fractions, float64 of the broadcast shape.

    Raises:
        ValueError: If counts or levels are out of range.

    Source: C. Clopper and E. Pearson, Biometrika 1934; limits as beta quantiles.
    """
    x, total = check_counts(successes, n)
    miss_low, miss_high = np.asarray(alpha_low, np.float64), np.asarray(alpha_high, np.float64)
    for name, miss in (("alpha_low", miss_low), ("alpha_high", miss_high)):
        if np.any(miss <= 0) or np.any(miss >= 1):
            raise ValueError(f"{name} is {miss}; give a miss probability between 0 and 1, such as 0.025.")
    return beta_limits(x, total, miss_low, miss_high)


def beta_limits(
    x: Floats, total: Floats, alpha_low: float | Floats, alpha_high: float | Floats
) -> tuple[Floats, Floats]:
    """Limits of `clopper_pearson_bounds` for input that was checked; planning gives counts that are not whole."""
    from scipy.special import betainccinv, betaincinv

    # The beta parameters are kept positive where the limit is known to be 0 or 1.
    low = np.where(x == 0, 0.0, betaincinv(np.where(x == 0, 1.0, x), total - x + 1, alpha_low))
    high = np.where(x == total, 1.0, betainccinv(x + 1, np.where(x == total, 1.0, total - x), alpha_high))
    return low, high


def clopper_pearson(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Clopper-Pearson interval: coverage at least nominal for every n and every true value.

    Args:
        successes: Counts, any shape.
        n: Counts that broadcast with `successes`; n = 0 gives (0, 1).
        confidence: Two-sided level in (0, 1).

    Returns:
        Lower and upper limits, fractions, float64 of the broadcast shape.

    Raises:
        ValueError: If counts or confidence are out of range.
    """
    check_confidence(confidence)
    half = (1 - confidence) / 2
    return clopper_pearson_bounds(successes, n, half, half)


def sidak(alpha: float, statements: int) -> float:
    """Miss probability of each of `statements` independent statements so that all hold with 1 - alpha."""
    return float(-np.expm1(np.log1p(-alpha) / max(statements, 1)))


def simultaneous(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Intervals that cover the true values of all classes at once.

    Clopper-Pearson at the Šidák level; exact because classes are made of different samples.

    Args:
        successes: Counts per class, shape (..., C).
        n: Counts per class that broadcast with `successes`; classes with n = 0 give (0, 1) and cost nothing.
        confidence: Joint two-sided level in (0, 1).

    Returns:
        Lower and upper limits, fractions, float64, shape (..., C).

    Raises:
        ValueError: If counts or confidence are out of range.

    Source: Z. Šidák, Rectangular confidence regions, JASA 1967.
    """
    check_confidence(confidence)
    x, total = check_counts(successes, n)
    measured = int(np.count_nonzero(total, axis=-1).max(initial=0)) if total.ndim else 1
    half = sidak(1 - confidence, measured) / 2
    return clopper_pearson_bounds(x, total, half, half)
