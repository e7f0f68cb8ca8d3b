"""The conceptual models of FRL (Xu et al., ICML 2021): what robust training does to an easy and a hard class.

Section 3: d features, ``x | y ~ N(y eta 1, sigma_y^2 I)``, sigma_(-1) = sigma and sigma_(+1) = K sigma (``ratio``), equal
priors. Appendix A.3 adds m weak features of mean gamma <= eps, which robust training leaves out. Both are views of
:class:`~classwise.theory.gaussian_mixture.GaussianPair`; beside them stand the formulas as they are printed.

Theorems 1 and 2, eq. 5, 15 and 18, corollary 1 and the statement of theorem 3 are right for every K > 1 and
0 <= eps < eta. Wrong are: ``0 < b_rob`` (section 3.2; only ``b_rob < b_nat`` holds, :func:`intercept_root`), that robust
training raises the error of both classes (appendix A.3; :func:`both_rise_threshold`), the last step in the proof of theorem
3 (:func:`printed_theorem_3`), eq. 7 (:meth:`GaussianPair.boundary_errors`) and the proofs of lemmas 1 and 2, which exchange
one weight for another: that can raise both errors. That class +1 is the less robust one holds only up to a test radius
(:func:`flip_radius`). With unequal priors robust training can narrow the gap.

Numbers or arrays that broadcast, everywhere. d and m count features; between whole numbers the formulas interpolate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from classwise.theory.frl_terms import above, at_least, expressiveness, printed_errors, q
from classwise.theory.gaussian_mixture import ClassErrors, Floats, GaussianPair, Linear, Numbers


def pair(d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> GaussianPair:
    """The two classes of section 3 (eq. 2).

    Args:
        d: Number of features, at least 1.
        eta: Their mean in class +1, and minus their mean in class -1; at least 0.
        ratio: K, standard deviation of class +1 over that of class -1, above 0 (the paper: above 1).
        sigma: Standard deviation of class -1, above 0.

    Raises:
        ValueError: A number is out of range.

    >>> classes = pair(d=2, eta=2, ratio=2**0.5)
    >>> [round(float(each), 6) for each in classes.errors(classes.best_linear())]
    [0.011239, 0.007563]
    """
    return pair_with_weak(d, eta, 0, 0, ratio, sigma)


def pair_with_weak(
    d: Numbers, eta: Numbers, m: Numbers, gamma: Numbers, ratio: Numbers, sigma: Numbers = 1.0
) -> GaussianPair:
    """The two classes of appendix A.3 (eq. 19): d strong features and m weak ones.

    Args:
        d: Number of strong features, at least 1.
        eta: Their mean in class +1, at least 0.
        m: Number of weak features, at least 0.
        gamma: Their mean in class +1, at least 0.
        ratio: K, as in :func:`pair`.
        sigma: Standard deviation of class -1, above 0.

    Raises:
        ValueError: A number is out of range.
    """
    strong, weak = at_least("d", d, 1), at_least("m", m, 0)
    means = np.broadcast_arrays(at_least("eta", eta, 0), at_least("gamma", gamma, 0))
    k, minus = above("ratio", ratio, 0), above("sigma", sigma, 0)
    times = np.stack(np.broadcast_arrays(strong, weak), -1)
    return GaussianPair(theta=np.stack(means, -1), times=times, sigma_plus=k * minus, sigma_minus=minus)


def errors(
    d: Numbers,
    eta: Numbers,
    ratio: Numbers,
    sigma: Numbers = 1.0,
    radius: Numbers = 0.0,
    test_radius: Numbers = 0.0,
) -> ClassErrors:
    """Class errors of the best linear classifier in the model of section 3 (theorems 1 and 2).

    Args:
        d: As in :func:`pair`, and so are ``eta``, ``ratio`` and ``sigma``.
        eta: See :func:`pair`.
        ratio: See :func:`pair`.
        sigma: See :func:`pair`.
        radius: l_inf radius of training: 0 for the natural classifier of theorem 1.
        test_radius: l_inf radius of the test: 0 for errors without attack, which theorem 2 states.

    Raises:
        ValueError: A number is out of range.
    """
    classes = pair(d, eta, ratio, sigma)
    return classes.errors(classes.best_linear(radius), test_radius)


def increase(classes: GaussianPair, radius: Numbers) -> ClassErrors:
    """By how much robust training raises the error of each class without attack; ``.gap`` is the growth of the gap.

    Corollary 1 (``plus`` above 0, ``minus`` below) and, with weak features, theorem 3 (``gap`` above 0).

    Args:
        classes: The two classes.
        radius: l_inf radius of training, at least 0.
    """
    before, after = classes.errors(classes.best_linear()), classes.errors(classes.best_linear(radius))
    return ClassErrors(after.plus - before.plus, after.minus - before.minus)


def intercept(d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """g(eta), the b of the best ``sign(x_1 + ... + x_d + b)`` (eq. 5): b_nat = g(eta), b_rob = g(eta - eps).

    It rises with eta, with a slope of at least ``d (K - 1) / (K + 1)`` for K > 1.
    """
    classes = pair(d, eta, ratio, sigma)
    b: Floats = np.sqrt(np.asarray(d, dtype=np.float64)) * classes.best_linear().offset
    return b


def intercept_root(d: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """The mean below which g is negative: ``K sigma sqrt(q / d)``.

    Section 3.2 says ``0 < b_rob < b_nat``. The first holds only where eta - eps lies above this root.

    Args:
        d: Number of features, at least 1.
        ratio: K, at least 1.
        sigma: Standard deviation of class -1, above 0.
    """
    k = at_least("ratio", ratio, 1)
    root: Floats = k * above("sigma", sigma, 0) * np.sqrt(q(k) / at_least("d", d, 1))
    return root


def flip_radius(classes: GaussianPair, classifier: Linear) -> Floats:
    """The test radius at which both classes have the same robust error.

    For K > 1 class +1 has the larger robust error below it and class -1 above it: the wider class loses less as its points
    move. Negative where class -1 is worse without any attack (unequal priors); NaN where the variances are equal, since
    then the order never changes. Not in the paper.

    Args:
        classes: The two classes.
        classifier: A linear classifier with a finite offset.
    """
    plus, minus = np.asarray(classes.sigma_plus), np.asarray(classes.sigma_minus)
    with np.errstate(divide="ignore", invalid="ignore"):
        common = np.where(plus == minus, np.nan, classifier.offset * (plus + minus) / (plus - minus))
    radius: Floats = (classifier.reach - common) / classifier.length
    return radius


def both_rise_threshold(d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers, radius: Numbers) -> Floats:
    """The least ``m gamma^2`` of the weak features above which robust training raises the error of both classes.

    Below it, class -1 gains. Appendix A.3 says that the errors of both classes rise.

    Args:
        d: Number of strong features, at least 1.
        eta: Their mean in class +1, above ``radius``.
        ratio: K, at least 1.
        sigma: Standard deviation of class -1, above 0.
        radius: l_inf radius of training, at least 0 and at least gamma.

    Raises:
        ValueError: A number is out of range.

    The natural classifier has the z-scores ``z_+^2 = z_-^2 - 2 ln K``, and ``a = -(sigma z_- + K sigma z_+) / 2`` is the
    length of theta. With z_- that of the robust classifier without attack, ``a^2 - d eta^2`` is the threshold.
    """
    k = at_least("ratio", ratio, 1)
    if not (np.asarray(radius) < np.asarray(eta)).all():
        raise ValueError("radius must be below eta: robust training has to keep the strong features")
    classes = pair(d, eta, k, sigma)
    best = classes.best_linear(radius)
    z_minus = (best.offset - best.reach) / np.asarray(sigma)
    z_plus = -np.sqrt(np.maximum(z_minus**2 - 2 * np.log(k), 0))
    length = -(z_minus + k * z_plus) * np.asarray(sigma) / 2
    threshold: Floats = length**2 - np.asarray(d) * np.asarray(eta) ** 2
    return threshold


def printed_theorem_1(d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> ClassErrors:
    """Eq. 3 as printed. Right for K > 1; for K < 1 it takes the root where the error is largest; NaN at K = 1."""
    return printed_errors(expressiveness(_root(d) * np.asarray(eta), ratio, sigma), ratio)


def printed_theorem_2(
    d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers, radius: Numbers, test_radius: Numbers = 0.0
) -> ClassErrors:
    """Eq. 4 (16) as printed, and with ``test_radius = radius`` the robust errors at the end of appendix A.2.2.

    Right for K > 1 and ``0 <= radius < eta``.
    """
    b = expressiveness(_root(d) * (np.asarray(eta) - np.asarray(radius)), ratio, sigma)
    return printed_errors(b, ratio, _root(d) * (np.asarray(radius) - np.asarray(test_radius)) / np.asarray(sigma))


def printed_intercept(d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """g(eta) of eq. 5, 15 and 18 as printed. Right for K > 1; for K < 1 the wrong root; NaN at K = 1."""
    number, mean, k = at_least("d", d, 1), np.asarray(eta), above("ratio", ratio, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        square = k * k - 1
        inner = 4 * number**2 * mean**2 / square**2 + q(k) * number * np.asarray(sigma) ** 2
        b: Floats = (k * k + 1) / square * number * mean - k * np.sqrt(inner)
    return b


class PrintedChain(NamedTuple):
    """Two sides of an inequality that a proof claims, left above right."""

    left: Floats
    right: Floats


def printed_theorem_3(
    d: Numbers, eta: Numbers, m: Numbers, gamma: Numbers, ratio: Numbers, sigma: Numbers, radius: Numbers
) -> PrintedChain:
    """The inequality in the proof of theorem 3 (appendix A.3): growth of the gap above a difference of z-scores.

    Wrong: it compares probabilities with z-scores and drops the shifts by eps, and none of 5000 random draws met it (left
    0.593, right 1.610 for d 1, eta 0.55, m 100, gamma 0.3, K 2, sigma 1, eps 0.5). The theorem itself holds for every number
    of weak features, since the gap falls with A (:func:`~classwise.theory.frl_terms.gap_slope`); ``A >> B`` is not needed.

    Args:
        d: As in :func:`pair_with_weak`, and so are ``eta``, ``m``, ``gamma``, ``ratio`` and ``sigma``.
        eta: See :func:`pair_with_weak`.
        m: See :func:`pair_with_weak`.
        gamma: See :func:`pair_with_weak`.
        ratio: See :func:`pair_with_weak`; above 1.
        sigma: See :func:`pair_with_weak`.
        radius: l_inf radius of training, at least gamma and below eta.
    """
    k = above("ratio", ratio, 1)
    length = np.sqrt(np.asarray(m) * np.asarray(gamma) ** 2 + np.asarray(d) * np.asarray(eta) ** 2)
    a = expressiveness(length, k, sigma)
    b = expressiveness(_root(d) * (np.asarray(eta) - np.asarray(radius)), k, sigma)
    right = (k + 1) * (a - b + np.sqrt(b * b + q(k)) - np.sqrt(a * a + q(k)))
    return PrintedChain(increase(pair_with_weak(d, eta, m, gamma, k, sigma), radius).gap, right)


def _root(d: Numbers) -> Floats:
    root: Floats = np.sqrt(at_least("d", d, 1))
    return root
