"""Formulas of the same-class mixup paper as they are printed, those that are wrong included.

K is a "positive constant" in the statements; its proofs give ``K = d ln(alpha sigma_minus / ((1 - alpha) sigma_plus))``, alpha
the prior of class +1, which is taken here. It is above 0, and class +1 the better one, only while alpha is large enough (above
1/2 for equal variances); at alpha = 1/2 and equal variances it is 0 and there is no gap, below the classes swap roles.

Source: Zhong and Tandon, "Learning fair robustness via domain mixup", equations by their numbers in the paper.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from classwise.theory.gaussian_mixture import ClassErrors, Floats, Numbers
from classwise.theory.mixup import DomainPair


def printed_constant(classes: DomainPair) -> Floats:
    """K = d ln(alpha sigma_minus / ((1 - alpha) sigma_plus)), (...)."""
    constant: Floats = np.asarray(classes.d) * classes.pair.log_odds
    return constant


def printed_threshold(classes: DomainPair, factor: Numbers = 1.0, radius: Numbers = 0.0) -> Floats:
    """The offset t of ``sign(sum of the features + t)``, (...): eta* of theorem 3 and s* of theorem 4.

    For equal variances eq. 29 and 36, which are right. For unequal variances eq. 28 and 19, which are wrong for d > 1: a factor
    d is missing before ``sigma_plus sigma_minus S``, and with this K the fraction in the root must have ``d^2 S^2`` below, not
    ``S^2``. The print does not say either where there is no such optimum (root of a negative number, here NaN; a constant
    classifier that is better).

    Args:
        classes: The two classes.
        factor: Factor g of the variances, (...); 1 is training without mixup (then not a formula of the paper's theorems).
        radius: l_inf radius of training, (...), at least 0; 0 is natural training.
    """
    d, mu_plus, mu_minus, plus, minus = _numbers(classes)
    g, size, left = np.asarray(factor), np.asarray(radius), classes.distance(radius)
    constant = printed_constant(classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(1 + 2 * constant * g * (minus**2 - plus**2) / left**2)
        middle = -d * (mu_plus * minus**2 + mu_minus * plus**2 - size * (plus**2 + minus**2))
        unequal = (middle + plus * minus * left * root) / (minus**2 - plus**2)
        equal = (-(d**2) * ((mu_plus - size) ** 2 - (mu_minus - size) ** 2) + 2 * constant * plus**2 * g) / (
            2 * d * left
        )
    threshold: Floats = np.where(plus == minus, equal, unequal)
    return threshold


def printed_errors(classes: DomainPair, factor: Numbers = 1.0, radius: Numbers = 0.0) -> ClassErrors:
    """Class errors on mixed data at the training radius: eq. 14 and 15, 18, with the printed threshold.

    For equal variances these are eq. 5 to 8 (g = 1), 20 and 21, 30, 37 and 38, all right. For unequal variances and d > 1 they
    inherit what is wrong with :func:`printed_threshold`.
    """
    d, mu_plus, mu_minus, plus, minus = _numbers(classes)
    size, scale = np.asarray(radius), np.sqrt(d * np.asarray(factor))
    threshold = printed_threshold(classes, factor, radius)
    return ClassErrors(
        ndtr((-threshold - d * (mu_plus - size)) / (scale * plus)),
        ndtr((threshold - d * (mu_minus - size)) / (scale * minus)),
    )


def printed_gap(classes: DomainPair, factor: Numbers = 1.0, radius: Numbers = 0.0) -> Floats:
    """Difference of the class errors on mixed data, (...): eq. 16 and 17 (natural), 22 and 23 (adversarial).

    Wrong: ``Phi(-A - k) - Phi(-A + k)`` of the two errors is printed as ``Phi(-k) - Phi(k)``, without the A that both have in
    common. Right is ``Phi(A / sqrt(g) + k sqrt(g)) - Phi(A / sqrt(g) - k sqrt(g))`` with ``A = sqrt(d) S / (2 sigma)`` and
    ``k = K sigma / (d^(3/2) S)``. That the gap shrinks with g is true of both. NaN where the variances differ, which the
    remarks leave out.
    """
    d, _, _, plus, minus = _numbers(classes)
    left = classes.distance(radius)
    with np.errstate(divide="ignore", invalid="ignore"):  # without a distance nothing sensible is printed
        steepness = printed_constant(classes) * plus * np.sqrt(np.asarray(factor)) / (d**1.5 * left)
    return np.where(plus == minus, np.abs(2 * ndtr(-steepness) - 1), np.nan)


def printed_chain_threshold(classes: DomainPair, radius: Numbers = 0.0) -> Floats:
    """A of remark 2, ``d^2 S^4 / (4 K^2 sigma^4)``, (...): for g from A to 1 the chain of class errors is to hold.

    Wrong: with this K it must be ``d^4``, as in B of remark 4 (see :meth:`DomainPair.chain_threshold`). The paper prints it for
    natural training; a radius only takes ``2 radius`` off S. NaN where the variances differ or S is not above 0.
    """
    threshold: Floats = classes.chain_threshold(radius) / np.asarray(classes.d) ** 2
    return threshold


def _numbers(classes: DomainPair) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    d, mu_plus, mu_minus, plus, minus = (
        np.asarray(each, dtype=np.float64)
        for each in (classes.d, classes.mu_plus, classes.mu_minus, classes.sigma_plus, classes.sigma_minus)
    )
    return d, mu_plus, mu_minus, plus, minus
