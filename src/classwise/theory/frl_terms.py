"""Terms that both versions of FRL share: A and B, q(K), the gap between the classes, and the form of the printed errors."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from classwise.theory.gaussian_mixture import ClassErrors, Floats, GaussianPair, Numbers


def expressiveness(margin: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """The paper's A and B: ``2 margin / (sigma (K^2 - 1))``.

    Args:
        margin: Length of theta after training's radius is taken off: ``sqrt(d) eta`` for A, ``sqrt(d) (eta - eps)`` for B.
        ratio: K, above 0; at 1 the result is infinite.
        sigma: Standard deviation of class -1, above 0.
    """
    k = above("ratio", ratio, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = 2 * np.asarray(margin) / (above("sigma", sigma, 0) * (k - 1) * (k + 1))
    return result


def q(ratio: Numbers) -> Floats:
    """The paper's ``q(K) = 2 ln K / (K^2 - 1)``, and its limit 1 at K = 1."""
    k = above("ratio", ratio, 0)
    beside = np.where(k == 1, 2, k)
    logarithm = np.where(np.abs(k - 1) < 0.5, np.log1p(np.maximum(beside, 0.5) - 1), np.log(beside))
    return np.where(k == 1, 1.0, 2 * logarithm / ((beside - 1) * (beside + 1)))


def gap(expressive: Numbers, ratio: Numbers) -> Floats:
    """G(A), error of class +1 minus error of class -1 of the natural classifier; it falls with A for every K > 1.

    Robust training widens the gap for this reason alone: leaving out weak features lowers A, and moving the boundary towards
    class +1 adds to it.

    Args:
        expressive: A (or B), at least 0.
        ratio: K, above 1.

    Raises:
        ValueError: A number is out of range.
    """
    k = above("ratio", ratio, 1)
    theta = at_least("A", expressive, 0) * (k - 1) * (k + 1) / 2
    classes = GaussianPair(theta=theta[..., None], sigma_plus=k, sigma_minus=1)
    return classes.errors(classes.best_linear()).gap


def gap_slope(expressive: Numbers, ratio: Numbers) -> Floats:
    """G'(A) = ``phi(-K A + s) (2 A / s - K - 1 / K)`` with ``s = sqrt(A^2 + q)``, below 0; arguments as :func:`gap`."""
    k, a = above("ratio", ratio, 1), at_least("A", expressive, 0)
    s = np.sqrt(a * a + q(k))
    density = np.exp(-0.5 * (s - k * a) ** 2) / np.sqrt(2 * np.pi)
    slope: Floats = density * (2 * a / s - k - 1 / k)
    return slope


def printed_errors(expressive: Numbers, ratio: Numbers, shift: Numbers = 0.0) -> ClassErrors:
    """The form that both papers print: ``Phi(-K A + s - shift / K)`` and ``Phi(A - K s - shift)``, ``s = sqrt(A^2 + q)``.

    Right for K > 1. For K < 1 it is the worst boundary of that direction, not the best; at K = 1 it is NaN.

    Args:
        expressive: A or B.
        ratio: K, above 0.
        shift: By how much an attack of the training radius moves the z-score of class -1, less that of the test radius.
    """
    a, k, moved = np.asarray(expressive, dtype=np.float64), above("ratio", ratio, 0), np.asarray(shift)
    with np.errstate(invalid="ignore"):
        s = np.sqrt(a * a + q(k))
        return ClassErrors(ndtr(s - k * a - moved / k), ndtr(a - k * s - moved))


def at_least(name: str, values: Numbers, least: float) -> Floats:
    """The values as an array.

    Raises:
        ValueError: One is below the least, or not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= least)).all():
        raise ValueError(f"{name} must be finite and at least {least:g}")
    return numbers


def above(name: str, values: Numbers, bound: float) -> Floats:
    """The values as an array.

    Raises:
        ValueError: One is not above the bound, or not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers > bound)).all():
        raise ValueError(f"{name} must be finite and above {bound:g}")
    return numbers
