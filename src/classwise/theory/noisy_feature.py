"""CFA's two classes: one feature that is noisy in one class more than in the other, and d weak ones that an attack moves.

Labels are +1 and -1, equally often. The first feature is ``x1 = y`` with probability ``p_plus`` in class +1 and ``p_minus``
in class -1, and ``-y`` else; the others are drawn from ``N(eta y, sigma^2)``. As p_minus is the smaller one, class -1 is
the hard class. Classifiers answer ``sign(x1 + (x2 + ... + x_{d+1} + bias) / w)``: the larger w, the more they rely on the
first feature. ``w = inf`` looks at nothing else, and ``w = 0`` stands for the limit that looks at the others alone.

Equal weights on the d weak features lose nothing: any others give their sum less mean for the same spread (Cauchy-Schwarz),
and w can be scaled along.

An l_inf perturbation shifts every weak feature by the radius against its class. Whether it also moves the first feature is
a convention: CFA leaves it in {-1, 1}, while the ball around a sample contains its shift (``first_attackable``).

Every number may be an array; they broadcast to a grid ``(...)``.

Source: CFA (CVPR 2023), section 2 and appendix B; the paper has neither the bias nor the attack on the first feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from classwise.theory.gaussian_mixture import Floats, Numbers


class ClassAccuracies(NamedTuple):
    """Probabilities of a right answer in the two classes, each of the grid's shape (...)."""

    plus: Floats
    minus: Floats

    @property
    def gap(self) -> Floats:
        """By how much class +1 is better."""
        return self.plus - self.minus

    @property
    def worst(self) -> Floats:
        """Accuracy of the class that is worse."""
        return np.minimum(self.plus, self.minus)

    def average(self) -> Floats:
        """Accuracy over both classes, which are equally frequent."""
        return (self.plus + self.minus) / 2


class ClassWeights(NamedTuple):
    """One w for each class, each of the grid's shape (...): where that class alone is answered best."""

    plus: Floats
    minus: Floats


class ClassSlopes(NamedTuple):
    """Derivatives of the two accuracies by w, each of the grid's shape (...)."""

    plus: Floats
    minus: Floats


class WeightAndBias(NamedTuple):
    """A classifier ``sign(x1 + (x2 + ... + x_{d+1} + bias) / w)``, each of the grid's shape (...)."""

    w: Floats
    bias: Floats


