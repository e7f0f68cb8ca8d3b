"""Gaussians fitted to the penultimate features of a classifier, and the class-wise errors they predict. Experimental.

For labels i and j the last layer prefers i where the margin ``m = <w_i - w_j, h> + b_i - b_j`` of the features h is above
0. Two fits of the features of class i are made:

- "along": the margins (m for every j) of class i are jointly normal with their own means and covariances, which is what a
  Gaussian with any covariance becomes along the directions w_i - w_j. For one pair that is a mean and a standard deviation.
- "isotropic": the model of the papers, :class:`GaussianPair`: every coordinate of h has the same variance, one for a class.

An attack is modelled as in the papers: it moves the features of a class and leaves their spread as it is. How far, the
feature-space radius of the pair, is the mean fall of the margin from clean to attacked images, at least 0. A point is
robustly right where it is right before and after the move.

Every prediction is made twice, from one half of the images of each class for the other half, and averaged, so no image
takes part in its own prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from classwise.theory.features import Features, Floats
from classwise.theory.gaussian_mixture import GaussianPair

AT_LEAST = 8
"""Images of a class without which nothing is fitted to it: four in each half."""
AT_ONCE = 4096


@dataclass(frozen=True)
class PairErrors:
    """Closed-form error of class i against class j alone, (K, K), nan on the diagonal.

    Args:
        clean: Probability that the margin of i over j is negative.
        robust: The same, or negative after the move.
    """

    clean: Floats
    robust: Floats


@dataclass(frozen=True)
class Predicted:
    """Class-wise errors of one of the two fits.

    Args:
        clean: (K,) probability of any other class winning, by Monte Carlo of the Gaussian through the layer.
        robust: (K,) the same before or after the move.
        pairs: Errors of the pairs; the largest of a row is a lower bound of the class's error, their sum an upper one.
    """

    clean: Floats
    robust: Floats
    pairs: PairErrors

    def at_least(self) -> tuple[Floats, Floats]:
        """(K,) lower bounds of the clean and of the robust errors: the largest pair."""
        return np.nanmax(self.pairs.clean, 1), np.nanmax(self.pairs.robust, 1)


@dataclass(frozen=True)
class Fitted:
    """What was fitted to all images of each class, for reading, and what the halves predict.

    Args:
        mean: (K, K) mean margin of class i over j, in logits.
        sd: (K, K) its standard deviation.
        radius: (K, K) mean fall of the margin under attack, in logits; may be negative where the attack goes elsewhere.
        length: (K, K) Euclidean length of w_i - w_j: divides the three into units of the features.
        attacked_sd: (K, K) standard deviation of the margin under attack; the model has it equal to ``sd``.
        spread: (K,) standard deviation of a coordinate in the isotropic fit.
        along: Predictions of the fit along the directions.
        isotropic: Predictions of the isotropic fit.
        attacked: (K,) errors under attack of Gaussians fitted to the attacked margins themselves. It models no attack and
            shows what of a misfit comes from the shape, and what from the attack being a common move.
    """

    mean: Floats
    sd: Floats
    radius: Floats
    length: Floats
    attacked_sd: Floats
    spread: Floats
    along: Predicted
    isotropic: Predicted
    attacked: Floats


def fit(features: Features, seed: int = 0, samples: int = 20000) -> Fitted:
    """Fit Gaussians to features and predict class-wise errors.

    Args:
        features: Of at least :data:`AT_LEAST` images of each class.
        seed: Of the Monte Carlo.
        samples: Its points for each class and half.

    Raises:
        ValueError: A class has too few images, or there are fewer than two classes or no points.
    """
    classes = len(features.names)
    if classes < 2:
        raise ValueError("one class alone is never taken for another: give features of two classes at least")
    if samples < 1:
        raise ValueError(f"samples {samples} must be at least 1: 20000 are usual")
    rows = [np.flatnonzero(features.labels == label) for label in range(classes)]
    for name, found in zip(features.names, rows, strict=True):
        if len(found) < AT_LEAST:
            raise ValueError(
                f"class {name!r} has {len(found)} images in the audit and a fit needs {AT_LEAST}: audit more images of each class"
            )
    generator = np.random.default_rng(seed)
    halves = [_Half.of(features, [each[start::2] for each in rows]) for start in (0, 1)]
    # The first half predicts the second and the other way round: each counts as often as images are predicted by it.
    shares = np.array([[len(each[1 - start :: 2]) / len(each) for each in rows] for start in (0, 1)])
    along = _averaged([half.along(generator, samples) for half in halves], shares)
    isotropic = _averaged([half.isotropic(generator, samples) for half in halves], shares)
    attacked = sum(share * half.attacked(generator, samples) for half, share in zip(halves, shares, strict=True))
    whole = _Half.of(features, rows)
    return Fitted(
        mean=whole.mean,
        sd=whole.sd,
        radius=whole.radius,
        length=whole.length,
        attacked_sd=whole.attacked_sd,
        spread=whole.spread,
        along=along,
        isotropic=isotropic,
        attacked=np.asarray(attacked),
    )


@dataclass(frozen=True)
class _Half:
    """Moments of some images of each class; shapes as in :class:`Fitted`."""

    features: Features
    rows: list[NDArray[np.int64]]
    mean: Floats
    sd: Floats
    radius: Floats
    length: Floats
    attacked_sd: Floats
    spread: Floats
    centre: Floats
    """(K, D) mean features."""

    @classmethod
    def of(cls, features: Features, rows: list[NDArray[np.int64]]) -> _Half:
        weight, classes = features.weight, len(rows)
        length = np.stack([np.linalg.norm(row - weight, axis=-1) for row in weight])
        pairs = {name: np.empty((classes, classes)) for name in ("mean", "sd", "radius", "attacked_sd")}
        clean, attacked = features.logits(), features.logits(attacked=True)
        spread, centre = np.empty(classes), np.empty_like(weight)
        for label, own in enumerate(rows):
            margin, after = _margins(clean[own], label), _margins(attacked[own], label)
            pairs["mean"][label], pairs["sd"][label] = margin.mean(0), margin.std(0, ddof=1)
            pairs["radius"][label], pairs["attacked_sd"][label] = (margin - after).mean(0), after.std(0, ddof=1)
            centre[label] = features.clean[own].mean(0)
            spread[label] = np.sqrt(features.clean[own].var(0, ddof=1).mean())
            if spread[label] == 0:
                raise ValueError(
                    f"the features of class {features.names[label]!r} are the same for all its images, so they have no "
                    "Gaussian: train the network further"
                )
        return cls(features, rows, **pairs, length=length, spread=spread, centre=centre)

    @property
    def moved(self) -> Floats:
        """(K, K) how far the attack takes the margins down: a fall below 0 harms nobody."""
        return np.maximum(self.radius, 0)

    def along(self, generator: np.random.Generator, samples: int) -> Predicted:
        """Predictions of the normal margins."""
        clean = np.stack([_below(mean, sd) for mean, sd in zip(self.mean, self.sd, strict=True)])
        robust = np.stack([_below(mean, sd) for mean, sd in zip(self.mean - self.moved, self.sd, strict=True)])
        logits, errors = self.features.logits(), []
        for label, own in enumerate(self.rows):
            factor = _factor(logits[own], label)
            errors.append(_through(self.mean[label], factor, self.moved[label], label, generator, samples))
        return _predicted(errors, PairErrors(_no_diagonal(clean), _no_diagonal(robust)))

    def attacked(self, generator: np.random.Generator, samples: int) -> Floats:
        """(K,) errors of normal margins with the moments that the attacked images have."""
        logits, errors = self.features.logits(attacked=True), []
        still = np.zeros(len(self.rows))
        for label, own in enumerate(self.rows):
            mean = _margins(logits[own], label).mean(0)
            errors.append(_through(mean, _factor(logits[own], label), still, label, generator, samples)[1])
        return np.array(errors)

    def isotropic(self, generator: np.random.Generator, samples: int) -> Predicted:
        """Predictions of one variance for all coordinates of a class."""
        weight, bias = self.features.weight, self.features.bias
        classes = len(weight)
        clean, robust = np.full((classes, classes), np.nan), np.full((classes, classes), np.nan)
        root = _triangle(weight.T)
        errors = []
        for i in range(classes):
            j = np.flatnonzero(np.arange(classes) != i)
            middle = (self.centre[i] + self.centre[j]) / 2
            pair = GaussianPair(
                theta=(self.centre[i] - self.centre[j]) / 2,
                sigma_plus=self.spread[i],
                sigma_minus=self.spread[j],
                mid=middle,
            )
            direction = weight[i] - weight[j]
            offset = ((direction * middle).sum(-1) + bias[i] - bias[j]) / self.length[i, j]
            plane = pair.linear(direction, offset)
            clean[i, j] = pair.errors(plane).plus
            # The pair counts radii in l_inf: moving h by r in every coordinate moves a margin by r |w_i - w_j|_1.
            robust[i, j] = pair.errors(plane, self.moved[i, j] / np.abs(direction).sum(-1)).plus
            factor = self.spread[i] * _margins(root, i)
            errors.append(_through(self.mean[i], factor, self.moved[i], i, generator, samples))
        return _predicted(errors, PairErrors(clean, robust))


def _through(
    mean: Floats, factor: Floats, moved: Floats, label: int, generator: np.random.Generator, samples: int
) -> tuple[float, float]:
    """Clean and robust error of a class whose margins are ``mean + g @ factor`` with standard normal g, by Monte Carlo."""
    others = np.arange(len(mean)) != label
    mean, factor, moved = mean[others], factor[:, others], moved[others]
    clean = robust = 0
    for start in range(0, samples, AT_ONCE):
        drawn = mean + generator.standard_normal((min(AT_ONCE, samples - start), len(factor))) @ factor
        clean += int((drawn.min(1) < 0).sum())
        robust += int(((drawn - moved).min(1) < 0).sum())
    return clean / samples, robust / samples


def _factor(logits: Floats, label: int) -> Floats:
    """What gives normal numbers exactly the covariance that the margins of N images have, (min(N, K), K)."""
    centred = _margins(logits - logits.mean(0), label) / np.sqrt(len(logits) - 1)
    return _triangle(centred)


def _triangle(rows: Floats) -> Floats:
    """R with at most as many rows as columns and ``R.T @ R`` that of the rows; unlike a root it needs no full rank."""
    return np.asarray(np.linalg.qr(rows, mode="r"))


def _predicted(errors: list[tuple[float, float]], pairs: PairErrors) -> Predicted:
    clean, robust = zip(*errors, strict=True)
    return Predicted(np.array(clean), np.array(robust), pairs)


def _margins(logits: Floats, label: int) -> Floats:
    """(N, K) how far a label is above every class, itself included, in logits (N, K)."""
    return logits[:, [label]] - logits


def _below(mean: Floats, sd: Floats) -> Floats:
    """Probability that normal numbers are negative; a point without spread is or is not."""
    return np.where(sd > 0, ndtr(-mean / np.where(sd > 0, sd, 1)), (mean < 0).astype(np.float64))


def _no_diagonal(values: Floats) -> Floats:
    return np.where(np.eye(len(values), dtype=bool), np.nan, values)


def _averaged(made: list[Predicted], shares: Floats) -> Predicted:
    """Mean of what the halves predict, each class by its own shares (halves, K)."""

    def mean(values: list[Floats]) -> Floats:
        weights = shares if values[0].ndim == 1 else shares[:, :, None]
        total: Floats = (np.stack(values) * weights).sum(0)
        return total

    return Predicted(
        mean([each.clean for each in made]),
        mean([each.robust for each in made]),
        PairErrors(mean([each.pairs.clean for each in made]), mean([each.pairs.robust for each in made])),
    )
