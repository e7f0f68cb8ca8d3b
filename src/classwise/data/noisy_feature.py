"""CFA's noisy-feature model as a data set."""

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
    from classwise.theory.noisy_feature import NoisyFeature

STARTS = 61
"""Points on each axis of the grid on which the search for the best classifier begins."""


@register("data", "noisy-feature")
@config
class NoisyFeatureData(KnownTruth):
    """CFA's easy class (+1) and hard class (-1): one feature that is wrong at times, and d weak Gaussian ones.

    The first value is the label with probability p_plus in class +1 and p_minus in class -1, and its negative else; the others
    are drawn from ``N(eta y, sigma^2)``. The defaults of eta and d give the same clean errors as 0.4 and 1 do. Images have one
    channel and one row of d + 1 values. An attack on images moves all of them, the first feature too; CFA's paper leaves it
    alone, which is the same without an attack.

    The exact errors are those of the best linear classifier with an intercept. Without attack no classifier of any form
    is better. The paper's classifiers have no intercept: ``source.model.accuracies(w)`` knows theirs.
    """

    p_plus: float = 0.85
    """How often the first feature is right in class +1, from p_minus to below 1."""
    p_minus: float = 0.7
    """The same in class -1, from 1/2."""
    eta: float = 0.2
    """Mean of the weak features in class +1, above 0 and below 1/2."""
    sigma: float = 0.6**0.5
    """Standard deviation of the weak features, above 0."""
    d: int = 4
    """Number of weak features, at least 1."""

    def check(self) -> None:
        """Refuse numbers out of range."""
        if not 0.5 <= self.p_minus <= self.p_plus < 1:
            raise ValueError(
                f"p_minus {self.p_minus} and p_plus {self.p_plus} must satisfy 1/2 <= p_minus <= p_plus < 1: class -1 is the "
                "hard one, and the first feature is right at least as often as wrong"
            )
        if not 0 < self.eta < 0.5:
            raise ValueError(
                f"eta {self.eta} must lie strictly between 0 and 1/2: attacks of up to 2 eta are asked about, and one of 1 "
                "would turn the first feature round"
            )
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma {self.sigma} must be a finite number above 0")
        if self.d < 1:
            raise ValueError(f"d {self.d} must be at least 1: it counts the weak features")
        super().check()

    @property
    def class_names(self) -> tuple[str, ...]:
        """See :class:`KnownTruth`."""
        return ("+1", "-1")

    @property
    def shape(self) -> tuple[int, int, int]:
        """See :class:`KnownTruth`."""
        return (1, 1, self.d + 1)

    @property
    def reach(self) -> float:
        """See :class:`KnownTruth`."""
        return max(1.0, self.eta + DEVIATIONS * self.sigma)

    @property
    def room(self) -> float:
        """Twice eta: the radius of the paper's figure 1."""
        return 2 * self.eta

    @property
    def model(self) -> NoisyFeature:
        """The distribution, in its own units; all theory starts from it."""
        from classwise.theory.noisy_feature import NoisyFeature

        return NoisyFeature(p_plus=self.p_plus, p_minus=self.p_minus, eta=self.eta, sigma=self.sigma, d=self.d)

    def draw(self, labels: npt.NDArray[np.int64], generator: np.random.Generator) -> Floats:
        """See :class:`KnownTruth`."""
        y = 1.0 - 2.0 * labels
        right = generator.random(len(y)) < np.where(labels == 0, self.p_plus, self.p_minus)
        weak = self.eta * y[:, None] + self.sigma * generator.standard_normal((len(y), self.d))
        values = np.concatenate([np.where(right, y, -y)[:, None], weak], axis=1)
        return GREY + self.unit * values.reshape(-1, *self.shape)

    def exact_errors(self, radius: float | str, trained_radius: float | str | None = None) -> Floats:
        """See :class:`KnownTruth`; of class +1, then of class -1."""
        size, trained = self._radii(radius, trained_radius)
        w, bias = self.best(trained)
        return 1 - np.array(self.model.accuracies(w, size, bias, first_attackable=True))

    def optimal_weights(self, radius: float | str = 0.0) -> LinearWeights:
        """See :class:`KnownTruth`."""
        w, bias = self.best(self.model_radius(radius))
        weight = np.array([1.0, *(0.0,) * self.d]) if math.isinf(w) else np.array([w, *(1.0,) * self.d])
        return as_weights(*for_images(*signed(weight, bias), self.unit))

    def best(self, radius: float) -> tuple[float, float]:
        """The w and bias of ``sign(w x1 + x2 + ... + x_{d+1} + bias)`` with the least average error under attack.

        Without attack a closed form. Under attack, the first feature moved too, the average accuracy is maximised
        numerically: the best point of a grid, then a simplex search, which gives class errors to about 1e-7. From eta on the
        weak features only do harm, and the best w is infinite.

        Args:
            radius: l_inf radius in units of the model, from 0 to ``room``.
        """
        model = self.model
        if radius == 0:
            clean = model.best_with_bias()
            return float(clean.w), float(clean.bias)
        if radius >= self.eta:
            return math.inf, 0.0
        w, bias, accuracy = _search(model, radius, self.sigma * self.d**0.5)
        only_first = float(model.accuracies(math.inf, radius, first_attackable=True).average())
        return (math.inf, 0.0) if only_first >= accuracy else (w, bias)


def _search(model: NoisyFeature, radius: float, spread: float) -> tuple[float, float, float]:
    """The finite w and bias with the largest average accuracy, and that accuracy."""
    from scipy.optimize import minimize

    def missed(point: Floats, /) -> float:
        w, bias = point
        return 1 - float(model.accuracies(abs(w), radius, bias, first_attackable=True).average())

    clean = model.best_with_bias()
    far = 4 * (float(clean.w) + abs(float(clean.bias)) + spread)
    w, bias = np.meshgrid(np.linspace(0, far, STARTS), np.linspace(-far, far, 2 * STARTS - 1), indexing="ij")
    on_grid = model.accuracies(w, radius, bias, first_attackable=True).average()
    start = np.unravel_index(on_grid.argmax(), on_grid.shape)
    found = minimize(
        missed,
        np.array([w[start], bias[start]], dtype=np.float64),
        method="Nelder-Mead",
        options={"xatol": 1e-9 * spread, "fatol": 1e-16, "maxiter": 2000},
    )
    return abs(float(found.x[0])), float(found.x[1]), 1 - float(found.fun)
