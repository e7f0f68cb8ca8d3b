"""Population logistic regression between two Gaussian classes, natural and adversarial.

FRL (ICML 2021, Figure 2) draws logistic regression, which is not the line of least error: it minimises the logistic loss
under the worst l_inf perturbation. Here is its limit for infinitely many points, so that no draw blurs the picture.

Why two numbers are enough. The perturbed margin of class y is Gaussian with mean ``<w, theta> - radius |w|_1 + y c`` and
standard deviation ``|w|_2 sigma_y``, and the loss falls with it. For a given length k of w the best direction is thus the
one of the least error (:class:`~classwise.theory.gaussian_mixture.GaussianPair`), with a margin u per unit of length, and
what is left is a convex function of k and c. Where u is not above 0, its slope in k at 0 is not below 0: then the minimum
has w = 0, and the classifier answers with the likelier class alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from classwise.theory.gaussian_mixture import Floats, GaussianPair, Linear, Numbers

_TAIL = 9.0
"""Standard deviations to which the densities are integrated: what lies beyond has probability 1e-19."""
_FARTHEST = 30.0
"""Largest margin in standard deviations; beyond it the errors are below 1e-190, and products of them vanish."""
_CHUNK = 1 << 15
"""Values of an integrand held at a time, 256 KiB: they stay in the cache, however large the grid is."""
_ROUNDS, _HALVINGS = 60, 40


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression: ``P(y = +1 | x) = 1 / (1 + exp(-(<w, x> + b)))``.

    Args:
        weight: w (..., D), not of length 1.
        intercept: b (...).
        classifier: The same plane brought to length 1, for :meth:`GaussianPair.errors`.
    """

    weight: Floats
    intercept: Floats
    classifier: Linear


