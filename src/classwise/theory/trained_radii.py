"""Linear classifiers of two Gaussian classes where training uses more than one radius: TRADES, and CFA's radii by class.

Both objectives see a unit vector w through its reach ``<w, theta>`` and its length ``|w|_1`` alone. Where more reach helps and
more length harms, w lies where neither can improve without the other: there ``<w, theta> - t |w|_1`` is largest for some
effective radius t, that is, w is theta with t taken off every coordinate. At t the size of the largest coordinates
(several of one size) only those are left, any split of which with the same length is as good.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from classwise.theory.gaussian_mixture import Floats, GaussianPair, Linear, Numbers
from classwise.theory.offsets import numbers

_SHARES, _SPLITS, _SPREADS = 9, 5, np.linspace(-6, 6, 15)
"""Of the first search: directions by effective radius, directions beyond, and offsets in standard deviations."""
_ROUNDS = 80
"""Of the second search, each with steps of the last size or half of it."""
_NEIGHBOURS = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)], dtype=np.float64)
"""Standing still comes first, so that it wins where nothing is gained."""
_ONWARDS = np.array([0.5, 1, 2, 4])
"""Further steps along the last one, in its length."""


def class_radii(pair: GaussianPair, radius: Numbers, factors: tuple[Numbers, Numbers]) -> Linear:
    """The solution of adversarial training in which each class has a radius of its own.

    It has a closed form. With radii r_+ and r_- the errors are ``Phi(-(c + reach - r_+ length) / sigma_+)`` and
    ``Phi((c - reach + r_- length) / sigma_-)``. Moving the offset to ``c' = c - (r_+ - r_-) length / 2`` makes them those at the
    mean radius. So the direction is that of the mean radius, and the offset is the best one there, moved towards class -1
    where class +1 has the larger radius: a class gains from a larger radius of its own.

    Args:
        pair: The classes.
        radius: l_inf radius of training, (...), at least 0.
        factors: What multiplies it in class +1 and in class -1, each (...), at least 0.

    Raises:
        ValueError: A factor is negative or not finite, or as :meth:`GaussianPair.best_linear`.

    Source: CFA (CVPR 2023), section 4.1, whose factor is an offset plus the robust accuracy of the class.
    """
    plus, minus = numbers(factors[0]), numbers(factors[1])
    if not all((np.isfinite(each) & (each >= 0)).all() for each in (plus, minus)):
        raise ValueError("factors of the radius must be finite and at least 0: 1 leaves the radius as it is")
    size = numbers(radius)
    at_mean = pair.best_linear(size * (plus + minus) / 2)
    return replace(at_mean, offset=at_mean.offset + size * (plus - minus) / 2 * at_mean.length)


def trades(pair: GaussianPair, radius: Numbers, beta: Numbers = 6.0) -> Linear:
    """The linear classifier with the least natural error plus beta times boundary error, in the average over the prior.

    That is ``(1 - beta) natural + beta robust``. Up to beta = 1 more reach helps and more length harms. Above it the natural
    error counts with a negative weight, as if to err without attack were worth something, and neither is plain. But at the
    best finite offset the two classes pull equally, ``A = share / sigma (beta phi(z_robust) - (beta - 1) phi(z_natural))``,
    and more reach changes the objective by -2 A. Were A not above 0, each class would cost at least 1 (that is ``phi / (1 -
    Phi)`` rising), and one answer for everything costs less. So w is as the module says, with the effective radius ``t =
    radius beta sum(share phi(z_robust) / sigma) / (2 A)``: between 0 and the radius up to beta = 1, at the radius or above it
    from there on, without bound. A constant answer has no boundary error: with a large beta it is often the best.

    Direction and offset are searched on a grid of both, then by steps that halve where none helps. The objective comes out
    to 1e-12, class errors to about 1e-6, since it is flat at its least value. The search takes two thousand evaluations: a
    sweep over ten thousand pairs takes seconds, where closed forms take milliseconds.

    Args:
        pair: The classes.
        radius: l_inf radius of training, (...), at least 0.
        beta: Weight of the boundary error, (...), at least 0: 0 is natural training, 1 adversarial training.

    Returns:
        The classifier. Where it stands between all largest coordinates and one of them, ``times`` is not whole: a weight
        of ``1 / |w|_1`` on ``|w|_1^2`` of them stands for every split of that length.

    Raises:
        ValueError: beta is negative or not finite, or as :meth:`GaussianPair.best_linear`.

    Source: Zhang et al. 2019 (TRADES), eq. 3, with the 0/1 error; beta is their 1 / lambda, 6 in practice.
    """
    weight = numbers(beta)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("beta must be finite and at least 0: it weighs the boundary error")
    shape = np.broadcast_shapes(pair.best_linear(radius).offset.shape, weight.shape)
    prior, plus, minus, size, weight = (
        np.broadcast_to(each, shape) for each in (*pair.scalars(), numbers(radius), weight)
    )
    aim = _Trades(prior, plus, minus, size, weight)
    path = _Path(pair)
    own, start = path.place_of(size), path.place_of(np.zeros(()))
    low, high = np.where(weight < 1, start, own), np.where(weight > 1, 2.0, own)
    position, offset = _on_a_grid(aim, path, low, high)
    position, offset, least = _by_steps(aim, path, low, high, position, offset)
    unit, times, reach, length = path.direction(position)
    one_answer = np.where(prior >= 0.5, np.inf, -np.inf)
    return Linear(unit, np.where(least < np.minimum(prior, 1 - prior), offset, one_answer), reach, length, times)


class _Trades(NamedTuple):
    """The objective; every number has the shape of the grid."""

    prior: Floats
    plus: Floats
    minus: Floats
    radius: Floats
    beta: Floats

    def cost(self, reach: Floats, length: Floats, offset: Floats) -> Floats:
        """Natural plus beta times boundary error."""
        robust = reach - self.radius * length
        plus, minus = (
            (1 - self.beta) * ndtr(-(side + reach) / spread) + self.beta * ndtr(-(side + robust) / spread)
            for side, spread in ((offset, self.plus), (-offset, self.minus))
        )
        total: Floats = self.prior * plus + (1 - self.prior) * minus
        return total


class _Path:
    """The directions in which reach cannot grow without length, by a position from 0 to 2.

    Up to 1 the position is the effective radius over the second largest |theta|: at 1 the largest coordinates are left, with
    equal weights, and stay so up to their own size. From 1 to 2 they are given up for one of them; if there is only one, all
    of this is the same direction.
    """

    def __init__(self, pair: GaussianPair) -> None:
        self.theta, self.times = numbers(pair.theta), numbers(pair.times)
        self.size = np.where(self.times > 0, np.abs(self.theta), -np.inf)
        self.largest: Floats = self.size.max(-1)
        self.is_largest = self.size == self.largest[..., None]
        self.second: Floats = np.maximum(np.where(self.is_largest, -np.inf, self.size).max(-1), 0)

    def place_of(self, radius: Floats) -> Floats:
        """Position of the best direction at a radius, (...)."""
        below = radius < self.second
        return np.where(below, radius / np.where(below, self.second, 1), np.where(radius < self.largest, 1.0, 2.0))

    def direction(self, position: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Unit vector w (..., D), how often its entries occur (..., D), its reach and its length (...)."""
        left = np.maximum(self.size - (position * self.second)[..., None], 0)
        weight = np.where((position >= 1)[..., None], self.is_largest, left)
        unit = weight / np.sqrt((self.times * weight * weight).sum(-1))[..., None]
        length = (self.times * unit).sum(-1)
        # Fewer of the largest coordinates, with as much more weight each.
        shorter = np.where((position > 1) & (length > 1), length + (position - 1) * (1 - length), length)
        share = (shorter / length)[..., None]
        unit, often = np.copysign(unit / share, self.theta), self.times * share**2
        return unit, often, (often * unit * self.theta).sum(-1), shorter


