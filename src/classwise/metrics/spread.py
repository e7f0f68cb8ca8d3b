"""How unequal the class accuracies are: standard deviation, Gini coefficient and normalised spread.

The value of each is that of the measured accuracies, which sampling noise makes larger than that of the true ones.
Its interval holds every value that accuracies within simultaneous limits can have. So it covers at least as often as
those limits do, and more often in fact: with many small classes it is wide.

All functions take `successes` and `n`, whole counts of shape (C,), and a two-sided `confidence` in (0, 1), and raise
ValueError if counts or confidence are out of range or no class has a sample. Classes without a sample are left out.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from classwise.metrics.aggregates import JOINT, as_estimate, measured
from classwise.metrics.counts import Floats
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import simultaneous

RANGE = JOINT + ", range of the spread"


def standard_deviation(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Standard deviation (ddof 0) of the class accuracies.

    The variance is the least mean (p - t)^2 over centres t. So the smallest variance within the limits is the
    least mean squared distance from t to the intervals (exact), and the largest is at most the least mean
    squared distance from t to their farther ends (an upper bound, by weak duality).
    """
    x, total = measured(successes, n)
    low, high = simultaneous(x, total, confidence)

    def nearest(t: float) -> Floats:
        return np.minimum(np.maximum(low, t), high)

    def farthest(t: float) -> Floats:
        return np.where(2 * t < low + high, high, low)

    smallest, largest = (_least_rms_distance(end) for end in (nearest, farthest))
    # A single class has no spread, which the duality bound does not know.
    largest = largest if len(x) > 1 else 0.0
    return as_estimate((x / total).std(), smallest, largest, RANGE, total.sum())


