"""Accuracies over several starts and how two methods differ in them, with intervals for both sources of chance.

All outcomes are bool arrays (S, n): S starts by n test images, the same images for every start. A figure is the mean over
the starts of what one start gives: its accuracy over all images, or that of its own weakest class.

Two things are chance: which images were drawn, and which start was trained. The outcomes of one image under several starts
belong together, so pooling S n outcomes as if they were independent would give intervals that are too short. Hence an image
counts once, with its mean over the starts, and the spread over the starts is taken apart from that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from classwise.metrics.intervals import normal_quantile

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A fraction, or a difference of two, with its intervals.

    Attributes:
        value: Mean over the starts, a fraction; a difference is after - before.
        images: Interval for other test images and these very networks.
        starts: Interval for other starts and these very images, Student's t; None with one start.
        both: Interval for other starts and other images; None with one start.
        n_starts: Number of starts.
        n_images: Number of test images.
        weakest: Class with the lowest accuracy in each start (after), where the figure is about the weakest class.
    """

    value: float
    images: Interval
    starts: Interval | None
    both: Interval | None
    n_starts: int
    n_images: int
    weakest: tuple[int, ...] = ()

    @property
    def shown(self) -> int:
        """+1 or -1 where the interval for other starts and images lies on one side of 0, else 0."""
        if self.both is None:
            return 0
        return int(self.both[0] > 0) - int(self.both[1] < 0)


def average(after: Bools, before: Bools | None = None, confidence: float = 0.95) -> Figure:
    """Accuracy over all images, or its difference.

    Args:
        after: Outcomes (S, n).
        before: Outcomes of the same starts and images that are subtracted.
        confidence: Two-sided level in (0, 1).
    """
    change = after.astype(np.float64) - (0.0 if before is None else before)
    stratum = _Stratum(change.mean(axis=0), 0.0 if before is None else -1.0, 1.0)
    return _figure(change.mean(axis=1), [stratum], after.shape[1], confidence)


def worst(after: Bools, labels: Ints, before: Bools | None = None, confidence: float = 0.95) -> Figure:
    """Accuracy of the weakest class of each start, or its difference; the weakest classes need not be the same.

    Which class is weakest is taken as given in the interval for other images, so ties are no part of it; and the lowest of
    several measured accuracies tends to lie below the lowest true one, the more so the closer the classes are.

    Args:
        after: Outcomes (S, n).
        labels: Class of every image, (n,); every class up to the largest has images.
        before: Outcomes of the same starts and images that are subtracted.
        confidence: Two-sided level in (0, 1).
    """
    count = np.bincount(labels).astype(np.float64)
    signed = [(after, 1.0)] + ([] if before is None else [(before, -1.0)])
    contribution = np.zeros(len(labels))
    low, high = np.zeros(len(count)), np.zeros(len(count))
    per_start = np.zeros(len(after))
    weakest: dict[float, tuple[int, ...]] = {}
    for outcomes, sign in signed:
        accuracy = class_accuracies(outcomes, labels)
        chosen = accuracy.argmin(axis=1)
        weakest[sign] = tuple(int(each) for each in chosen)
        per_start += sign * accuracy.min(axis=1)
        for row, c in zip(outcomes, chosen, strict=True):
            contribution += sign * (row & (labels == c)) / len(after)
            low[c] += min(sign, 0.0) / len(after)
            high[c] += max(sign, 0.0) / len(after)
    strata = [
        _Stratum(contribution[labels == c], low[c], high[c]) for c in range(len(count)) if low[c] < 0 or high[c] > 0
    ]
    return _figure(per_start, strata, len(labels), confidence, weakest[1.0])


def class_accuracies(outcomes: Bools, labels: Ints) -> Floats:
    """Accuracy of every class in every start, (S, C), of outcomes (S, n)."""
    count = np.bincount(labels)
    return np.stack([np.bincount(labels, row, minlength=len(count)) for row in outcomes]) / count


@dataclass(frozen=True)
class _Stratum:
    """Values of the images of one class, or of all: their mean is a term of the figure.

    Attributes:
        values: (m,).
        low: Least value that an image could have.
        high: Largest value that an image could have.
    """

    values: Floats
    low: float
    high: float


def _figure(
    per_start: Floats, strata: list[_Stratum], n_images: int, confidence: float, weakest: tuple[int, ...] = ()
) -> Figure:
    value = float(per_start.mean())
    ends = (-1.0 if any(each.low < 0 for each in strata) else 0.0), 1.0
    # An image of the highest and one of the lowest value are added to each stratum. With one start this is the interval
    # of Bonett and Price for pairs, and that of Agresti and Caffo where two classes are compared.
    extended = [np.append(each.values, (each.low, each.high)) for each in strata]
    centre = float(sum(each.mean() for each in extended))
    over_images = float(sum(each.var() / len(each) for each in extended))
    images = _interval(centre, normal_quantile(confidence) * np.sqrt(over_images), ends)
    starts = both = None
    if len(per_start) > 1:
        free = len(per_start) - 1
        over_starts = float(per_start.var(ddof=1)) / len(per_start)
        starts = _interval(value, _student(free, confidence) * np.sqrt(over_starts), ends)
        # Welch and Satterthwaite. What start and image do together is in both terms, which errs on the safe side.
        many = sum(len(each) for each in extended) - len(extended)
        freedom = (over_images + over_starts) ** 2 / (over_images**2 / many + over_starts**2 / free)
        both = _interval(value, _student(freedom, confidence) * np.sqrt(over_images + over_starts), ends)
    return Figure(value, images, starts, both, len(per_start), n_images, weakest)


def _student(freedom: float, confidence: float) -> float:
    """Two-sided quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _interval(centre: float, half: float, ends: Interval) -> Interval:
    return max(float(centre - half), ends[0]), min(float(centre + half), ends[1])
