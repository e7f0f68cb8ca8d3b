"""Whether hard classes are hurt more: how the rise of a class's error goes with the error it had before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Bools, Floats, check_confidence, check_outcome
from classwise.metrics.estimate import Estimate

METHOD = "split halves, percentiles of a weighted bootstrap over images"
LEAST_CLASSES = 3
"""Of two classes a rank correlation is always 1 or -1."""
_AT_ONCE = 4_000_000
"""Numbers of the largest array that is made at a time, about."""
_DIGITS = 12
"""Decimals to which errors are taken, so that equal ones stay equal whatever the order of summation."""


@dataclass(frozen=True)
class HardClasses:
    """How the rise of a class's error goes with its error before.

    Attributes:
        correlation: Spearman's rank correlation over classes of the error before and its rise, in [-1, 1]; above 0:
            hard classes are hurt more. nan where all classes have the same error before, or the same rise.
        slope: Of a straight line through the classes: points of rise for each point of error before. nan where classes
            differ no more in their error before than by noise.
        classes: Number of classes.
    """

    correlation: Estimate
    slope: Estimate
    classes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON; nan becomes None."""
        return {
            "correlation": self.correlation.to_dict(),
            "slope": self.slope.to_dict(),
            "classes": self.classes,
        }


def hurt_more(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    group: npt.ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    splits: int = 20,
    resamples: int = 1000,
    hardness: npt.ArrayLike | None = None,
) -> HardClasses:
    """Measure whether classes with a larger error before have the larger rise of the error, on the same images.

    Noise in the error before would bias both figures downward if one took them from all images at once: a class that
    looks hard by chance seems to be hurt less, since the same chance is subtracted in its rise. So the images of each
    class are split at random: the error before is taken on one half and the rise on the other, in both ways, and the
    figures are averaged over many splits. The noise of the two halves has nothing in common, so without an effect the
    correlation is 0 on average; what is left of the noise draws that of an effect, and its interval, towards 0. The
    slope is the covariance of the error before and the rise, over that of the errors before in the two halves: noise is
    in neither, so it is not drawn anywhere. It needs classes that differ by more than noise, and is wild otherwise.

    The interval is about these classes and other images of them. Each image is given a random weight (exponential with
    mean 1, the Bayesian bootstrap), which goes with it into the half it is in, before as after; a plain bootstrap would
    put copies of one image into both halves. Resamples in which a figure is not defined widen the interval;
    it always holds the figure itself.

    Args:
        before: Whether each image is classified correctly before, bool, shape (n,).
        after: Whether the same image is classified correctly after, bool, shape (n,).
        group: Integer class of each image, at least 0, shape (n,). Classes with fewer than two images are left out.
        rng: Where splits and weights come from; the same seed gives the same figures.
        confidence: Two-sided level of the intervals, in (0, 1).
        splits: Random splits, at least 1.
        resamples: Resamples behind an interval; 0: no interval, its ends are nan.
        hardness: Another outcome of each image by whose error classes count as hard, bool, shape (n,), such as that of
            natural training without an attack where everything is wrong under one; default: ``before``.

    Raises:
        ValueError: Shapes or dtypes do not match, there are fewer than three classes, or a number is out of range.

    Source: C. Spearman, The proof and measurement of association between two things, American Journal of Psychology 1904;
    D. B. Rubin, The Bayesian bootstrap, Annals of Statistics 1981.
    """
    check_confidence(confidence)
    if splits < 1 or resamples < 0:
        raise ValueError(f"splits {splits} must be at least 1 and resamples {resamples} at least 0.")
    labels = np.asarray(group)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (labels < 0).any():
        raise ValueError(f"group has shape {labels.shape} and dtype {labels.dtype}; give one class number per image.")
    right = [check_outcome(each, len(labels), name) for each, name in ((before, "before"), (after, "after"))]
    right.insert(0, right[0] if hardness is None else check_outcome(hardness, len(labels), "hardness"))
    known, n = np.unique(labels, return_counts=True)
    rows = [np.flatnonzero(labels == each) for each in known[n > 1]]
    if len(rows) < LEAST_CLASSES:
        raise ValueError(
            f"there are {len(rows)} classes with two images or more; a rank correlation needs {LEAST_CLASSES}."
        )
    halves = [_halves(len(each), splits, rng) for each in rows]
    images = int(sum(len(each) for each in rows))
    correlation, slope = _figures(right, rows, halves, [np.ones((1, len(each))) for each in rows])
    drawn = [_figures(right, rows, halves, weights) for weights in _weights(rows, resamples, rng)]
    found = []
    for at, value, bound in ((0, float(correlation[0]), 1.0), (1, float(slope[0]), np.inf)):
        low, high = np.nan, np.nan
        if drawn:
            low, high = _ends(np.concatenate([each[at] for each in drawn]), confidence, bound)
            # Resamples are noisier than the images, which near 1 and -1 draws both ends to one side of the figure.
            low, high = float(np.fmin(low, value)), float(np.fmax(high, value))
        found.append(Estimate(value, low, high, METHOD, images))
    return HardClasses(found[0], found[1], len(rows))


