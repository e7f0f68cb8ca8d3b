"""The trade between average and worst-class robust error that linear classifiers of two Gaussian classes can reach.

Why it is exact. Both class errors of a classifier with offset c fall with ``<w, theta> - radius |w|_1`` and depend on w
through nothing else, so no classifier beats the one that has the same c and the best direction. Along that direction, with
margin a, the error of class +1 falls with c and that of class -1 rises; the worse of both is least where they are equal,
``c = a (sigma_plus - sigma_minus) / (sigma_plus + sigma_minus)``. "No class worse than t" leaves an interval of offsets
around it, and the average over an interval is least at one of its ends or at the only local minimum inside.

Where methods stand. Priors, thresholds, class weights, mixing within classes and a KL ball over the classes all change the
offset only: on robustly trained linear classifiers they are walks along one curve, and lie on the frontier as long as they
stay between its ends. Only the direction, hence the training radius, can lose on both counts at once. TRADES and CFA's radii
by class train with more than one radius, and may change both: :mod:`classwise.theory.trained_radii`.

"Average" weighs the classes by the prior of the pair. All functions take grids, as :class:`GaussianPair` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from classwise.theory.gaussian_mixture import ClassErrors, Floats, GaussianPair, Linear, Numbers
from classwise.theory.kl_ball import attainable_range
from classwise.theory.offsets import (
    best_offset,
    inner_minimum,
    least_between,
    numbers,
    offset_of_equal_errors,
    offset_of_gap,
    worst_quantile,
)
from classwise.theory.trained_radii import class_radii, trades


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
        ValueError: ``points`` is no whole number of at least 2, or as :meth:`GaussianPair.best_linear`.
    """
    if not isinstance(points, (int, np.integer)) or points < 2:
        raise ValueError(f"points is {points}: a curve needs a whole number of at least 2")
    best = pair.best_linear(radius)
    least = offset_of_equal_errors(pair, best, radius)
    start = pair.errors(replace(best, offset=least), radius).worst
    end = np.maximum(pair.errors(best, radius).worst, start)
    share = np.linspace(0, 1, points).reshape(-1, *(1,) * np.ndim(end))
    # Both ends by their offsets: read back from an error near 0 or 1 they would lose digits.
    offset = best_offset(pair, best, radius, ndtri(start + share * (end - start)))
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
    limit = numbers(worst)
    if not ((limit >= 0) & (limit <= 1)).all():
        raise ValueError("worst must lie in [0, 1]: it is an error probability")
    best = pair.best_linear(radius)
    least = pair.errors(replace(best, offset=offset_of_equal_errors(pair, best, radius)), radius).worst
    offset = best_offset(pair, best, radius, ndtri(limit))
    average = pair.errors(replace(best, offset=offset), radius).average(pair.prior)
    return np.where(limit < least * (1 - 1e-12), np.inf, average)


def equal_errors(pair: GaussianPair, radius: Numbers) -> Linear:
    """The linear classifier with the least worst-class robust error.

    Both classes then err with probability ``Phi(-2 a / (sigma_plus + sigma_minus))``, a the margin of the best direction.
    """
    best = pair.best_linear(radius)
    return replace(best, offset=offset_of_equal_errors(pair, best, radius))


