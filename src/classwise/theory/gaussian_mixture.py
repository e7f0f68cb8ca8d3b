"""Two Gaussian classes and the linear classifier with the least robust error: exact, for any priors and variances.

The setting of FRL (both versions) and of same-class mixup. Labels are +1 with probability ``prior`` and -1 else;
``x | +1 ~ N(mid + theta, sigma_plus^2 I)``, ``x | -1 ~ N(mid - theta, sigma_minus^2 I)``; a classifier answers
``sign(<w, x> + b)``. Trained is the error under the worst l_inf perturbation of some radius, 0 for natural training,
weighted by the priors.

Why it is exact. For ``|w|_2 = 1`` and an offset c from the middle of the means, both class errors fall with
``<w, theta> - radius |w|_1`` and depend on w through nothing else, so w is the direction that makes it largest: theta with
the radius taken off every coordinate. In c the derivative of the trained error has the sign of a quadratic, whose rising
root is the only minimum; against it stand the two constant classifiers.

Every number may be an array: they broadcast over a grid ``(...)``, and features have one more dimension. Coordinates of
equal mean are given once, with their number (``times``), so a hundred features cost no more than one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, log_ndtr, ndtr

Floats = npt.NDArray[np.float64]
Numbers = npt.ArrayLike

INTERIOR, ALL_PLUS, ALL_MINUS = "interior", "all +1", "all -1"
"""What the best classifier is: a plane between the classes, or one answer for everything."""


class ClassErrors(NamedTuple):
    """Error probabilities of the two classes, each of the grid's shape (...)."""

    plus: Floats
    minus: Floats

    @property
    def gap(self) -> Floats:
        """By how much class +1 is worse."""
        return self.plus - self.minus

    @property
    def worst(self) -> Floats:
        """Error of the class that is worse."""
        return np.maximum(self.plus, self.minus)

    def average(self, prior: Numbers = 0.5) -> Floats:
        """Error where class +1 has a share ``prior``."""
        share = np.asarray(prior, dtype=np.float64)
        return share * self.plus + (1 - share) * self.minus


