"""Offsets along the best direction of two Gaussian classes: where errors are equal, least, or apart by a given amount.

Each function takes the pair, a classifier of the best direction (its own offset plays no part) and the l_inf radius of the
test, all of which may be grids; :mod:`classwise.theory.frontier` says why one direction is enough.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from classwise.theory.gaussian_mixture import Floats, GaussianPair, Linear, Numbers

_HALVINGS, _NEWTON = 26, 3  # a bracket of 80 standard deviations to 1e-6 of one, and from there to rounding


def margin_of(classifier: Linear, radius: Numbers) -> Floats:
    """``<w, theta> - radius |w|_1``, (...)."""
    return classifier.reach - numbers(radius) * classifier.length


def offset_of_equal_errors(pair: GaussianPair, best: Linear, radius: Numbers) -> Floats:
    """Offset at which both classes err equally often."""
    plus, minus = numbers(pair.sigma_plus), numbers(pair.sigma_minus)
    return margin_of(best, radius) * (plus - minus) / (plus + minus)


def inner_minimum(pair: GaussianPair, best: Linear, radius: Numbers, otherwise: Floats) -> Floats:
    """The only local minimum of the average error along the best direction, or another offset where it has none."""
    offset = pair.stationary_offset(margin_of(best, radius), np.ones(()))
    return np.where(np.isnan(offset), otherwise, offset)


def least_between(pair: GaussianPair, best: Linear, radius: Numbers, low: Floats, high: Floats) -> Floats:
    """Offset of the least average error in [low, high]: one of the ends, or the local minimum if it lies between."""
    inner = np.clip(inner_minimum(pair, best, radius, low), low, high)
    offsets = np.stack(np.broadcast_arrays(inner, low, high))
    average = pair.errors(replace(best, offset=offsets), radius).average(pair.prior)
    chosen: Floats = np.take_along_axis(np.broadcast_to(offsets, average.shape), average.argmin(0)[None], 0)[0]
    return chosen


def worst_quantile(pair: GaussianPair, classifier: Linear, radius: Numbers) -> Floats:
    """Normal quantile of the worst-class error; unlike the error it keeps its digits where that is near 1."""
    margin = margin_of(classifier, radius)
    quantile: Floats = np.maximum(
        -(classifier.offset + margin) / numbers(pair.sigma_plus),
        (classifier.offset - margin) / numbers(pair.sigma_minus),
    )
    return quantile


def best_offset(pair: GaussianPair, best: Linear, radius: Numbers, quantile: Floats) -> Floats:
    """Offset of the least average error among those with no class error above that of a normal quantile."""
    margin, middle = margin_of(best, radius), offset_of_equal_errors(pair, best, radius)
    low = np.minimum(-margin - numbers(pair.sigma_plus) * quantile, middle)
    high = np.maximum(margin + numbers(pair.sigma_minus) * quantile, middle)
    return least_between(pair, best, radius, low, high)


def offset_of_gap(pair: GaussianPair, best: Linear, radius: Numbers, gap: Floats) -> Floats:
    """Offset at which class +1 errs more often than class -1 by ``gap``; infinite where no finite one does."""
    margin, plus, minus = margin_of(best, radius), numbers(pair.sigma_plus), numbers(pair.sigma_minus)
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


def numbers(values: Numbers) -> Floats:
    """As float64 array."""
    return np.asarray(values, dtype=np.float64)


def _density(z: Floats) -> Floats:
    density: Floats = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return density