@dataclass(frozen=True, kw_only=True)
class NoisyFeature:
    """CFA's model of an easy class (+1) and a hard one (-1).

    Args:
        p_plus: How often the first feature is right in class +1, (...), below 1.
        p_minus: The same in class -1, (...), from 1/2 to p_plus; the paper has it below p_plus.
        eta: Mean of the weak features in class +1, (...), above 0; class -1 has -eta.
        sigma: Their standard deviation, (...), above 0; 1 in the paper's proofs.
        d: Their number, (...), whole and at least 1.

    Raises:
        ValueError: A number is out of range or not finite, or the shapes do not broadcast.

    >>> model = NoisyFeature(p_plus=0.85, p_minus=0.7, eta=0.4, sigma=0.6**0.5, d=1)
    >>> clean = model.accuracies(w=1.0)
    >>> [round(float(each), 4) for each in clean]
    [0.8528, 0.741]
    >>> round(float(model.best_weight()), 4)
    0.9276
    """

    p_plus: Numbers
    p_minus: Numbers
    eta: Numbers
    sigma: Numbers
    d: Numbers

    def __post_init__(self) -> None:
        for name in ("p_plus", "p_minus", "eta", "sigma", "d"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds values that are not finite: give finite numbers")
            object.__setattr__(self, name, values)
        try:
            p_plus, p_minus, eta, sigma, d = self._numbers()
        except ValueError as error:
            raise ValueError(f"shapes of the parameters do not broadcast to one grid ({error})") from error
        if not ((p_minus >= 0.5) & (p_plus < 1)).all():
            raise ValueError(
                "p_minus must be at least 1/2 and p_plus below 1: below 1/2 the first feature would tell of the other class, "
                "and at 1 it would need no others"
            )
        if not (p_minus <= p_plus).all():
            raise ValueError("p_minus must be at most p_plus: class -1 is the hard one; swap the names of the classes")
        if not (eta > 0).all():
            raise ValueError("eta must be above 0: the weak features of the two classes have the means eta and -eta")
        if not (sigma > 0).all():
            raise ValueError(
                "sigma must be above 0: without spread the weak features alone would tell the classes apart"
            )
        if not ((d >= 1) & (d == np.round(d))).all():
            raise ValueError("d must be a whole number of at least 1: it counts the weak features")

    def accuracies(
        self, w: Numbers, radius: Numbers = 0.0, bias: Numbers = 0.0, first_attackable: bool = False
    ) -> ClassAccuracies:
        """Class accuracies under the worst l_inf perturbation.

        Args:
            w: Weight of the first feature against the sum of the others, (...), at least 0; may be infinite.
            radius: l_inf radius of the test, (...), at least 0; 0 gives the clean accuracies (CFA, eq. 13 and 14).
            bias: What is added to the sum of the weak features, (...); the paper has none.
            first_attackable: Whether the perturbation moves the first feature too; False in the paper (eq. 16).

        Raises:
            ValueError: A number is out of range.
        """
        w, radius = _checked("w", w, finite=False), _checked("radius", radius)
        offset = _finite("bias", bias)
        p_plus, p_minus, _, _, _ = self._numbers()
        return ClassAccuracies(
            self._accuracy(p_plus, w, radius, offset, first_attackable),
            self._accuracy(p_minus, w, radius, -offset, first_attackable),
        )

    def slopes(self, w: Numbers, radius: Numbers = 0.0, first_attackable: bool = False) -> ClassSlopes:
        """Derivatives of :meth:`accuracies` by w, without bias: theorem 4 in the limit of a small step.

        They rise with the reliability of the first feature for every w and radius (first feature attackable: radius up to
        1), so with a growing w the hard class always loses more and gains less.

        Args:
            w: As in :meth:`accuracies`, finite.
            radius: l_inf radius of the test, (...), at least 0.
            first_attackable: As in :meth:`accuracies`.

        Raises:
            ValueError: A number is out of range.
        """
        w, radius = _checked("w", w), _checked("radius", radius)
        p_plus, p_minus, _, _, _ = self._numbers()
        centre, spread, moved = self._centre(radius), self._spread(), radius if first_attackable else np.zeros(())
        rising = (1 - moved) * _density((centre + (1 - moved) * w) / spread) / spread
        falling = (1 + moved) * _density((centre - (1 + moved) * w) / spread) / spread
        return ClassSlopes(p_plus * rising - (1 - p_plus) * falling, p_minus * rising - (1 - p_minus) * falling)

    def best_weight(self, radius: Numbers = 0.0, first_attackable: bool = False) -> Floats:
        """The w with the largest average accuracy without bias: what training at a radius leads to (CFA, theorem 2).

        In the paper's convention it is ``sigma^2 ln(p / (1 - p)) / (2 (eta - radius))``, p the mean of p_plus and p_minus,
        and grows with the radius; from radius eta on only the first feature is looked at. Where the first feature can be
        attacked the weight need not grow: a perturbation of it is worth more the larger w, and the best w may fall to 0
        before it jumps to infinity.

        Args:
            radius: l_inf radius of training, (...), at least 0.
            first_attackable: As in :meth:`accuracies`.

        Returns:
            (...), at least 0; ``inf`` where only the first feature is looked at, 0 where only the others are.

        Raises:
            ValueError: The radius is out of range.
        """
        p_plus, p_minus, _, _, _ = self._numbers()
        return self._best(_checked("radius", radius), (p_plus + p_minus) / 2, first_attackable)

    def best_weight_of_class(self, radius: Numbers = 0.0, first_attackable: bool = False) -> ClassWeights:
        """The w at which each class has its largest accuracy without bias (CFA, theorem 3, at radius 0).

        In the paper's convention the accuracy of a class rises up to its weight and falls after it.

        Args:
            radius: l_inf radius of the test, (...), at least 0.
            first_attackable: As in :meth:`accuracies`.

        Raises:
            ValueError: The radius is out of range.
        """
        size = _checked("radius", radius)
        p_plus, p_minus, _, _, _ = self._numbers()
        return ClassWeights(self._best(size, p_plus, first_attackable), self._best(size, p_minus, first_attackable))

    def best_with_bias(self, radius: Numbers = 0.0) -> WeightAndBias:
        """The w and bias with the largest average accuracy, the first feature left alone.

        The accuracy is a sum of a function of w + bias (what is asked of the weak features where x1 = 1) and one of
        w - bias (where x1 = -1), so each has its own maximum. At radius 0 no classifier of any form is better: it decides
        by which class is likelier. With the first feature attackable the two parts are tied, and no formula is known here.

        Args:
            radius: l_inf radius of training, (...), at least 0; from eta on the answer is ``w = inf`` and bias 0.

        Raises:
            ValueError: The radius is out of range.
        """
        p_plus, p_minus, eta, sigma, _ = self._numbers()
        margin = eta - _checked("radius", radius)
        above, below = np.log(p_plus / (1 - p_minus)), np.log(p_minus / (1 - p_plus))
        room = margin > 0
        scale = sigma**2 / (4 * np.where(room, margin, 1))
        return WeightAndBias(
            np.where(room, scale * (above + below), np.inf), np.where(room, scale * (above - below), 0.0)
        )

    def _accuracy(self, share: Floats, w: Floats, radius: Floats, offset: Floats, first_attackable: bool) -> Floats:
        """Accuracy where the first feature is right with probability ``share`` and the score gains ``offset``."""
        centre, spread = self._centre(radius) + offset, self._spread()
        moved = radius if first_attackable else np.zeros(())
        with np.errstate(invalid="ignore"):
            # At a radius of 1 nothing is left of the first feature where it was right; who looks at it alone has no answer.
            right = np.where((moved == 1) & np.isinf(w), -np.inf, (1 - moved) * w)
        right, wrong = ndtr((centre + right) / spread), ndtr((centre - (1 + moved) * w) / spread)
        accuracy: Floats = share * right + (1 - share) * wrong
        return accuracy

    def _best(self, radius: Floats, share: Floats, first_attackable: bool) -> Floats:
        """The w with the largest accuracy of a class (or mixture) whose first feature is right with a probability."""
        _, _, eta, sigma, d = self._numbers()
        margin = eta - radius
        moved = radius if first_attackable else np.zeros(())
        with np.errstate(divide="ignore", invalid="ignore"):
            log_odds = np.log(share * (1 - moved) / ((1 - share) * (1 + moved)))
            # The slope by w has the sign of log_odds - 2 margin w / sigma^2 + 2 moved w^2 / (d sigma^2); the smaller root is
            # the only maximum between the ends.
            square = margin**2 - 2 * moved * sigma**2 * log_odds / d
            root = sigma**2 * log_odds / (margin + np.sqrt(square))
            inner = np.where((margin > 0) & (log_odds >= 0) & (square >= 0), root, 0.0)
        at_inner = self._accuracy(share, inner, radius, np.zeros(()), first_attackable)
        at_end = self._accuracy(share, np.asarray(np.inf), radius, np.zeros(()), first_attackable)
        # Without an attack on the first feature the slope changes its sign once at most: no comparison that could round.
        to_the_end = np.where(moved == 0, margin <= 0, at_end > at_inner)
        best: Floats = np.where(to_the_end, np.inf, inner)
        return best

    def _centre(self, radius: Floats) -> Floats:
        """Mean of the sum of the weak features in class +1, under attack."""
        _, _, eta, _, d = self._numbers()
        return d * (eta - radius)

    def _spread(self) -> Floats:
        """Standard deviation of the sum of the weak features."""
        _, _, _, sigma, d = self._numbers()
        spread: Floats = sigma * np.sqrt(d)
        return spread

    def _numbers(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """All five parameters, on one grid."""
        p_plus, p_minus, eta, sigma, d = np.broadcast_arrays(self.p_plus, self.p_minus, self.eta, self.sigma, self.d)
        return p_plus, p_minus, eta, sigma, d


def _density(z: Floats) -> Floats:
    density: Floats = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return density


def _checked(name: str, values: Numbers, finite: bool = True) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if not (numbers >= 0).all() or (finite and not np.isfinite(numbers).all()):
        raise ValueError(f"{name} must be {'finite and ' if finite else ''}at least 0")
    return numbers


def _finite(name: str, values: Numbers) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite")
    return numbers
