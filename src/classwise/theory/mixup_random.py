"""Same-class mixup with a random share, uniform or Beta(a, a), between two Gaussian classes.

The trained error is then the mean over lambda of the errors at each g = lambda^2 + (1 - lambda)^2. With u = (2 lambda - 1)^2 it
is g = (1 + u) / 2, and u has the law Beta(1/2, a), whose Gauss-Jacobi rule turns every mean into a short sum; a = 1 is a
uniform share. The direction of the best classifier is that of plain training, for it is best at every g. Its offset has no
closed form. It lies between those of g = 1/2 and of g = 1, since the trained error falls towards that stretch at every g, and
so obeys the law of a fixed share at an effective g. For well separated classes the errors come from the tails, which belong
to the largest g: the effective g tends to 1, and a random share does next to nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import ndtr, roots_jacobi

from classwise.theory.gaussian_mixture import ClassErrors, Floats, GaussianPair, Linear, Numbers

_NODES = 64
_STEPS = 80
"""At most; Newton's method takes about five."""


def random_factors(alpha: float = 1.0) -> tuple[Floats, Floats]:
    """Factors g and their weights (sum 1), each (64,): a Gauss rule for the mean over lambda of Beta(alpha, alpha).

    Args:
        alpha: Parameter of the law, from 0.001 to 1000; 1 is the uniform law on [0, 1].

    Raises:
        ValueError: The parameter is out of that range.
    """
    if not 1e-3 <= alpha <= 1e3:
        raise ValueError(
            f"alpha {alpha} must lie in [0.001, 1000]: below, the share is all but 0 or 1 (no mixup); above, it is all but 1/2"
        )
    nodes, weights = roots_jacobi(_NODES, alpha - 1, -0.5)
    return (3 + nodes) / 4, weights / weights.sum()


def best_linear_random(pair: GaussianPair, alpha: float = 1.0, radius: Numbers = 0.0) -> Linear:
    """The linear classifier with the least error on data mixed with a random share.

    Args:
        pair: The two classes.
        alpha: Parameter of the share's law Beta(alpha, alpha); 1 is the uniform law.
        radius: l_inf radius of training, (...), at least 0.

    Raises:
        ValueError: The parameter is out of range, or the radius negative or not finite.

    The offset is good to some 1e-11 of the margin. A grid of 200 x 200 takes about a second.
    """
    factors, weights = random_factors(alpha)
    start = pair.best_linear(radius, 0.5)
    margin = start.reach - np.asarray(radius, dtype=np.float64) * start.length
    prior, plus, minus = pair.scalars()
    near, far = (pair.stationary_offset(margin, np.asarray(factor)) for factor in (0.5, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where g = 1 has no minimum, those of smaller g stay on this side of the point that all its slopes have in common.
        turn = margin * (plus**2 + minus**2) / (plus**2 - minus**2)
    end = np.where(np.isnan(far), turn, far)
    offset = _zero(np.minimum(near, end), np.maximum(near, end), margin, pair, factors, weights)
    # A search that ends there has found no minimum: the error falls all the way from `near` to one answer for everything.
    offset = np.where(np.isnan(far) & np.isclose(offset, turn, rtol=1e-9, atol=0), np.nan, offset)
    found = replace(start, offset=offset)
    trained = random_errors(pair, found, alpha, radius).average(prior)
    constant = np.isnan(offset) | (trained > np.minimum(prior, 1 - prior))
    offset = np.where(constant, np.where(prior >= 0.5, np.inf, -np.inf), offset)
    return replace(start, offset=offset)


def random_errors(pair: GaussianPair, classifier: Linear, alpha: float = 1.0, radius: Numbers = 0.0) -> ClassErrors:
    """Class errors on data mixed with a random share, under the worst l_inf perturbation.

    Args:
        pair: The two classes.
        classifier: A linear classifier. On the data themselves its errors are those of :meth:`GaussianPair.errors`.
        alpha: Parameter of the share's law Beta(alpha, alpha); 1 is the uniform law.
        radius: l_inf radius of the test, (...), at least 0.

    Raises:
        ValueError: The parameter is out of range.
    """
    factors, weights = random_factors(alpha)
    _, plus, minus = pair.scalars()
    reach = classifier.reach - np.asarray(radius, dtype=np.float64) * classifier.length
    scores = -(classifier.offset + reach) / plus, (classifier.offset - reach) / minus
    return ClassErrors(*((ndtr(score[..., None] / np.sqrt(factors)) * weights).sum(-1) for score in scores))


def _zero(low: Floats, high: Floats, margin: Floats, pair: GaussianPair, factors: Floats, weights: Floats) -> Floats:
    """Where the slope of the trained error rises through 0 between two offsets; NaN where they are.

    Newton's method, halving the bracket where it would leave that; points that are done are not computed again.
    """
    _, plus, minus = pair.scalars()
    together = np.broadcast_arrays(low, high, margin, plus, minus, pair.log_odds)
    low, high, margin, plus, minus, log_odds = (each.ravel() for each in together)
    found = (low + high) / 2
    todo = np.flatnonzero(np.isfinite(found))
    here, low, high = found[todo], low[todo], high[todo]
    for _ in range(_STEPS):
        a, spread_plus, spread_minus = margin[todo], plus[todo], minus[todo]
        z_plus, z_minus = (here + a) / spread_plus, (here - a) / spread_minus
        of_plus, steep_plus = _log_density(z_plus, factors, weights)
        of_minus, steep_minus = _log_density(z_minus, factors, weights)
        slope = of_minus - of_plus - log_odds[todo]
        rise = z_plus * steep_plus / spread_plus - z_minus * steep_minus / spread_minus
        low, high = np.where(slope < 0, here, low), np.where(slope < 0, high, here)
        with np.errstate(divide="ignore", invalid="ignore"):
            there = here - slope / rise
        there = np.where((there >= low) & (there <= high), there, (low + high) / 2)
        found[todo] = there
        moves = np.abs(there - here) > 1e-14 * (np.abs(here) + np.abs(a))
        if not moves.any():
            break
        todo, here, low, high = todo[moves], there[moves], low[moves], high[moves]
    return found.reshape(together[0].shape)


def _log_density(z: Floats, factors: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Logarithm of the mean of ``exp(-z^2 / (2 g)) / sqrt(g)``, and the mean of 1 / g under what is averaged, each (...)."""
    powers = -(z[..., None] ** 2) / (2 * factors) + np.log(weights / np.sqrt(factors))
    top = powers.max(-1, keepdims=True)
    parts = np.exp(powers - top)
    total = parts.sum(-1)
    return top[..., 0] + np.log(total), (parts / factors).sum(-1) / total
