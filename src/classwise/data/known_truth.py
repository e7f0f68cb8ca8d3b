"""Data sets drawn from a distribution whose attainable class-wise errors are known exactly.

The real numbers of a model become pixels by one affine map: 0 of the model is grey 1/2, and one unit of the model is
``unit`` of the pixel range. A change of a pixel by r is a change by ``r / unit`` in the model, so an l_inf radius has the same
factor. The map leaves room: between the outermost mean of a value and the end of the pixel range lie five standard
deviations (``DEVIATIONS``) and the largest radius asked about. A value is clipped, or an attack held up by the end of the
range, less than once in a million values.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.source import DataSource
from classwise.radius import Radius
from classwise.threat import ThreatModel

Floats = npt.NDArray[np.float64]

DEVIATIONS = 5.0
"""Standard deviations between a mean and the end of the pixel range; a normal value lies further out, on both sides
together, 0.57 times in a million."""
GREY = 0.5
"""Where the 0 of a model lies in the pixel range."""
TRAIN, TEST = 0, 1
"""The streams of random numbers of a seed."""


class LinearWeights(NamedTuple):
    """A linear classifier of images, as a linear layer has it: ``layer.load_state_dict(weights._asdict())``.

    Args:
        weight: (classes, values of an image), float32.
        bias: (classes,), float32.
    """

    weight: Tensor
    bias: Tensor


@config
class KnownTruth(DataSource):
    """Base class of data sets with known truth.

    Images are float32, drawn by NumPy's default generator from the seed; training and test images come from streams of their
    own, so that neither changes with the number of the other. Each class has its share of the images exactly, rounded.
    An image of one or two values may be drawn twice, to the last bit of float32; then the same is said of it as of any
    image that is in two roles.
    """

    n_train: int = 4000
    """Training images, of all classes together; validation images are held out of them."""
    n_test: int = 4000
    """Test images."""
    seed: int = 0
    """Seed of the draws; another one gives other images of the same distribution."""

    def check(self) -> None:
        """Refuse data sets that are too small to have every class, and seeds out of range."""
        for name in ("n_train", "n_test"):
            n = getattr(self, name)
            if n < 1 or self._counts(n).min() < 1:
                raise ValueError(
                    f"{name} {n} leaves a class without an image: ask for more (classes have shares of "
                    f"{', '.join(f'{share:.3g}' for share in self.shares)})"
                )
        if not 0 <= self.seed < 1 << 31:
            raise ValueError(f"seed {self.seed} must lie in 0..2147483647")

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class among the images; they sum to 1."""
        return (1 / len(self.class_names),) * len(self.class_names)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """Largest distance of a mean from 0, in units of the model, with its five standard deviations."""

    @property
    @abstractmethod
    def room(self) -> float:
        """Largest l_inf radius that is asked about, in units of the model."""

    @property
    def unit(self) -> float:
        """One unit of the model in units of the pixel range: an l_inf radius of the model times this is that of images."""
        return GREY / (self.reach + self.room)

    @abstractmethod
    def draw(self, labels: npt.NDArray[np.int64], generator: np.random.Generator) -> Floats:
        """Images of some labels (N,), as (N, channels, height, width) before clipping to [0, 1]."""

    @abstractmethod
    def exact_errors(self, radius: float | str, trained_radius: float | str | None = None) -> Floats:
        """Class-wise errors of the best linear classifier, without drawing anything.

        Best is the one with the least error under attack at ``trained_radius``, over all images (classes by their shares).

        Args:
            radius: l_inf radius of the test in units of the pixel range, from 0 (the clean errors) to ``room * unit``.
            trained_radius: l_inf radius the classifier is best at, in the same range. Default: ``radius``, which gives what
                is attainable there.

        Returns:
            (classes,), probabilities of an image of each class that is or can be made wrong.

        Raises:
            ValueError: A radius is out of range.
        """

    @abstractmethod
    def optimal_weights(self, radius: float | str = 0.0) -> LinearWeights:
        """The classifier that :meth:`exact_errors` speaks of, for images: ``z = weight x + bias``, x flattened.

        Args:
            radius: l_inf radius it is best at, as ``trained_radius`` there.

        Raises:
            ValueError: The radius is out of range.
        """

    def load(self) -> Dataset:
        """Draw the training images; test images are drawn when they are asked for."""
        return Dataset(self.registered_name, train=self._role(TRAIN), test=lambda: self._role(TEST), source=self)

    def model_radius(self, radius: float | str) -> float:
        """An l_inf radius of images in units of the model.

        Raises:
            ValueError: It is negative, or larger than the room that images leave.
        """
        beyond = self.beyond(radius)
        if beyond:
            raise ValueError(f"{beyond}; give a smaller one")
        return float(Radius(radius)) / self.unit

    def beyond(self, radius: float | str) -> str:
        """A sentence, without its full stop, on an l_inf radius of images that is larger than the room they leave; else "".

        Raises:
            ValueError: It is negative or no number.
        """
        size, largest = Radius(radius), self.room * self.unit
        if size <= largest * (1 + 1e-9):  # room * unit, written in decimals, is in
            return ""
        return (
            f"radius {size} is larger than {largest:.6g}: images of {self.registered_name!r} leave room for attacks up to "
            f"there ({self.room:g} in units of the model), and beyond it the end of the pixel range would hold them up, so no "
            "exact errors are known"
        )

    def _radii(self, radius: float | str, trained_radius: float | str | None) -> tuple[float, float]:
        return self.model_radius(radius), self.model_radius(radius if trained_radius is None else trained_radius)

    def _role(self, stream: int) -> ClassData:
        generator = np.random.default_rng([self.seed, stream])
        n = self.n_train if stream == TRAIN else self.n_test
        labels = generator.permutation(np.repeat(np.arange(len(self.shares)), self._counts(n)))
        images = np.clip(self.draw(labels, generator), 0, 1).astype(np.float32)
        return ClassData(
            torch.from_numpy(images), torch.from_numpy(labels), self.class_names, name=self.registered_name
        )

    def _counts(self, n: int) -> npt.NDArray[np.int64]:
        ends = np.rint(n * np.cumsum([0.0, *self.shares]))
        counts: npt.NDArray[np.int64] = np.diff(ends).astype(np.int64)
        return counts


def signed(weight: Floats, bias: float) -> tuple[Floats, Floats]:
    """Two logits, class +1 first, whose difference is ``<weight, x> + bias``: weights (2, D) and biases (2,)."""
    halves = np.array([0.5, -0.5])
    return halves[:, None] * weight, halves * bias


def for_images(weight: Floats, bias: Floats, unit: float) -> tuple[Floats, Floats]:
    """Weights (K, D) and biases (K,) that give images the logits that these give the numbers of the model."""
    of_pixels = weight / unit
    return of_pixels, bias - GREY * of_pixels.sum(-1)


def as_weights(weight: Floats, bias: Floats) -> LinearWeights:
    """As float32 tensors."""
    return LinearWeights(torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32)))


def warn_beyond(source: object, threats: Iterable[ThreatModel]) -> None:
    """Warn of attacks for which the exact errors of a data source no longer hold; other sources are passed over."""
    for threat in threats:
        largest = Radius(threat.radius * max(threat.channels)) if threat.channels else threat.radius
        told = source.beyond(largest) if isinstance(source, KnownTruth) and threat.norm == "linf" else ""
        if told:
            warnings.warn(f"{told}; give a smaller radius to compare with them", stacklevel=3)