@dataclass(frozen=True, kw_only=True)
class GaussianPair:
    """Two Gaussian classes.

    Args:
        theta: Half the difference of the means, (..., D), D the number of different coordinates.
        sigma_plus: Standard deviation of every coordinate in class +1, (...), above 0.
        sigma_minus: The same of class -1.
        prior: Share of class +1, (...), strictly between 0 and 1.
        mid: Middle of the means, (..., D).
        times: How often each coordinate occurs, (..., D), at least 0; whole numbers where they are counts.

    Raises:
        ValueError: A number is out of range, not finite or none at all, there is no coordinate, or the shapes do not
            broadcast.

    >>> pair = GaussianPair(theta=2.0 * np.ones(2), sigma_plus=2**0.5, sigma_minus=1.0)
    >>> [round(float(each), 4) for each in pair.errors(pair.best_linear())]
    [0.0112, 0.0076]
    """

    theta: Numbers
    sigma_plus: Numbers
    sigma_minus: Numbers
    prior: Numbers = 0.5
    mid: Numbers = field(default=0.0)
    times: Numbers = field(default=1.0)

    def __post_init__(self) -> None:
        for name in ("theta", "sigma_plus", "sigma_minus", "prior", "mid", "times"):
            values = _as_numbers(name, getattr(self, name))
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds values that are not finite: give finite numbers")
            object.__setattr__(self, name, values)
        theta, prior, mid, times = self.theta, self.prior, self.mid, self.times
        assert isinstance(theta, np.ndarray)
        assert isinstance(prior, np.ndarray)
        assert isinstance(mid, np.ndarray)
        assert isinstance(times, np.ndarray)
        if theta.ndim == 0:
            raise ValueError(
                "theta is a single number: give one per coordinate, such as [0.5] or an array of shape (..., D)"
            )
        for name, values in (("theta", theta), ("mid", mid), ("times", times)):
            if values.shape[-1:] == (0,):
                raise ValueError(f"{name} has no coordinates: give at least one, such as [0.5]")
        for name in ("sigma_plus", "sigma_minus"):
            if not (getattr(self, name) > 0).all():
                raise ValueError(f"{name} must be above 0: without spread a class is a point, and its error is 0 or 1")
        if not ((prior > 0) & (prior < 1)).all():
            raise ValueError(
                "prior must lie strictly between 0 and 1: with one class only there is nothing to tell apart"
            )
        if not (times >= 0).all() or not (times.sum(-1) > 0 if times.ndim else times > 0).all():
            raise ValueError("times must be at least 0, and above 0 for some coordinate: it counts equal coordinates")
        try:
            features = np.broadcast_shapes(theta.shape, mid.shape, times.shape)
            np.broadcast_shapes(features[:-1], np.shape(self.sigma_plus), np.shape(self.sigma_minus), prior.shape)
        except ValueError as error:
            raise ValueError(
                f"shapes do not broadcast: theta, mid and times take (..., D), sigmas and prior take (...) ({error})"
            ) from error
        for name, values in (("theta", theta), ("mid", mid), ("times", times)):  # sums need all D coordinates
            object.__setattr__(self, name, np.broadcast_to(values, (*values.shape[:-1], features[-1])))

    @property
    def log_odds(self) -> Floats:
        """L = ln(prior sigma_minus / ((1 - prior) sigma_plus)), (...)."""
        prior, plus, minus = self.scalars()
        apart = (minus - plus) / plus
        near = np.abs(apart) < 0.5  # the logarithm of a ratio near 1 would lose digits
        ratio = np.where(near, np.log1p(np.where(near, apart, 0)), np.log(minus / plus))
        odds: Floats = np.log(prior / (1 - prior)) + ratio
        return odds

    def best_linear(self, radius: Numbers = 0.0, variance_factor: Numbers = 1.0) -> Linear:
        """The linear classifier with the least error at a training radius.

        Args:
            radius: l_inf radius of training, (...), at least 0.
            variance_factor: Factor g of both training variances, (...), above 0: ``lambda^2 + (1 - lambda)^2`` for
                same-class mixup.

        Raises:
            ValueError: The radius is negative, the factor not above 0, or one is not finite.

        Where the radius reaches the largest half-difference of the means, no direction has a margin left, and the best one
        looks at a single largest coordinate (any of them where several are largest).
        """
        radius = _checked("radius", radius, at_least=0)
        factor = _checked_factor(variance_factor)
        weight, times, margin = self._direction(radius)
        offset = self.stationary_offset(margin, factor)
        one_answer = np.where(np.asarray(self.prior) >= 0.5, np.inf, -np.inf)
        offset = np.where(np.isnan(offset) | self._is_beaten(offset, margin, factor), one_answer, offset)
        reach, length = (times * weight * self._theta).sum(-1), (times * np.abs(weight)).sum(-1)
        return Linear(weight, offset, reach, length, times)

    def errors(self, classifier: Linear, radius: Numbers = 0.0, variance_factor: Numbers = 1.0) -> ClassErrors:
        """Class errors of a linear classifier under the worst l_inf perturbation.

        Args:
            classifier: A classifier of :meth:`best_linear`, or any other.
            radius: l_inf radius of the test, (...), at least 0; 0 gives the natural errors.
            variance_factor: Factor of both variances of the test data: 1 for the data themselves, g for mixed data.

        Raises:
            ValueError: As :meth:`best_linear`.
        """
        return self._errors(classifier, _checked("radius", radius, at_least=0), _checked_factor(variance_factor))

    def boundary_errors(self, classifier: Linear, radius: Numbers, as_printed: bool = False) -> ClassErrors:
        """Probability of being answered right, and wrong after a perturbation: robust error minus natural error.

        Args:
            classifier: A linear classifier.
            radius: l_inf radius of the test, (...), at least 0.
            as_printed: Leave "answered right" away, as FRL prints it (ICML, eq. 7; v1, eq. 16): then points on the wrong
                side and near the boundary are counted too, and natural plus boundary error exceeds the robust error.
        """
        size = _checked("radius", radius, at_least=0)
        robust, inner = self._errors(classifier, size, np.ones(())), self._errors(classifier, -size, np.ones(()))
        natural = self._errors(classifier, np.zeros(()), np.ones(()))
        base = inner if as_printed else natural
        return ClassErrors(robust.plus - base.plus, robust.minus - base.minus)

    def _errors(self, classifier: Linear, radius: Floats, factor: Floats) -> ClassErrors:
        _, plus, minus = self.scalars()
        reach = classifier.reach - radius * classifier.length
        scale = np.sqrt(factor)
        return ClassErrors(
            ndtr(-(classifier.offset + reach) / (scale * plus)), ndtr((classifier.offset - reach) / (scale * minus))
        )

    def intercept(self, classifier: Linear) -> Floats:
        """The b of ``sign(<w, x> + b)`` for the unit vector w, (...)."""
        middle: Floats = np.sum(classifier.times * classifier.weight * np.asarray(self.mid), axis=-1)
        return classifier.offset - middle

    def linear(self, weight: Numbers, offset: Numbers) -> Linear:
        """A linear classifier of one's own.

        Args:
            weight: w (..., D), not all 0; brought to length 1.
            offset: c (...), how far the boundary lies from the middle of the means once w has length 1.

        Raises:
            ValueError: The weights are all 0 or not finite.
        """
        w = _as_numbers("weight", weight)
        length = np.sqrt(self._sum(w * w))
        if not (np.isfinite(length) & (length > 0)).all():
            raise ValueError("weight must be finite and not all 0: it is the direction of the classifier")
        unit = w / length[..., None]
        reach, sizes = self._sum(unit * self._theta), self._sum(np.abs(unit))
        return Linear(unit, _as_numbers("offset", offset), reach, sizes, self._times)

    def _direction(self, radius: Floats) -> tuple[Floats, Floats, Floats]:
        """Unit vector w that makes <w, theta> - radius |w|_1 largest, how often its entries occur, and that maximum."""
        size = np.abs(self._theta)
        beyond = np.where(self._times > 0, size - radius[..., None], -np.inf)
        left = np.maximum(beyond, 0)
        length = np.sqrt(self._sum(left * left))
        some = length > 0
        alone = np.arange(beyond.shape[-1]) == beyond.argmax(-1)[..., None]
        unit = np.where(some[..., None], left / np.where(some, length, 1)[..., None], alone)
        times = np.where(some[..., None], self._times, alone)
        return np.copysign(unit, self._theta), times, np.where(some, length, beyond.max(-1))

    def stationary_offset(self, margin: Floats, factor: Floats) -> Floats:
        """The offset c where the trained error has its minimum, (...); NaN where it has none.

        Args:
            margin: ``<w, theta> - radius |w|_1`` of the direction, (...).
            factor: Factor of both training variances, (...), above 0.
        """
        _, plus, minus = self.scalars()
        log_odds = self.log_odds
        spread = (minus - plus) * (minus + plus)  # minus^2 - plus^2, exact where they are nearly equal
        square = 4 * margin**2 + 2 * factor * log_odds * spread
        with np.errstate(invalid="ignore", divide="ignore"):
            root = plus * minus * np.sqrt(square)
            # The two forms are one number; the first has no difference of nearly equal numbers for a positive margin.
            rising = 2 * factor * plus**2 * minus**2 * log_odds - margin**2 * spread
            stable = rising / (margin * (plus**2 + minus**2) + root)
            plain = (root - margin * (plus**2 + minus**2)) / spread
            offset = np.where(margin > 0, stable, plain)
        return np.where(np.isfinite(offset), offset, np.nan)

    def _is_beaten(self, offset: Floats, margin: Floats, factor: Floats) -> npt.NDArray[np.bool_]:
        """Whether one answer for everything has a smaller trained error than the plane of :meth:`stationary_offset`.

        The plane costs the frequent class ``often Phi(z_often)`` and gains ``rare Phi(-z_rare)`` in the other. Both may be
        tiny: the squares of the z-scores, which differ by the log-odds there, are taken out of both sides.
        """
        prior, plus, minus = self.scalars()
        z_plus = -(offset + margin) / (np.sqrt(factor) * plus)
        z_minus = (offset - margin) / (np.sqrt(factor) * minus)
        more = prior > 0.5
        often, rare = np.where(more, plus, minus), np.where(more, minus, plus)
        z_often, z_rare = np.where(more, z_plus, z_minus), np.where(more, z_minus, z_plus)
        with np.errstate(over="ignore"):
            scaled = often * erfcx(-z_often / np.sqrt(2)) > rare * erfcx(z_rare / np.sqrt(2))
        plain = np.abs(np.log(prior / (1 - prior))) + log_ndtr(z_often) > log_ndtr(-z_rare)
        # Where the plane lies on the side of the rare class, the tails are small; else they are not, and squares overflow.
        return np.where(np.where(more, offset > 0, offset < 0), scaled, plain)

    def _sum(self, values: Floats) -> Floats:
        total: Floats = np.sum(self._times * values, axis=-1)
        return total

    @property
    def _theta(self) -> Floats:
        return np.asarray(self.theta, dtype=np.float64)

    @property
    def _times(self) -> Floats:
        return np.asarray(self.times, dtype=np.float64)

    def scalars(self) -> tuple[Floats, Floats, Floats]:
        """Prior, sigma_plus and sigma_minus as arrays."""
        prior, plus, minus = (
            np.asarray(each, dtype=np.float64) for each in (self.prior, self.sigma_plus, self.sigma_minus)
        )
        return prior, plus, minus