def _halves(images: int, splits: int, rng: np.random.Generator) -> Bools:
    """Which images are in the first half, shape (splits, images); which half has the odd one is drawn too."""
    first = images // 2 + rng.integers(0, images % 2 + 1, (splits, 1))
    return rng.permuted(np.tile(np.arange(images), (splits, 1)), axis=1) < first


def _weights(rows: list[npt.NDArray[np.intp]], resamples: int, rng: np.random.Generator) -> Iterator[list[Floats]]:
    """Weights of the images of each class, shape (some resamples, images), in parts that fit into memory."""
    part = max(1, _AT_ONCE // sum(len(each) for each in rows))
    for begin in range(0, resamples, part):
        some = min(part, resamples - begin)
        yield [rng.standard_exponential((some, len(each))) for each in rows]


def _figures(
    right: list[Bools], rows: list[npt.NDArray[np.intp]], halves: list[Bools], weights: list[Floats]
) -> tuple[Floats, Floats]:
    """Correlation and slope of each resample, shape (resamples,), averaged over splits and both ways."""
    one, other = (
        _errors(right, rows, [half if first else ~half for half in halves], weights) for first in (True, False)
    )
    correlations = np.concatenate([_spearman(one[0], other[1]), _spearman(other[0], one[1])], axis=1)
    defined = ~np.isnan(correlations)
    count = defined.sum(axis=1)
    correlation = np.where(count > 0, np.where(defined, correlations, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
    shared = (_covariance(one[0], other[1]) + _covariance(other[0], one[1])).mean(axis=1)
    spread = 2 * _covariance(one[0], other[0]).mean(axis=1)
    slope = np.where(spread > 0, shared / np.where(spread > 0, spread, 1), np.nan)
    return correlation, slope


def _errors(
    right: list[Bools], rows: list[npt.NDArray[np.intp]], halves: list[Bools], weights: list[Floats]
) -> tuple[Floats, Floats]:
    """Error that makes a class hard, and the rise, of every class in a half, shape (resamples, splits, classes)."""
    errors, rises = [], []
    for images, half, weight in zip(rows, halves, weights, strict=True):
        hard, was, now = (~outcome[images] for outcome in right)
        total = weight @ half.T.astype(np.float64)
        wrong = weight @ (half & hard).T.astype(np.float64)
        more = weight @ (half.T * (now.astype(np.float64) - was)[:, None])
        errors.append(wrong / total)
        rises.append(more / total)
    found: list[Floats] = [np.stack(each, axis=-1).round(_DIGITS) for each in (errors, rises)]
    return found[0], found[1]


def _spearman(x: Floats, y: Floats) -> Floats:
    """Rank correlation over the last axis, ties sharing their mean rank; nan where one side is all alike."""
    from scipy.stats import rankdata

    ranks = [rankdata(each, axis=-1) for each in (x, y)]
    square = _covariance(ranks[0], ranks[0]) * _covariance(ranks[1], ranks[1])
    alike = square <= 0
    found: Floats = np.where(alike, np.nan, _covariance(*ranks) / np.sqrt(np.where(alike, 1, square)))
    return found


def _covariance(x: Floats, y: Floats) -> Floats:
    """Mean product of the deviations over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    found: Floats = (centred * (y - y.mean(axis=-1, keepdims=True))).mean(axis=-1)
    return found


def _ends(drawn: Floats, confidence: float, bound: float) -> tuple[float, float]:
    """Percentiles of resamples; those without a figure could lie anywhere up to the bound on either side."""
    share, unknown = (1 - confidence) / 2, np.isnan(drawn)
    low = np.quantile(np.where(unknown, -bound, drawn), share, method="lower")
    high = np.quantile(np.where(unknown, bound, drawn), 1 - share, method="higher")
    return float(low), float(high)