def population_logistic(pair: GaussianPair, radius: Numbers = 0.0) -> Logistic:
    """The logistic regression that infinitely many points of two Gaussian classes give.

    Minimises ``E ln(1 + exp(-(y (<w, x> + b) - radius |w|_1)))`` over w and b: natural training for radius 0, else
    adversarial training against the exact worst case. The expectation is a trapezoid sum, which converges exponentially
    for such integrands; the minimum is found by Newton's method with halved steps.

    Args:
        pair: The two classes, any means, spreads and priors; a grid (...) takes about 0.3 ms per point.
        radius: l_inf radius of training, (...), at least 0.

    Returns:
        Weights and intercept, relative error about 1e-12 where they are not 0. Where the radius reaches the largest
        half-difference of the means, the weights are 0 and the offset of the classifier is infinite: one answer for all.

    Raises:
        ValueError: As :meth:`GaussianPair.best_linear`, or the classes lie more than 30 standard deviations from the
            middle, where the loss can no longer be told from 0.

    >>> pair = GaussianPair(theta=[2.0], times=2, sigma_plus=2**0.5, sigma_minus=1.0)
    >>> fitted = population_logistic(pair, radius=0.5)
    >>> [round(float(each), 4) for each in pair.errors(fitted.classifier)]
    [0.0138, 0.0055]
    """
    direction = pair.best_linear(radius)
    # Summed over the coordinates, so that a margin much smaller than the means keeps its digits.
    beyond = np.abs(np.asarray(pair.theta)) - np.asarray(radius, dtype=np.float64)[..., None]
    margin = (direction.times * np.abs(direction.weight) * beyond).sum(-1)
    plus, minus, prior = (
        np.asarray(each, dtype=np.float64) for each in (pair.sigma_plus, pair.sigma_minus, pair.prior)
    )
    shape = np.broadcast_shapes(margin.shape, plus.shape, minus.shape, prior.shape)
    given = (margin, plus, minus, prior, direction.offset)
    problem = np.stack([np.broadcast_to(each, shape).reshape(-1) for each in given])
    if (problem[0] > _FARTHEST * problem[1:3].min(0)).any():
        raise ValueError(
            f"the classes lie more than {_FARTHEST:g} standard deviations from the middle, where the logistic loss cannot "
            "be told from 0: bring the means together or raise the spreads"
        )
    length, offset = np.zeros(problem.shape[1]), np.log(problem[3] / (1 - problem[3]))
    (some,) = np.nonzero(problem[0] > 0)
    if len(some):
        nodes = _nodes(problem[:, some])
        for part in np.array_split(some, -(-len(some) * len(nodes) // _CHUNK)):
            length[part], offset[part] = _minimise(problem[:, part], nodes)
    k, c = length.reshape(shape), offset.reshape(shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(k > 0, c / k, np.where(c >= 0, np.inf, -np.inf))
    through_middle = replace(direction, offset=np.zeros(()))
    return Logistic(
        weight=k[..., None] * direction.weight,
        intercept=c + k * pair.intercept(through_middle),
        classifier=replace(direction, offset=distance),
    )


def _nodes(problem: Floats) -> Floats:
    """Standard normal values at which all problems (5, P) are integrated, evenly spaced.

    The integrands have their nearest poles at ``i pi / (k sigma)``, so a step of h leaves an error of
    ``exp(-2 pi^2 / (k sigma h))``; k is near ``2 u / sigma^2``, which it is exactly for equal spreads.
    """
    margin, plus, minus = problem[:3]
    small, large = np.minimum(plus, minus), np.maximum(plus, minus)
    steepest = max(1.0, float((2 * margin * large / small**2).max()))
    low, high = -_TAIL - float((margin / small).max()), _TAIL
    return np.linspace(low, high, int(np.ceil((high - low) * steepest / 0.5)) + 1)


def _minimise(problem: Floats, nodes: Floats) -> tuple[Floats, Floats]:
    """Length k and offset c, (P,), that minimise the loss of problems (5, P): margin, spreads, prior, best offset."""
    margin, plus, minus, prior, _ = problem[..., None]
    density = np.exp(-(nodes**2) / 2) * (nodes[1] - nodes[0]) / np.sqrt(2 * np.pi)
    shares = (prior * density, (1 - prior) * density)
    slopes = (margin + plus * nodes, margin + minus * nodes)

    def loss(k: Floats, c: Floats) -> Floats:
        total: Floats = sum(
            (share * np.logaddexp(0, -k[:, None] * slope - label * c[:, None])).sum(1)
            for share, slope, label in zip(shares, slopes, (1, -1), strict=True)
        )
        return total

    k, c = _start(*problem)
    value = loss(k, c)
    for _ in range(_ROUNDS):
        g_k, g_c, h_kk, h_kc, h_cc = np.zeros((5, len(k)))
        for share, slope, label in zip(shares, slopes, (1, -1), strict=True):
            wrong = expit(-k[:, None] * slope - label * c[:, None])
            first, second = share * wrong, share * wrong * (1 - wrong)
            g_k -= (first * slope).sum(1)
            g_c -= label * first.sum(1)
            h_kk += (second * slope**2).sum(1)
            h_kc += label * (second * slope).sum(1)
            h_cc += second.sum(1)
        # Divided by the last entry, so that no product of two tiny numbers vanishes.
        g_k, g_c, h_kk, h_kc = g_k / h_cc, g_c / h_cc, h_kk / h_cc, h_kc / h_cc
        determinant = h_kk - h_kc**2
        step_k, step_c = (g_k - h_kc * g_c) / determinant, (h_kk * g_c - h_kc * g_k) / determinant
        size = np.ones_like(k)
        for _ in range(_HALVINGS):
            tried = loss(k - size * step_k, c - size * step_c)
            worse = ~(tried <= value * (1 + 1e-13))
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        k, c, value = k - size * step_k, c - size * step_c, tried
        if (np.abs(step_k) <= 1e-12 * k).all() and (np.abs(step_c) <= 1e-12 * (1 + np.abs(c))).all():
            return k, c
    raise AssertionError("Newton's method did not settle on a convex function")


def _start(margin: Floats, plus: Floats, minus: Floats, prior: Floats, best: Floats) -> tuple[Floats, Floats]:
    """Slope and value of the log-odds where the classes are equally likely: for equal spreads the solution itself.

    Classes far apart need it, for from elsewhere the loss is exponential, and Newton's steps are short.
    """
    inner = np.abs(best) < margin
    offset = np.where(inner, best, 0)
    k = (margin + offset) / plus**2 + (margin - offset) / minus**2
    return k, np.where(inner, k * offset, np.log(prior / (1 - prior)))
