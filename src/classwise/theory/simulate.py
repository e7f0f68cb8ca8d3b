"""Monte Carlo for the models of the papers: draw points, perturb each at worst, count the errors.

Nothing here knows a closed form: all features are drawn, each point is moved by its own worst perturbation, and the
classifier answers. What comes back are shares with their intervals, to be held against the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from classwise.metrics.intervals import wilson

if TYPE_CHECKING:
    from classwise.theory.gaussian_mixture import GaussianPair, Linear
    from classwise.theory.noisy_feature import NoisyFeature

Floats = npt.NDArray[np.float64]

CHUNK = 1 << 21
"""Numbers drawn at a time, 16 MiB: the memory does not grow with the number of points."""


@dataclass(frozen=True)
class Simulated:
    """A simulated probability with its interval.

    Args:
        value: Share of the draws.
        low: Lower limit of the interval.
        high: Upper limit.
        n: Number of draws.
    """

    value: float
    low: float
    high: float
    n: int


def proportion(hits: npt.NDArray[np.bool_]) -> Simulated:
    """Share of the draws that hit, with its 95 % Wilson interval.

    Args:
        hits: One truth value per draw, any shape, at least one.

    Raises:
        ValueError: There is no draw.

    >>> proportion(np.array([True, False, False, False])).value
    0.25
    """
    return _counted(int(np.count_nonzero(hits)), hits.size)


def draw_class(pair: GaussianPair, label: int, n: int, generator: np.random.Generator) -> Floats:
    """Points of one of two Gaussian classes.

    Args:
        pair: The two classes, one set of parameters (no grid). Coordinates that occur several times are drawn so often.
        label: +1 or -1.
        n: Number of points.
        generator: Where the draws come from.

    Returns:
        Points (n, D), D counting every coordinate as often as it occurs.

    Raises:
        ValueError: The label is neither +1 nor -1, the pair is a grid, or ``times`` holds numbers that are not whole.
    """
    if label not in (1, -1):
        raise ValueError(f"label {label} is unknown: the classes are +1 and -1")
    theta, mid = _expanded(pair, pair.theta, pair.mid)
    spread = _one("sigma_plus", pair.sigma_plus) if label == 1 else _one("sigma_minus", pair.sigma_minus)
    return mid + label * theta + spread * generator.standard_normal((n, len(theta)))


def simulate_pair(
    pair: GaussianPair, classifier: Linear, radius: float, samples: int, seed: int, lam: float | None = None
) -> tuple[Simulated, Simulated]:
    """Class errors of a linear classifier between two Gaussians, each point moved at worst in l_inf.

    Args:
        pair: The two classes, one set of parameters (no grid). Coordinates that occur several times are drawn so often.
        classifier: A linear classifier for it.
        radius: l_inf radius of the perturbation, at least 0.
        samples: Points drawn per class, at least 1.
        seed: Seed of the draws.
        lam: With a number in [0, 1], each point is ``lam x + (1 - lam) x'`` of two draws of the class (same-class mixup).

    Returns:
        Errors of class +1 and of class -1.

    Raises:
        ValueError: The pair or the classifier is a grid, ``times`` holds numbers that are not whole, or a number is out of
            range.
    """
    _check(radius, samples)
    if lam is not None and not 0 <= lam <= 1:
        raise ValueError(f"lam {lam:g} is out of range: the share of the first of two points lies in [0, 1]")
    weight, used, mid = _expanded(pair, classifier.weight, classifier.times, pair.mid)
    weight = np.where(_copy_numbers(pair) < used, weight, 0)
    intercept = _one("offset", classifier.offset) - float(weight @ mid)

    def wrong(label: int, n: int, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
        x = draw_class(pair, label, n, generator)
        if lam is not None:
            x = lam * x + (1 - lam) * draw_class(pair, label, n, generator)
        x -= label * radius * np.sign(weight)
        return label * (x @ weight + intercept) <= 0

    plus, minus = _per_class(wrong, samples, seed, (1 if lam is None else 2) * len(mid))
    return plus, minus


def simulate_noisy_feature(
    model: NoisyFeature,
    w: float,
    samples: int,
    seed: int,
    radius: float = 0.0,
    bias: float = 0.0,
    first_attackable: bool = False,
) -> tuple[Simulated, Simulated]:
    """Class accuracies of ``sign(w x_1 + x_2 + ... + x_(d+1) + bias)`` on one noisy and d Gaussian features (CFA).

    The first feature is y with probability p_y and -y else; the others are drawn from ``N(eta y, sigma^2)``.

    Args:
        model: The data, one set of parameters (no grid).
        w: Weight of the first feature against the others, at least 0; infinite looks at the first feature alone.
        samples: Points drawn per class, at least 1.
        seed: Seed of the draws.
        radius: l_inf radius of the perturbation, at least 0.
        bias: Constant in the sum, in units of the Gaussian features.
        first_attackable: Whether the perturbation moves the first feature too; CFA leaves it alone.

    Returns:
        Accuracies (not errors) of class +1 and of class -1.

    Raises:
        ValueError: The model is a grid, or a number is out of range.
    """
    _check(radius, samples)
    if not w >= 0:
        raise ValueError(f"w {w:g} is out of range: the weight of the first feature is at least 0")
    right = {1: _one("p_plus", model.p_plus), -1: _one("p_minus", model.p_minus)}
    eta, sigma = _one("eta", model.eta), _one("sigma", model.sigma)
    d = _whole("d", model.d)

    def correct(label: int, n: int, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
        first = np.where(generator.random(n) < right[label], label, -label).astype(np.float64)
        others = label * eta + sigma * generator.standard_normal((n, d))
        others -= label * radius
        if first_attackable and w > 0:
            first -= label * radius
        score = first if np.isinf(w) else w * first + others.sum(1) + bias
        return label * score > 0

    plus, minus = _per_class(correct, samples, seed, d + 1)
    return plus, minus


def _per_class(
    hit: Callable[[int, int, np.random.Generator], npt.NDArray[np.bool_]], samples: int, seed: int, features: int
) -> Iterator[Simulated]:
    """Draw each class by a generator of its own, some points at a time."""
    at_once = max(1, CHUNK // features)
    for label, generator in zip((1, -1), np.random.default_rng(seed).spawn(2), strict=True):
        hits = sum(
            int(np.count_nonzero(hit(label, min(at_once, samples - start), generator)))
            for start in range(0, samples, at_once)
        )
        yield _counted(hits, samples)


def _counted(hits: int, n: int) -> Simulated:
    if n < 1:
        raise ValueError("there is no draw, so there is no share: draw at least one point")
    low, high = wilson(hits, n)
    return Simulated(hits / n, float(low), float(high), n)


def _expanded(pair: GaussianPair, *features: npt.ArrayLike) -> Iterator[Floats]:
    """Numbers per coordinate, each as often as its coordinate occurs."""
    counts = _counts(pair)
    for each in features:
        values = np.asarray(each, dtype=np.float64)
        if values.ndim > 1:
            raise ValueError(f"a grid of shape {values.shape[:-1]} was given: simulate one set of parameters at a time")
        yield np.repeat(values, counts)


def _copy_numbers(pair: GaussianPair) -> npt.NDArray[np.int64]:
    """0, 1, ... for the copies of each coordinate."""
    return np.concatenate([np.arange(count) for count in _counts(pair)])


def _counts(pair: GaussianPair) -> npt.NDArray[np.int64]:
    times = np.asarray(pair.times)
    if (times % 1 != 0).any():
        raise ValueError("times holds numbers that are not whole: points can be drawn only for whole coordinates")
    if times.ndim > 1:
        raise ValueError(f"a grid of shape {times.shape[:-1]} was given: simulate one set of parameters at a time")
    return times.astype(np.int64)


def _check(radius: float, samples: int) -> None:
    if not 0 <= radius < np.inf:
        raise ValueError(f"radius {radius:g} is out of range: it is finite and at least 0")
    if samples < 1:
        raise ValueError(f"samples {samples} is out of range: draw at least one point per class")


def _one(name: str, values: npt.ArrayLike) -> float:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size != 1:
        raise ValueError(f"{name} holds {numbers.size} numbers: simulate one set of parameters at a time")
    return float(numbers.reshape(()))


def _whole(name: str, values: npt.ArrayLike) -> int:
    number = _one(name, values)
    if number % 1 != 0 or number < 0:
        raise ValueError(f"{name} {number:g} is no number of features: points can be drawn only for whole features")
    return int(number)
