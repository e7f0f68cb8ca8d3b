"""Summaries over classes, each from counts per class and each with an interval for the true summary.

Picking the worst of many classes picks bad luck too: the interval of the class that happened to come out
worst does not cover the true minimum. Every interval here is for the summary of the *true* class accuracies.
Classes without a sample are left out.

All functions take `successes` and `n`, whole counts of shape (C,), and a two-sided `confidence` in (0, 1),
return fractions, and raise ValueError if counts or confidence are out of range or no class has a sample.
"""

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Floats, check_confidence, check_counts
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import clopper_pearson_bounds, normal_quantile, sidak, simultaneous, wilson

SELECTED = "Clopper-Pearson over classes, selection allowed for"
JOINT = "simultaneous Clopper-Pearson (Šidák)"


def mean_over_samples(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Fraction of all samples that succeed; large classes count for more. Wilson interval."""
    x, total = measured(successes, n)
    low, high = wilson(x.sum(), total.sum(), confidence)
    return as_estimate(x.sum() / total.sum(), low, high, "Wilson score", total.sum())


def mean_over_classes(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of the class accuracies; every class counts the same.

    Adjusted Wald interval: z^2 / C pseudo-samples per class, half of them successes. The variance is divided
    by one less than the sample size, as an unbiased variance is; without that, many small classes give too
    short an interval. Combining Wilson limits per class (MOVER) misses far more often when accuracies are
    near 0 or 1.

    Source: R. Price and D. Bonett, An improved confidence interval for a linear function of binomial
    proportions, Computational Statistics & Data Analysis 2004; the division by one less is ours.
    """
    x, total = measured(successes, n)
    low, high = mean_over_classes_limits(x, total, confidence)
    return as_estimate((x / total).mean(), low, high, "adjusted Wald over classes (Price-Bonett)", total.sum())


def worst_class(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Lowest class accuracy, with an interval for the true minimum; n is that of the class seen lowest."""
    x, total = measured(successes, n)
    low, high = worst_class_limits(x, total, confidence)
    worst = int(np.argmin(x / total))
    return as_estimate(x[worst] / total[worst], low, high, SELECTED, total[worst])


def best_class(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Highest class accuracy, with an interval for the true maximum; n is that of the class seen highest."""
    x, total = measured(successes, n)
    # The best class by successes is the worst class by failures.
    low, high = worst_class_limits(total - x, total, confidence)
    best = int(np.argmax(x / total))
    return as_estimate(x[best] / total[best], 1 - high, 1 - low, SELECTED, total[best])


def worst_share(successes: npt.ArrayLike, n: npt.ArrayLike, share: float = 0.2, confidence: float = 0.95) -> Estimate:
    """Mean of the ceil(share * C) lowest class accuracies; n counts the samples of those classes.

    The mean of the k lowest grows with every class accuracy, so it is taken of all lower and of all upper
    limits.

    Raises:
        ValueError: If share is not in (0, 1], besides the reasons all summaries share.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; give the fraction of classes to average, above 0 and at most 1.")
    x, total = measured(successes, n)
    # 0.07 * 100 is 7.000000000000001 in floating point, which must stay 7.
    k = int(np.ceil(share * len(x) - 1e-9))
    low, high = simultaneous(x, total, confidence)
    lowest = np.argsort(x / total, kind="stable")[:k]
    return as_estimate(
        (x / total)[lowest].mean(),
        np.sort(low)[:k].mean(),
        np.sort(high)[:k].mean(),
        JOINT,
        total[lowest].sum(),
    )


def gap(successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Best minus worst class accuracy; n counts the samples of those two classes."""
    x, total = measured(successes, n)
    low, high = simultaneous(x, total, confidence)
    accuracy = x / total
    ends = {int(np.argmin(accuracy)), int(np.argmax(accuracy))}
    return as_estimate(
        np.ptp(accuracy),
        max(0.0, low.max() - high.min()),
        high.max() - low.min() if len(x) > 1 else 0.0,
        JOINT,
        sum(total[end] for end in ends),
    )


def mean_over_classes_limits(x: Floats, total: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Limits of `mean_over_classes`; x and total of shape (..., C), no total 0; results of shape (...)."""
    classes = x.shape[-1]
    z = normal_quantile(confidence)
    size = total + z**2 / classes
    p = (x + z**2 / (2 * classes)) / size
    half = z * np.sqrt((p * (1 - p) / (size - 1)).sum(axis=-1)) / classes
    centre = p.mean(axis=-1)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def worst_class_limits(x: Floats, total: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Limits of `worst_class`; x and total of shape (..., C), no total 0; results of shape (...)."""
    check_confidence(confidence)
    half = (1 - confidence) / 2
    # Low: the least lower limit is at most that of the truly worst class, so that limit alone has to hold.
    # High: the least upper limit falls below the true minimum only if some class's limit falls below its own
    # value, so all C have to hold.
    low, high = clopper_pearson_bounds(x, total, half, sidak(half, x.shape[-1]))
    return low.min(axis=-1), high.min(axis=-1)


def measured(successes: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Checked counts of the classes that have samples, each of shape (at most C,)."""
    x, total = check_counts(successes, n)
    if x.ndim != 1:
        raise ValueError(f"counts have shape {x.shape}; give one count per class, shape (C,).")
    if not total.any():
        raise ValueError("no class has a sample, so there is nothing to summarise; check the data given.")
    return x[total > 0], total[total > 0]


def as_estimate(value: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, method: str, n: float) -> Estimate:
    """An `Estimate` from NumPy scalars."""
    return Estimate(float(np.asarray(value)), float(np.asarray(low)), float(np.asarray(high)), method, int(n))