def _on_a_grid(aim: _Trades, path: _Path, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Position and offset of the least cost on a grid, whose offsets follow the four error curves of the direction."""
    least, position, offset = np.full(low.shape, np.inf), low, np.zeros(low.shape)
    spreads = _SPREADS.reshape(-1, *(1,) * low.ndim)
    for tried in (
        *np.linspace(low, np.clip(1, low, high), _SHARES),
        *np.linspace(np.clip(1, low, high), high, _SPLITS),
    ):
        _, _, reach, length = path.direction(tried)
        margins = (reach, reach - aim.radius * length)
        offsets = np.concatenate(
            [each for margin in margins for each in (aim.plus * spreads - margin, aim.minus * spreads + margin)]
        )
        costs = aim.cost(reach, length, offsets)
        chosen = costs.argmin(0)[None]
        cost, there = (np.take_along_axis(each, chosen, 0)[0] for each in (costs, offsets))
        better = cost < least
        position, offset = np.where(better, tried, position), np.where(better, there, offset)
        least = np.where(better, cost, least)
    return position, offset


def _by_steps(
    aim: _Trades, path: _Path, low: Floats, high: Floats, position: Floats, offset: Floats
) -> tuple[Floats, Floats, Floats]:
    """Position, offset and least cost, found by steps to the best of some points around, halved where none is better.

    Tried are the neighbours, and going on as the last step went: a narrow valley need not lie along a neighbour.
    """
    step, stride = (high - low) / _SHARES, 0.8 * np.maximum(aim.plus, aim.minus)
    gone, went = np.zeros_like(low), np.zeros_like(low)
    by, on = (each.reshape(-1, *each.shape[1:], *(1,) * low.ndim) for each in (_NEIGHBOURS, _ONWARDS))
    least = np.full(low.shape, np.inf)
    for _ in range(_ROUNDS):
        positions = np.clip(position + np.concatenate([step * by[:, 0], gone * on]), low, high)
        offsets = offset + np.concatenate([stride * by[:, 1], went * on])
        _, _, reach, length = path.direction(positions)
        costs = aim.cost(reach, length, offsets)
        chosen = costs.argmin(0)[None]
        stays, before = chosen[0] == 0, (position, offset)
        position, offset, least = (np.take_along_axis(each, chosen, 0)[0] for each in (positions, offsets, costs))
        gone, went = np.where(stays, gone / 2, position - before[0]), np.where(stays, went / 2, offset - before[1])
        shrunk = np.where(stays, 0.5, 1)
        step, stride = step * shrunk, stride * shrunk
    return position, offset, least