@dataclass(frozen=True)
class Linear:
    """A linear classifier ``sign(<w, x> + b)``.

    Args:
        weight: w (..., D) with |w|_2 = 1, each coordinate counted ``times``.
        offset: c = b + <w, mid>, (...): how far the boundary lies from the middle of the means, towards class -1;
            infinite where everything gets one answer.
        reach: <w, theta>, (...).
        length: |w|_1, (...): what a perturbation of radius 1 moves.
        times: How often each weight occurs, (..., D): as often as the coordinate, but a single time where the training
            radius left no margin and one coordinate alone is looked at (the weight of its copies is 0).
    """

    weight: Floats
    offset: Floats
    reach: Floats
    length: Floats
    times: Floats

    @property
    def status(self) -> npt.NDArray[np.str_]:
        """``interior``, ``all +1`` or ``all -1``, (...)."""
        return np.where(np.isposinf(self.offset), ALL_PLUS, np.where(np.isneginf(self.offset), ALL_MINUS, INTERIOR))


def _as_numbers(name: str, values: Numbers) -> Floats:
    """The values as an array; text and None are no numbers."""
    try:
        given = np.asarray(values)
        if given.dtype.kind in "cUSMmV" or (given.size and given.ravel()[0] is None):
            raise TypeError
        return given.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not numeric: give a number or an array of numbers") from None


def _checked(name: str, values: Numbers, at_least: float) -> Floats:
    numbers = _as_numbers(name, values)
    if not (np.isfinite(numbers) & (numbers >= at_least)).all():
        raise ValueError(f"{name} must be finite and at least {at_least:g}")
    return numbers


def _checked_factor(values: Numbers) -> Floats:
    factor = _checked("variance_factor", values, at_least=0)
    if not (factor > 0).all():
        raise ValueError("variance_factor must be above 0: without spread a class is a point, and its error is 0 or 1")
    return factor
