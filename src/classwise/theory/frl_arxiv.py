"""The conceptual model of FRL's first version (Xu et al., arXiv v1): robust and non-robust features.

``x | y ~ N(y theta, sigma_y^2 I)`` with m robust features of mean gamma and d non-robust ones of mean eta,
``eta < eps < gamma``; sigma_(-1) = sigma and sigma_(+1) = K sigma (``ratio``), equal priors. A view of
:class:`~classwise.theory.gaussian_mixture.GaussianPair`; beside it stand the formulas as they are printed, one function per
equation.

Right are eq. 4 and 6, corollary 1 (the gap between the classes grows for every K > 1; its printed proof is not valid) and,
as relations, eq. 10 and 11. Wrong are eq. 3, 5, 8, 9, 12, 16, 31 and 40 and the ratio ``b : w_1`` of lemmas 1 and 2; eq. 39 is
a robust error, not the error without attack. That the robust errors follow the errors without attack holds only up to
:func:`~classwise.theory.frl_icml.flip_radius`.

Numbers or arrays that broadcast, everywhere.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from classwise.theory import frl_icml
from classwise.theory.frl_terms import above, at_least, expressiveness, q
from classwise.theory.gaussian_mixture import Floats, GaussianPair, Linear, Numbers


def pair(m: Numbers, gamma: Numbers, d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> GaussianPair:
    """The two classes of section 3.1 (eq. 1).

    Args:
        m: Number of robust features, at least 1.
        gamma: Their mean in class +1, at least 0.
        d: Number of non-robust features, at least 0.
        eta: Their mean in class +1, at least 0.
        ratio: K, standard deviation of class +1 over that of class -1, above 0 (the paper: above 1).
        sigma: Standard deviation of class -1, above 0.

    Raises:
        ValueError: A number is out of range.
    """
    robust = at_least("m", m, 1), at_least("gamma", gamma, 0)
    return frl_icml.pair_with_weak(*robust, at_least("d", d, 0), at_least("eta", eta, 0), ratio, sigma)


def intercept_per_weight(classes: GaussianPair, classifier: Linear) -> Floats:
    """``b / w_1`` of lemmas 1 and 2: intercept over the weight of a robust feature."""
    b: Floats = classes.intercept(classifier) / classifier.weight[..., 0]
    return b


def omega(classes: GaussianPair, radius: Numbers) -> Floats:
    """Omega of eq. 12: gap between the class errors without attack after robust training, over that after natural training.

    Above 1 for every K > 1 (corollary 1). Both gaps are differences of probabilities: close to K = 1 digits are lost, there
    :func:`omega_limit` is the value.

    Args:
        classes: The two classes.
        radius: l_inf radius of training, at least 0.

    Returns:
        (...), infinite or NaN where the natural errors are too small for floating point numbers or the classes are equal.
    """
    natural, robust = classes.errors(classes.best_linear()), classes.errors(classes.best_linear(radius))
    with np.errstate(divide="ignore", invalid="ignore"):
        return robust.gap / natural.gap


def omega_limit(m: Numbers, gamma: Numbers, d: Numbers, eta: Numbers, sigma: Numbers, radius: Numbers) -> Floats:
    """Limit of Omega as K falls to 1; exponential in d, where eq. 12 has the root of d / m and a factor that vanishes.

    ``exp(d eta^2 / (2 sigma^2)) (a / sigma) (sqrt(m) eps / sigma + sigma / (sqrt(m) (gamma - eps)))`` with
    ``a^2 = m gamma^2 + d eta^2``.

    Args:
        m: As in :func:`pair`, and so are ``gamma``, ``d``, ``eta`` and ``sigma``.
        gamma: See :func:`pair`; above ``radius``.
        d: See :func:`pair`.
        eta: See :func:`pair`; at most ``radius``.
        sigma: See :func:`pair`.
        radius: l_inf radius of training.

    Returns:
        (...), infinite where it is too large for floating point numbers.

    Raises:
        ValueError: A number is out of range.
    """
    size, spread = at_least("radius", radius, 0), above("sigma", sigma, 0)
    if not ((np.asarray(eta) <= size) & (size < np.asarray(gamma))).all():
        raise ValueError(
            "radius must lie between eta and gamma: training keeps the robust features and leaves out the others"
        )
    left = np.sqrt(at_least("m", m, 1)) * (np.asarray(gamma) - size)
    factor = _shift(m, size, spread) + spread / left
    with np.errstate(over="ignore"):
        lost = at_least("d", d, 0) * (np.asarray(eta) / spread) ** 2 / 2
        limit: Floats = np.exp(lost) * _length(m, gamma, d, eta) / spread * factor
    return limit


def omega_rate(eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """What one more non-robust feature adds to ln Omega when there are many: ``2 eta^2 / (sigma^2 (K + 1)^2)``.

    Args:
        eta: Mean of the non-robust features in class +1, at least 0.
        ratio: K, at least 1.
        sigma: Standard deviation of class -1, above 0.
    """
    rate: Floats = (
        2 * at_least("eta", eta, 0) ** 2 / (above("sigma", sigma, 0) * (at_least("ratio", ratio, 1) + 1)) ** 2
    )
    return rate


def printed_eq3(m: Numbers, gamma: Numbers, d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """Natural error of class -1: ``Phi(A - sqrt(K A^2 + q))``. Arguments as :func:`pair`, ``ratio`` above 1.

    Wrong: K belongs before the root, ``K sqrt(A^2 + q)``.
    """
    a = expressiveness(_length(m, gamma, d, eta), above("ratio", ratio, 1), sigma)
    error: Floats = ndtr(a - np.sqrt(np.asarray(ratio) * a * a + q(ratio)))
    return error


def printed_eq5(m: Numbers, gamma: Numbers, d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """Robust error of class -1 after natural training: ``Phi(Z + rho)``, ``rho = (m gamma + d eta) / |theta|``.

    Wrong: rho lacks its factor ``eps_0 / sigma`` (eq. 33 has it), so the print does not depend on the attack. Z is the right
    z-score here, not that of eq. 3. Arguments as :func:`pair`, ``ratio`` above 1.
    """
    length = _length(m, gamma, d, eta)
    a = expressiveness(length, above("ratio", ratio, 1), sigma)
    rho = (np.asarray(m) * np.asarray(gamma) + np.asarray(d) * np.asarray(eta)) / length
    error: Floats = ndtr(a - np.asarray(ratio) * np.sqrt(a * a + q(ratio)) + rho)
    return error


def printed_eq8(
    m: Numbers, gamma: Numbers, ratio: Numbers, sigma: Numbers, radius: Numbers, test_radius: Numbers = 0.0
) -> Floats:
    """Error of class -1 after robust training: ``Phi(B - sqrt(K B^2 + q))``, and with an attack eq. 10 on top of it.

    Wrong twice: K belongs before the root, ``K sqrt(B^2 + q)``, and the shift ``-sqrt(m) eps / sigma`` is missing. Eq. 10 adds
    ``sqrt(m) eps_0 / sigma``, which is right as a relation.

    Args:
        m: Number of robust features, at least 1.
        gamma: Their mean, above ``radius``.
        ratio: K, above 1.
        sigma: Standard deviation of class -1, above 0.
        radius: l_inf radius of training, at least 0.
        test_radius: l_inf radius of the test, at least 0.

    Raises:
        ValueError: A number is out of range.
    """
    b = _b(m, gamma, ratio, sigma, radius)
    error: Floats = ndtr(b - np.sqrt(np.asarray(ratio) * b * b + q(ratio)) + _shift(m, test_radius, sigma))
    return error


def printed_eq9(
    m: Numbers, gamma: Numbers, ratio: Numbers, sigma: Numbers, radius: Numbers, test_radius: Numbers = 0.0
) -> Floats:
    """Error of class +1 after robust training: ``Phi(-K B + sqrt(B^2 + q))``, and with an attack eq. 11 on top of it.

    Wrong: the shift ``-sqrt(m) eps / (K sigma)`` is missing; what is printed is the robust error at the training radius.
    Arguments as :func:`printed_eq8`.
    """
    b, k = _b(m, gamma, ratio, sigma, radius), np.asarray(ratio)
    error: Floats = ndtr(-k * b + np.sqrt(b * b + q(k)) + _shift(m, test_radius, k * np.asarray(sigma)))
    return error


def printed_eq12(m: Numbers, gamma: Numbers, d: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """Lower bound of Omega: ``(K^2 - 1) ln K sigma^2 / (2 gamma^2) sqrt(d / m)``, all hidden constants taken as 1.

    Wrong in K and sigma: it grows without limit where Omega falls to 1 (K or sigma large), and vanishes where Omega has the
    limit :func:`omega_limit` (K near 1). Far from the truth in d: see :func:`omega_rate`. Arguments as :func:`pair`.
    """
    k = at_least("ratio", ratio, 1)
    dimensions = np.sqrt(at_least("d", d, 0) / at_least("m", m, 1))
    bound: Floats = (k * k - 1) * np.log(k) * np.asarray(sigma) ** 2 / (2 * above("gamma", gamma, 0) ** 2) * dimensions
    return bound


def printed_eq31(m: Numbers, gamma: Numbers, d: Numbers, eta: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """Natural error of class -1 in the proof of theorem 1. Arguments as :func:`pair`, ``ratio`` above 1.

    Wrong: sigma^2 is missing below A^2 inside the root (eq. 32 has it), so it is right for sigma = 1 only.
    """
    length, k = _length(m, gamma, d, eta), above("ratio", ratio, 1)
    root = np.sqrt(expressiveness(length, k) ** 2 + q(k))
    error: Floats = ndtr(expressiveness(length, k, sigma) - k * root)
    return error


def printed_eq40(m: Numbers, gamma: Numbers, ratio: Numbers, sigma: Numbers, radius: Numbers) -> Floats:
    """Error of class +1 after robust training in the proof of theorem 2: ``Phi(-B + K sqrt(B^2 + q))``, always above 1/2.

    Wrong: K belongs before B, not before the root, and the shift is missing. Arguments as :func:`printed_eq8`.
    """
    b, k = _b(m, gamma, ratio, sigma, radius), np.asarray(ratio)
    error: Floats = ndtr(-b + k * np.sqrt(b * b + q(k)))
    return error


def printed_intercept_per_weight(length: Numbers, ratio: Numbers, sigma: Numbers = 1.0) -> Floats:
    """The w_0 of lemmas 1 and 2, printed as ``b : w_1 = w_0 : 1``.

    Wrong: w_0 is right, but the weights are multiples of theta, so ``b : w_1 = w_0 : gamma`` after natural training and
    ``w_0 : (gamma - eps)`` after robust training, see :func:`intercept_per_weight`.

    Args:
        length: |theta| for lemma 1, ``sqrt(m) (gamma - eps)`` for lemma 2; above 0.
        ratio: K, above 1.
        sigma: Standard deviation of class -1, above 0.
    """
    k, square = above("ratio", ratio, 1), above("length", length, 0) ** 2
    inner = 4 / (k * k - 1) ** 2 + q(k) * above("sigma", sigma, 0) ** 2 / square
    w0: Floats = square * (k * k + 1) / (k * k - 1) - square * k * np.sqrt(inner)
    return w0


def _length(m: Numbers, gamma: Numbers, d: Numbers, eta: Numbers) -> Floats:
    robust = at_least("m", m, 1) * at_least("gamma", gamma, 0) ** 2
    length: Floats = np.sqrt(robust + at_least("d", d, 0) * at_least("eta", eta, 0) ** 2)
    return length


def _b(m: Numbers, gamma: Numbers, ratio: Numbers, sigma: Numbers, radius: Numbers) -> Floats:
    left = np.asarray(gamma, dtype=np.float64) - at_least("radius", radius, 0)
    if not (left > 0).all():
        raise ValueError("radius must be below gamma: robust training has to keep the robust features")
    return expressiveness(np.sqrt(at_least("m", m, 1)) * left, above("ratio", ratio, 1), sigma)


def _shift(m: Numbers, test_radius: Numbers, sigma: Numbers) -> Floats:
    shift: Floats = np.sqrt(np.asarray(m)) * at_least("test_radius", test_radius, 0) / np.asarray(sigma)
    return shift
