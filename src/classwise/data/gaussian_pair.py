"""Two Gaussian classes as a data set: the distributions of FRL and of same-class mixup."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from classwise.configuration import config
from classwise.data.known_truth import (
    DEVIATIONS,
    GREY,
    Floats,
    KnownTruth,
    LinearWeights,
    as_weights,
    for_images,
    signed,
)
from classwise.registry import register

if TYPE_CHECKING:
    from classwise.theory.gaussian_mixture import GaussianPair

# Float32 numbers between 1/2 and 1 lie 2**-24 apart, so that what is stored and what a classifier makes of it is off by about
# that: 0.0006 standard deviations at this spread. A threshold that is off by as much moves a class error by less than 0.0003
# (0.4, the greatest density, times it); chance moves that of a thousand images fifty times as far.
# Long sums of a float32 layer are off by more: measured at this spread, no answer in 8000 changed with 10 values per image, and
# 0.5 % of them with 1000.
SMALLEST = 1e-4
"""Smallest standard deviation of a class in units of the pixel range."""


@register("data", "gaussian-pair")
@config
class GaussianPairData(KnownTruth):
    """Two Gaussian classes of vectors, with the exact errors of the best linear classifier.

    Class +1 is ``N(mid + theta, (ratio sigma)^2 I)``, class -1 is ``N(mid - theta, sigma^2 I)``; theta is eta in the first d
    coordinates and gamma in m more. Images have one channel and one row of d + m values.

    With the defaults of gamma, m, mid and prior this is the model of FRL (ICML 2021); with m coordinates of another mean that
    of its first version on arXiv. Same-class mixup has means mu_+ and -mu_-: eta is (mu_+ + mu_-) / 2 and mid
    (mu_+ - mu_-) / 2.
    """

    eta: float = 0.5
    """Half the distance of the means in each of d coordinates, above 0."""
    d: int = 10
    """Number of coordinates with this mean, at least 1."""
    gamma: float = 0.0
    """Half the distance of the means in each of m more coordinates, at least 0."""
    m: int = 0
    """Number of coordinates with that mean."""
    ratio: float = 2.0
    """Standard deviation of class +1 over that of class -1 (K of the papers), above 0."""
    sigma: float = 1.0
    """Standard deviation of class -1, above 0."""
    prior: float = 0.5
    """Share of class +1, strictly between 0 and 1."""
    mid: float = 0.0
    """Middle of the two means, in every coordinate."""

    def check(self) -> None:
        """Refuse numbers out of range."""
        for name in ("eta", "gamma", "ratio", "sigma", "prior", "mid"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)} must be a finite number")
        for name in ("eta", "ratio", "sigma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} must be above 0")
        if self.gamma < 0:
            raise ValueError(f"gamma {self.gamma} must be at least 0: it is half a distance")
        if self.d < 1 or self.m < 0:
            raise ValueError(f"d {self.d} must be at least 1 and m {self.m} at least 0: they count coordinates")
        if not 0 < self.prior < 1:
            raise ValueError(f"prior {self.prior} must lie strictly between 0 and 1: both classes have a share")
        spread = self.unit * self.sigma * min(1.0, self.ratio)
        if spread < SMALLEST:
            raise ValueError(
                f"mid {self.mid}, sigma {self.sigma} and ratio {self.ratio} leave a standard deviation of {spread:.3g} of the "
                f"pixel range, and float32 images hold {SMALLEST:g} at the least: take mid, eta and gamma nearer to 0, or ratio "
                "nearer to 1"
            )
        super().check()

    @property
    def class_names(self) -> tuple[str, ...]:
        """See :class:`KnownTruth`."""
        return ("+1", "-1")

    @property
    def shares(self) -> tuple[float, ...]:
        """See :class:`KnownTruth`."""
        return (self.prior, 1 - self.prior)

    @property
    def shape(self) -> tuple[int, int, int]:
        """See :class:`KnownTruth`."""
        return (1, 1, self.d + self.m)

    @property
    def reach(self) -> float:
        """See :class:`KnownTruth`."""
        return abs(self.mid) + self.room + DEVIATIONS * self.sigma * max(1.0, self.ratio)

    @property
    def room(self) -> float:
        """The larger half-distance of the means: attacked further, no coordinate tells the classes apart."""
        return max(self.eta, self.gamma if self.m else 0.0)

    @property
    def pair(self) -> GaussianPair:
        """The distribution, in units of the model; all theory starts from it."""
        from classwise.theory.gaussian_mixture import GaussianPair

        theta = np.repeat([self.eta, self.gamma], [self.d, self.m])
        return GaussianPair(
            theta=theta,
            sigma_plus=self.ratio * self.sigma,
            sigma_minus=self.sigma,
            prior=self.prior,
            mid=np.full_like(theta, self.mid),
        )

    def draw(self, labels: npt.NDArray[np.int64], generator: np.random.Generator) -> Floats:
        """See :class:`KnownTruth`."""
        values = self.mid + pair_values(self.pair, labels == 0, generator)
        return GREY + self.unit * values.reshape(-1, *self.shape)

    def exact_errors(self, radius: float | str, trained_radius: float | str | None = None) -> Floats:
        """See :class:`KnownTruth`; of class +1, then of class -1."""
        size, trained = self._radii(radius, trained_radius)
        return np.array(self.pair.errors(self.pair.best_linear(trained), size))

    def optimal_weights(self, radius: float | str = 0.0) -> LinearWeights:
        """See :class:`KnownTruth`."""
        weight, bias = best_plane(self.pair, self.model_radius(radius))
        return as_weights(*for_images(*signed(weight, bias), self.unit))


def pair_values(pair: GaussianPair, is_plus: npt.NDArray[np.bool_], generator: np.random.Generator) -> Floats:
    """Draws (N, D) of the two classes, relative to the middle of their means.

    Args:
        pair: Numbers, not grids; every coordinate given once.
        is_plus: (N,), of which class each draw is.
        generator: Where they are drawn from.
    """
    theta = np.asarray(pair.theta)
    spread = np.where(is_plus, pair.sigma_plus, pair.sigma_minus)[:, None]
    values: Floats = np.where(is_plus[:, None], theta, -theta) + spread * generator.standard_normal(
        (len(is_plus), len(theta))
    )
    return values


def best_plane(pair: GaussianPair, radius: float) -> tuple[Floats, float]:
    """Unit weights (D,) and intercept of the best linear classifier at a radius, in units of the model.

    Where it answers the same for everything the weights are 0 and the intercept is 1 or -1.
    """
    best = pair.best_linear(radius)
    if np.isinf(best.offset):
        return np.zeros_like(best.weight), float(np.sign(best.offset))
    return best.weight, float(pair.intercept(best))
