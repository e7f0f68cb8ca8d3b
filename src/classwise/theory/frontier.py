"""The trade between average and worst-class robust error that linear classifiers of two Gaussian classes can reach.

Why it is exact. Both class errors of a classifier with offset c fall with ``<w, theta> - radius |w|_1`` and depend on w
through nothing else, so no classifier beats the one that has the same c and the best direction. Along that direction, with
margin a, the error of class +1 falls with c and that of class -1 rises; the worse of both is least where they are equal,
``c = a (sigma_plus - sigma_minus) / (sigma_plus + sigma_minus)``. "No class worse than t" leaves an interval of offsets
around it, and the average over an interval is least at one of its ends or at the only local minimum inside.

Where methods stand. Priors, thresholds, class weights, mixing within classes and a KL ball over the classes all change the
offset only: on robustly trained linear classifiers they are walks along one curve, and lie on the frontier as long as they
stay between its ends. Only the direction, hence the training radius, can lose on both counts at once.

"Average" weighs the classes by the prior of the pair. All functions take grids, as :class:`GaussianPair` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from classwise.theory.gaussian_mixture import ClassErrors, GaussianPair, Linear
from classwise.theory.kl_ball import attainable_range

Floats = npt.NDArray[np.float64]
Numbers = npt.ArrayLike

_HALVINGS, _NEWTON = 26, 3  # a bracket of 80 standard deviations to 1e-6 of one, and from there to rounding


@dataclass(frozen=True)
class Frontier:
    """Points of the frontier, from the least worst-class error (index 0) to the least average error (index -1).

    Where a constant classifier has the least average error, that end is a class error of 1, and the curve may stay level or
    jump in offset on its way there.

    Args:
        offset: c of the classifier, (points, ...).
        errors: Robust class errors, each (points, ...).
        worst: Error of the worse class, evenly spaced, (points, ...).
        average: Least average error with no class worse than ``worst``, (points, ...).
    """

    offset: Floats
    errors: ClassErrors
    worst: Floats
    average: Floats


class MethodPoint(NamedTuple):
    """Where the linear solution of a training method stands; every number has the shape of the grid."""

    classifier: Linear
    errors: ClassErrors
    """Robust class errors at the radius of the test."""
    average: Floats
    worst: Floats
    excess: Floats
    """Average error less the least one with no class worse: 0 on the frontier, and never below, up to rounding."""
    weight: Floats
    """Share of class +1 in what the method minimises; NaN where it is no weighted error."""


def frontier(pair: GaussianPair, radius: Numbers, points: int = 201) -> Frontier:
    """The whole frontier of linear classifiers at an l_inf radius.

    Args:
        pair: The classes; its prior weighs the average.
        radius: l_inf radius of the test, (...), at least 0.
        points: Number of points, at least 2.

    Raises:
        ValueError: There are fewer than two points, or as :meth:`GaussianPair.best_linear`.
    """
    if points < 2:
        raise ValueError(f"points is {points}: a curve needs at least 2")
    best = pair.best_linear(radius)
    least = _equal_errors(pair, best, radius)
    start = pair.errors(replace(best, offset=least), radius).worst
    end = np.maximum(pair.errors(best, radius).worst, start)
    share = np.linspace(0, 1, points).reshape(-1, *(1,) * np.ndim(end))
    # Both ends by their offsets: read back from an error near 0 or 1 they would lose digits.
    offset = _best_offset(pair, best, radius, ndtri(start + share * (end - start)))
    offset[0], offset[-1] = least, best.offset
    errors = pair.errors(replace(best, offset=offset), radius)
    return Frontier(offset, errors, np.maximum(start + share * (end - start), start), errors.average(pair.prior))


def least_average(pair: GaussianPair, radius: Numbers, worst: Numbers) -> Floats:
    """Least average robust error of a linear classifier under which no class has an error above ``worst``.

    Args:
        pair: The classes; its prior weighs the average.
        radius: l_inf radius of the test, (...), at least 0.
        worst: Largest class error, in [0, 1]; broadcasts with the grid.

    Returns:
        The average error, infinite where no linear classifier keeps both classes below ``worst``. Where ``worst`` comes
        within 1e-6 of 1, its last digit is worth more than 1e-12 of the average.

    Raises:
        ValueError: ``worst`` is no probability, or as :meth:`GaussianPair.best_linear`.
    """
    limit = _numbers(worst)
    if not ((limit >= 0) & (limit <= 1)).all():
        raise ValueError("worst must lie in [0, 1]: it is an error probability")
    best = pair.best_linear(radius)
    least = pair.errors(replace(best, offset=_equal_errors(pair, best, radius)), radius).worst
    offset = _best_offset(pair, best, radius, ndtri(limit))
    average = pair.errors(replace(best, offset=offset), radius).average(pair.prior)
    return np.where(limit < least * (1 - 1e-12), np.inf, average)


def equal_errors(pair: GaussianPair, radius: Numbers) -> Linear:
    """The linear classifier with the least worst-class robust error.

    Both classes then err with probability ``Phi(-2 a / (sigma_plus + sigma_minus))``, a the margin of the best direction.
    """
    best = pair.best_linear(radius)
    return replace(best, offset=_equal_errors(pair, best, radius))


def weighted(pair: GaussianPair, radius: Numbers, weights: tuple[Numbers, Numbers]) -> tuple[Linear, Floats]:
    """The solution of class-weighted adversarial training, ``min w_+ prior R_+ + w_- (1 - prior) R_-``.

    It is that of another prior, ``prior w_+ / (prior w_+ + (1 - prior) w_-)``, which is returned too.

    Raises:
        ValueError: A weight is not above 0, or as :meth:`GaussianPair.best_linear`.
    """
    prior, plus, minus = _numbers(pair.prior), _numbers(weights[0]), _numbers(weights[1])
    if not ((plus > 0) & (minus > 0)).all():
        raise ValueError("class weights must be above 0: without weight a class would not be learnt at all")
    share = prior * plus / (prior * plus + (1 - prior) * minus)
    return replace(pair, prior=share).best_linear(radius), share


def kl_dro(pair: GaussianPair, radius: Numbers, tau: float) -> tuple[Linear, Floats, Floats]:
    """The linear classifier with the least worst-case weighted robust error in a KL ball around equal class weights.

    ``min over (w, b) of max {q_+ R_+ + q_- R_- : KL(uniform || q) <= tau}``. With two classes the ball is an interval of
    q_+ that :func:`classwise.theory.attainable_range` gives, and the inner maximum puts its upper end on the worse class: on
    either side of equal errors it is one weighted error, so the minimum is a stationary point of one of the two, equal
    errors, or a constant classifier.

    Args:
        pair: The classes. Their prior plays no part.
        radius: l_inf radius of training, (...), at least 0.
        tau: Radius of the ball in nats, at least 0.

    Returns:
        The classifier; its minimax value (...); and the weight q_+ (...) that belongs to it: the worst case for its errors,
        and the share with which the weighted error is stationary there. At equal errors every q is a worst case. NaN
        where a constant classifier is best: then no weight balances.

    Raises:
        ValueError: As :func:`classwise.theory.attainable_range` and :meth:`GaussianPair.best_linear`.

    Source: Zhang et al. 2024 (FAAL), eq. 6 to 8, with the class error in place of the margin.
    """
    low, high = np.clip(attainable_range(2, tau), 1e-300, np.nextafter(1, 0))  # a prior must not be 0 or 1
    plus, minus = _numbers(pair.sigma_plus), _numbers(pair.sigma_minus)
    best = pair.best_linear(radius)
    middle = _equal_errors(pair, best, radius)
    left = np.minimum(_inner_minimum(replace(pair, prior=high), best, radius, middle), middle)
    right = np.maximum(_inner_minimum(replace(pair, prior=low), best, radius, middle), middle)
    offsets = np.stack(np.broadcast_arrays(middle, left, right, np.inf, -np.inf))
    errors = pair.errors(replace(best, offset=offsets), radius)
    values = high * errors.worst + low * np.minimum(errors.plus, errors.minus)
    chosen = values.argmin(0)[None]
    offset, value = (np.take_along_axis(each, chosen, 0)[0] for each in (offsets, values))
    side = np.where(offset < middle, high, np.where(offset > middle, low, plus / (plus + minus)))
    return replace(best, offset=offset), value, np.where(np.isfinite(offset), side, np.nan)


def constrained(pair: GaussianPair, radius: Numbers, slack: Numbers) -> Linear:
    """The linear classifier with the least average robust error whose class errors exceed the average by at most ``slack``.

    The difference of the class errors falls with the offset, so the constraint leaves an interval of offsets. No other
    direction helps: a classifier off the best direction can lower both errors by the same amount, which keeps the
    constraint.

    Args:
        pair: The classes; its prior weighs the average.
        radius: l_inf radius, (...), at least 0.
        slack: How far a class error may lie above the average, (...), at least 0.

    Raises:
        ValueError: The slack is negative, or as :meth:`GaussianPair.best_linear`.

    Source: Xu et al. 2021 (FRL, ICML), eq. 6, its second constraint; the first, on natural errors, is left away.
    """
    room, prior = _numbers(slack), _numbers(pair.prior)
    if not (room >= 0).all():
        raise ValueError("slack must be at least 0: some class is never below the average")
    best = pair.best_linear(radius)
    middle = _equal_errors(pair, best, radius)
    low = _where_gap_is(pair, best, radius, room / (1 - prior))
    high = _where_gap_is(pair, best, radius, -room / prior)
    offset = _least_between(pair, best, radius, np.minimum(low, middle), np.maximum(high, middle))
    return replace(best, offset=offset)


def method_points(
    pair: GaussianPair,
    radius: Numbers,
    *,
    shifted_prior: Numbers = 0.6,
    threshold: Numbers = 0.1,
    weights: tuple[Numbers, Numbers] = (2.0, 1.0),
    variance_factor: Numbers = 0.5,
    tau: float = 0.5,
    slack: Numbers = 0.05,
) -> dict[str, MethodPoint]:
    """Where the linear solutions of the methods stand, all tested at one radius.

    Args:
        pair: The classes; its prior weighs the average.
        radius: l_inf radius of the test and of adversarial training, (...), at least 0.
        shifted_prior: Share of class +1 in the training data of "prior shift".
        threshold: What "threshold shift" adds to the offset of adversarial training, in the unit of the features.
        weights: Class weights (w_+, w_-) of "reweighting".
        variance_factor: ``lambda^2 + (1 - lambda)^2`` of same-class mixup; 0.5 is lambda = 1/2.
        tau: Radius of the KL ball in nats; 0.5 is FAAL's.
        slack: FRL's tau: how far a class error may lie above the average; 0.05 is the paper's.

    Returns:
        "natural", "adversarial", "equal errors", "prior shift", "threshold shift", "reweighting", "natural mixup",
        "adversarial mixup", "KL-DRO" and "FRL constraint", each with its distance to the frontier.

    Raises:
        ValueError: A number is out of its range.
    """
    if not np.isfinite(_numbers(threshold)).all():
        raise ValueError("threshold must be finite: it is added to an offset")
    robust, prior = pair.best_linear(radius), _numbers(pair.prior)
    nothing = np.asarray(np.nan)
    reweighted, share = weighted(pair, radius, weights)
    dro, _, dro_weight = kl_dro(pair, radius, tau)
    shifted = replace(pair, prior=_numbers(shifted_prior))
    solutions: dict[str, tuple[Linear, Floats]] = {
        "natural": (pair.best_linear(), prior),
        "adversarial": (robust, prior),
        "equal errors": (equal_errors(pair, radius), nothing),
        "prior shift": (shifted.best_linear(radius), _numbers(shifted.prior)),
        "threshold shift": (replace(robust, offset=robust.offset + _numbers(threshold)), nothing),
        "reweighting": (reweighted, share),
        "natural mixup": (pair.best_linear(0.0, variance_factor), prior),
        "adversarial mixup": (pair.best_linear(radius, variance_factor), prior),
        "KL-DRO": (dro, dro_weight),
        "FRL constraint": (constrained(pair, radius, slack), nothing),
    }
    points = {}
    for name, (classifier, weight) in solutions.items():
        errors = pair.errors(classifier, radius)
        average = errors.average(pair.prior)
        level = _best_offset(pair, robust, radius, _worst_quantile(pair, classifier, radius))
        excess = average - pair.errors(replace(robust, offset=level), radius).average(pair.prior)
        points[name] = MethodPoint(classifier, errors, average, errors.worst, excess, weight)
    return points


def _margin(best: Linear, radius: Numbers) -> Floats:
    return best.reach - _numbers(radius) * best.length


def _equal_errors(pair: GaussianPair, best: Linear, radius: Numbers) -> Floats:
    """Offset at which both classes err equally often."""
    plus, minus = _numbers(pair.sigma_plus), _numbers(pair.sigma_minus)
    return _margin(best, radius) * (plus - minus) / (plus + minus)


def _inner_minimum(pair: GaussianPair, best: Linear, radius: Numbers, otherwise: Floats) -> Floats:
    """The only local minimum of the average error along the best direction, or another offset where it has none."""
    offset = pair.stationary_offset(_margin(best, radius), np.ones(()))
    return np.where(np.isnan(offset), otherwise, offset)


def _least_between(pair: GaussianPair, best: Linear, radius: Numbers, low: Floats, high: Floats) -> Floats:
    """Offset of the least average error in [low, high]: one of the ends, or the local minimum if it lies between."""
    inner = np.clip(_inner_minimum(pair, best, radius, low), low, high)
    offsets = np.stack(np.broadcast_arrays(inner, low, high))
    average = pair.errors(replace(best, offset=offsets), radius).average(pair.prior)
    chosen: Floats = np.take_along_axis(np.broadcast_to(offsets, average.shape), average.argmin(0)[None], 0)[0]
    return chosen


def _worst_quantile(pair: GaussianPair, classifier: Linear, radius: Numbers) -> Floats:
    """Normal quantile of the worst-class error; unlike the error it keeps its digits where that is near 1."""
    margin = _margin(classifier, radius)
    quantile: Floats = np.maximum(
        -(classifier.offset + margin) / _numbers(pair.sigma_plus),
        (classifier.offset - margin) / _numbers(pair.sigma_minus),
    )
    return quantile


def _best_offset(pair: GaussianPair, best: Linear, radius: Numbers, quantile: Floats) -> Floats:
    """Offset of the least average error among those with no class error above that of a normal quantile."""
    margin, middle = _margin(best, radius), _equal_errors(pair, best, radius)
    low = np.minimum(-margin - _numbers(pair.sigma_plus) * quantile, middle)
    high = np.maximum(margin + _numbers(pair.sigma_minus) * quantile, middle)
    return _least_between(pair, best, radius, low, high)


def _where_gap_is(pair: GaussianPair, best: Linear, radius: Numbers, gap: Floats) -> Floats:
    """Offset at which class +1 errs more often than class -1 by ``gap``; infinite where no finite one does."""
    margin, plus, minus = _margin(best, radius), _numbers(pair.sigma_plus), _numbers(pair.sigma_minus)
    scale = 40 * np.maximum(plus, minus) + np.abs(margin)
    shape = np.broadcast_shapes(scale.shape, gap.shape)
    low, high = np.broadcast_to(-scale, shape), np.broadcast_to(scale, shape)
    for _ in range(_HALVINGS):
        offset = (low + high) / 2
        above = pair.errors(replace(best, offset=offset), radius).gap > gap
        low, high = np.where(above, offset, low), np.where(above, high, offset)
    offset = (low + high) / 2
    for _ in range(_NEWTON):
        slope = _density((offset + margin) / plus) / plus + _density((offset - margin) / minus) / minus
        step = (pair.errors(replace(best, offset=offset), radius).gap - gap) / np.maximum(slope, 1e-300)
        offset = np.clip(offset + step, low, high)
    return np.where(gap >= 1, -np.inf, np.where(gap <= -1, np.inf, offset))


def _density(z: Floats) -> Floats:
    density: Floats = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return density


def _numbers(values: Numbers) -> Floats:
    return np.asarray(values, dtype=np.float64)