def weighted(pair: GaussianPair, radius: Numbers, weights: tuple[Numbers, Numbers]) -> tuple[Linear, Floats]:
    """The solution of class-weighted adversarial training, ``min w_+ prior R_+ + w_- (1 - prior) R_-``.

    It is that of another prior, ``prior w_+ / (prior w_+ + (1 - prior) w_-)``, which is returned too.

    Raises:
        ValueError: A weight is not above 0, or as :meth:`GaussianPair.best_linear`.
    """
    prior, plus, minus = numbers(pair.prior), numbers(weights[0]), numbers(weights[1])
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
        tau: Radius of the ball in nats, one number for the whole grid, at least 0.

    Returns:
        The classifier; its minimax value (...); and the weight q_+ (...) that belongs to it: the worst case for its errors,
        and the share with which the weighted error is stationary there. At equal errors every q is a worst case. NaN
        where a constant classifier is best: then no weight balances.

    Raises:
        ValueError: tau is not a single number, or as :func:`classwise.theory.attainable_range` and
            :meth:`GaussianPair.best_linear`.

    Source: Zhang et al. 2024 (FAAL), eq. 6 to 8, with the class error in place of the margin.
    """
    if np.ndim(tau) != 0:
        raise ValueError("tau must be a single number: for several radii of the ball call this once for each")
    low, high = np.clip(attainable_range(2, float(tau)), 1e-300, np.nextafter(1, 0))  # a prior must not be 0 or 1
    plus, minus = numbers(pair.sigma_plus), numbers(pair.sigma_minus)
    best = pair.best_linear(radius)
    middle = offset_of_equal_errors(pair, best, radius)
    left = np.minimum(inner_minimum(replace(pair, prior=high), best, radius, middle), middle)
    right = np.maximum(inner_minimum(replace(pair, prior=low), best, radius, middle), middle)
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
    room, prior = numbers(slack), numbers(pair.prior)
    if not (room >= 0).all():
        raise ValueError("slack must be at least 0: some class is never below the average")
    best = pair.best_linear(radius)
    middle = offset_of_equal_errors(pair, best, radius)
    low = offset_of_gap(pair, best, radius, room / (1 - prior))
    high = offset_of_gap(pair, best, radius, -room / prior)
    offset = least_between(pair, best, radius, np.minimum(low, middle), np.maximum(high, middle))
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
    beta: Numbers = 6.0,
    radius_factors: tuple[Numbers, Numbers] = (1.1, 1.4),
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
        beta: Weight of the boundary error in TRADES; 6 is usual.
        radius_factors: Of the training radius in class +1 and in class -1, "class-wise radii". CFA takes 1/2 plus the robust
            accuracy of the class, so the class that is better off gets the larger radius.

    Returns:
        "natural", "adversarial", "equal errors", "prior shift", "threshold shift", "reweighting", "natural mixup",
        "adversarial mixup", "KL-DRO", "FRL constraint", "TRADES" and "class-wise radii", each with its distance to the
        frontier.

    Raises:
        ValueError: A number is out of its range.
    """
    if not np.isfinite(numbers(threshold)).all():
        raise ValueError("threshold must be finite: it is added to an offset")
    robust, prior = pair.best_linear(radius), numbers(pair.prior)
    nothing = np.asarray(np.nan)
    reweighted, share = weighted(pair, radius, weights)
    dro, _, dro_weight = kl_dro(pair, radius, tau)
    shifted = replace(pair, prior=numbers(shifted_prior))
    solutions: dict[str, tuple[Linear, Floats]] = {
        "natural": (pair.best_linear(), prior),
        "adversarial": (robust, prior),
        "equal errors": (equal_errors(pair, radius), nothing),
        "prior shift": (shifted.best_linear(radius), numbers(shifted.prior)),
        "threshold shift": (replace(robust, offset=robust.offset + numbers(threshold)), nothing),
        "reweighting": (reweighted, share),
        "natural mixup": (pair.best_linear(0.0, variance_factor), prior),
        "adversarial mixup": (pair.best_linear(radius, variance_factor), prior),
        "KL-DRO": (dro, dro_weight),
        "FRL constraint": (constrained(pair, radius, slack), nothing),
        "TRADES": (trades(pair, radius, beta), nothing),
        "class-wise radii": (class_radii(pair, radius, radius_factors), nothing),
    }
    points = {}
    for name, (classifier, weight) in solutions.items():
        errors = pair.errors(classifier, radius)
        average = errors.average(pair.prior)
        level = best_offset(pair, robust, radius, worst_quantile(pair, classifier, radius))
        excess = average - pair.errors(replace(robust, offset=level), radius).average(pair.prior)
        points[name] = MethodPoint(classifier, errors, average, errors.worst, excess, weight)
    return points