def gini(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Gini coefficient of the class accuracies: sum over i, j of |a_i - a_j| / (2 C^2 mean).

    0 if all classes are equal (by convention also if all are 0), (C - 1) / C if one class has all the successes.
    Both ends of the interval are exact: no accuracies within the limits have a smaller or a larger coefficient.
    """
    x, total = measured(successes, n)
    low, high = simultaneous(x, total, confidence)
    value = float(_gini(x / total))
    smallest = float(_gini(_levelled(low, high)).min())
    return as_estimate(value, smallest, _largest_gini(low, high), RANGE, total.sum())


def normalised_spread(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Standard deviation (ddof 0) of the class accuracies over their mean, in [0, sqrt(C - 1)].

    0 if all classes are equal (by convention also if all are 0). The lower end of the interval is exact; the upper
    one is the largest value within the limits or a few per cent above it.
    """
    x, total = measured(successes, n)
    low, high = simultaneous(x, total, confidence)
    p = x / total
    return as_estimate(
        _over_mean(p.std(), p), _least_normalised(low, high), _largest_normalised(low, high), RANGE, total.sum()
    )


def _over_mean(spread: npt.ArrayLike, p: Floats) -> Floats:
    mean = p.mean(axis=-1)
    return np.where(mean > 0, spread / np.where(mean > 0, mean, 1.0), 0.0)


def _gini(p: Floats) -> Floats:
    # sum |p_i - p_j| = 2 sum (2 k - C - 1) p_(k) over the ranks k = 1..C; p of shape (..., C).
    half = (_rank_slopes(p.shape[-1]) * np.sort(p, axis=-1)).mean(axis=-1)
    # Of equal accuracies rounding may leave less than nothing.
    return _over_mean(np.maximum(half, 0.0), p)


def _rank_slopes(classes: int) -> Floats:
    return (2 * np.arange(1, classes + 1, dtype=np.float64) - classes - 1) / classes


def _levelled(low: Floats, high: Floats) -> Floats:
    # Of all accuracies within the limits with a given sum, a common value t clipped to the limits is the most
    # even (it is majorised by the others), so it has the least Gini coefficient. Between two neighbouring limits
    # the coefficient is a ratio of linear functions of t, hence least at one of them.
    levels: Floats = np.unique(np.concatenate([low, high]))[:, None]
    clipped: Floats = np.clip(levels, low, high)
    return clipped


def _largest_gini(low: Floats, high: Floats) -> float:
    """Largest Gini coefficient of accuracies within limits, exact.

    The coefficient exceeds g exactly if sum over classes of (slope of the class's rank - g) p is positive. For a
    given g the largest such sum takes each class's upper limit where the factor is positive and else the lower one;
    which class gets which rank is an assignment problem. Its solution gives the next g, until none is larger.

    Source: W. Dinkelbach, On nonlinear fractional programming, Management Science 1967.
    """
    from scipy.optimize import linear_sum_assignment

    slopes = _rank_slopes(len(low))
    # The classes with the highest limits high and the others low is often the answer, and saves assignments.
    order = np.argsort(low + high)
    lower = np.tri(len(low) + 1, len(low), k=-1, dtype=bool)
    best = float(_gini(np.where(lower, low[order], high[order])).max())
    while True:
        factor = slopes - best
        gain = np.where(factor > 0, np.outer(high, factor), np.outer(low, factor))
        rank = linear_sum_assignment(gain, maximize=True)[1]
        candidate = float(_gini(np.where(factor[rank] > 0, high, low)))
        if candidate <= best + 1e-12:
            return best
        best = candidate


def _least_normalised(low: Floats, high: Floats) -> float:
    # A clipped common value is the most even choice here too. Along t, (spread / mean)^2 + 1 = C sum p^2 / (sum p)^2
    # falls and then rises; its slope has the sign of t sum p - sum p^2, which grows with t.
    def slope(t: float) -> float:
        p = np.clip(t, low, high)
        return float(t * p.sum() - (p**2).sum())

    p = np.clip(_bisect(slope), low, high)
    return float(_over_mean(p.std(), p))


def _largest_normalised(low: Floats, high: Floats) -> float:
    # The ratio is quasi-convex, so it is largest where every class is at one of its limits: all at the lower one, or
    # some class i at the upper one. Bounding each case by itself keeps the bound near when few classes are high.
    largest = float(_over_mean(low.std(), low))
    for i in range(len(low)):
        raised = low.copy()
        raised[i] = high[i]
        largest = max(largest, _dual_bound(raised, high))
    return largest


def _dual_bound(low: Floats, high: Floats) -> float:
    """Upper bound on spread / mean of accuracies within limits, by weak duality.

    With S = sum p, Q = sum p^2 and any v: Q - 2 v S <= F(v), the sum over classes of the larger p^2 - 2 v p of its
    two limits. Where F(v) < 0 this gives Q / S^2 <= -v^2 / F(v), least over v. F is linear between the middles of
    the limits; on such a piece, with S and Q of its choice of limits, the bound is least at v = Q / S or an end.
    """
    order = np.argsort(low + high)
    low, high = low[order], high[order]
    middle = (low + high) / 2
    # Choice k takes the lower limit of the k classes with the least middles, and the upper limit of the others.
    total, squares = (
        np.append(0.0, np.cumsum(low**power)) + np.append(np.cumsum(high[::-1] ** power)[::-1], 0.0) for power in (1, 2)
    )
    stationary = squares / np.where(total > 0, total, 1.0)
    v = np.clip(stationary, np.append(0.0, middle), np.append(middle, 1.0))
    negative = 2 * v * total - squares
    bound = np.where(negative > 0, v**2 / np.where(negative > 0, negative, 1.0), 1.0)
    # Q / S^2 <= 1 holds always.
    return float(np.sqrt(np.clip(len(low) * bound.min() - 1, 0, len(low) - 1)))


def _least_rms_distance(ends: Callable[[float], Floats]) -> float:
    # mean (t - ends(t))^2 is convex in t with slope 2 mean (t - ends(t)).
    t = _bisect(lambda t: float(np.mean(t - ends(t))))
    # At a kink the two sides name different ends at the same distance, so either side will do.
    return float(np.sqrt(np.mean((t - ends(t)) ** 2)))


def _bisect(slope: Callable[[float], float]) -> float:
    # Where a slope that rises on [0, 1] turns from negative to positive.
    below, above = 0.0, 1.0
    for _ in range(60):
        t = (below + above) / 2
        if slope(t) < 0:
            below = t
        else:
            above = t
    return above
