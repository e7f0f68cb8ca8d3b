"""Images with planted class difficulty: pairs of classes whose exact errors are those of Gaussian pairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from classwise.configuration import config
from classwise.data.gaussian_pair import best_plane, pair_values
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


@register("data", "planted")
@config
class PlantedImages(KnownTruth):
    """Small grey images of several pairs of classes, each as hard as it is made to be, with exact errors.

    The upper quarter of an image tells the pair: one of as many blocks is white, the others are black, without noise. An
    attack would have to move them by half the pixel range. On the pixels below lies a pattern of stripes, of its own direction
    and width in every pair: class "+" has it with amplitude eta, class "-" has its negative, and both have Gaussian noise. So
    within a pair the images are two Gaussian classes.

    The exact errors are those of the best classifier that is linear within each pair, with classes of a pair equally
    frequent. One linear layer on the pixels can be it.
    """

    eta: tuple[float, ...] = (0.4, 0.3, 0.25, 0.2)
    """Amplitude of the pattern of each pair, above 0: the smaller, the harder the pair."""
    noise: tuple[float, ...] = (1.0, 1.0, 1.5, 1.0, 1.0, 1.0, 1.5, 1.0)
    """Standard deviation of the pixels of each class, above 0: of "+" and "-" of the first pair, of the second, …"""
    side: int = 8
    """Height and width of the images, at least 4."""

    def check(self) -> None:
        """Refuse numbers out of range, and more pairs than there are blocks and patterns."""
        if not self.eta or not all(0 < each < math.inf for each in self.eta):
            raise ValueError(f"eta {self.eta} must hold one finite number above 0 for each pair")
        if len(self.noise) != 2 * len(self.eta) or not all(0 < each < math.inf for each in self.noise):
            raise ValueError(
                f"noise {self.noise} must hold one finite number above 0 for each class, two for each of the "
                f"{len(self.eta)} pairs of eta"
            )
        if self.side < 4:
            raise ValueError(f"side {self.side} must be at least 4: blocks and stripes need their pixels")
        most = min(self.side, 2 * math.ceil(math.log2(self._rows)))
        if len(self.eta) > most:
            raise ValueError(
                f"eta has {len(self.eta)} pairs, and images of side {self.side} have blocks and stripes for {most}: take "
                "larger images or fewer pairs"
            )
        super().check()

    @property
    def class_names(self) -> tuple[str, ...]:
        """``1+``, ``1-``, ``2+``, …: the number of the pair and the sign of the pattern."""
        return tuple(f"{pair + 1}{sign}" for pair in range(len(self.eta)) for sign in "+-")

    @property
    def shape(self) -> tuple[int, int, int]:
        """See :class:`KnownTruth`."""
        return (1, self.side, self.side)

    @property
    def reach(self) -> float:
        """See :class:`KnownTruth`."""
        return max(self.eta) + DEVIATIONS * max(self.noise)

    @property
    def room(self) -> float:
        """The largest amplitude: attacked further, no pair can be told apart."""
        return max(self.eta)

    def pattern(self, pair: int) -> Floats:
        """Stripes of a pair: +1 and -1, (rows below the blocks, side); horizontal for even numbers, from 0."""
        rows, columns = np.mgrid[: self._rows, : self.side]
        place = columns if pair % 2 else rows
        stripes: Floats = 1.0 - 2.0 * (place // 2 ** (pair // 2) % 2)
        return stripes

    def pair(self, pair: int) -> GaussianPair:
        """The two classes of a pair (numbered from 0) on the pixels of the pattern, in units of the model."""
        from classwise.theory.gaussian_mixture import GaussianPair

        return GaussianPair(
            theta=self.eta[pair] * self.pattern(pair).ravel(),
            sigma_plus=self.noise[2 * pair],
            sigma_minus=self.noise[2 * pair + 1],
        )

    def draw(self, labels: npt.NDArray[np.int64], generator: np.random.Generator) -> Floats:
        """See :class:`KnownTruth`."""
        images = np.zeros((len(labels), *self.shape))
        for pair in range(len(self.eta)):
            mine = np.flatnonzero(labels // 2 == pair)
            values = pair_values(self.pair(pair), labels[mine] % 2 == 0, generator)
            images[mine, 0, self._band :] = GREY + self.unit * values.reshape(len(mine), self._rows, self.side)
            images[mine, 0, : self._band, self._block(pair)] = 1
        return images

    def exact_errors(self, radius: float | str, trained_radius: float | str | None = None) -> Floats:
        """See :class:`KnownTruth`; in the order of the classes."""
        size, trained = self._radii(radius, trained_radius)
        pairs = [self.pair(number) for number in range(len(self.eta))]
        return np.concatenate([np.array(pair.errors(pair.best_linear(trained), size)) for pair in pairs])

    def optimal_weights(self, radius: float | str = 0.0) -> LinearWeights:
        """See :class:`KnownTruth`.

        The weights of the blocks are so large that, for any image of the data set under any attack within ``room``, the two
        largest logits are those of its own pair.
        """
        size = self.model_radius(radius)
        below = [for_images(*signed(*best_plane(self.pair(k), size)), self.unit) for k in range(len(self.eta))]
        weight = np.zeros((2 * len(self.eta), self.side, self.side))
        weight[:, self._band :] = np.concatenate([each for each, _ in below]).reshape(-1, self._rows, self.side)
        bias = np.concatenate([each for _, each in below])
        # A logit without its blocks is at most this for values in [0, 1], and one of each pair is at least 0. An attack
        # within room leaves over half of the white block's lead: it is below a quarter of the pixel range.
        largest = (np.abs(weight).sum((1, 2)) * GREY + np.abs(bias + GREY * weight.sum((1, 2)))).max()
        for pair in range(len(self.eta)):
            block = self._block(pair)
            weight[2 * pair : 2 * pair + 2, : self._band, block] = (
                4 * largest / (self._band * (block.stop - block.start))
            )
        return as_weights(weight.reshape(len(weight), -1), bias)

    @property
    def _band(self) -> int:
        """Rows of the blocks."""
        return self.side // 4

    @property
    def _rows(self) -> int:
        """Rows of the pattern."""
        return self.side - self._band

    def _block(self, pair: int) -> slice:
        """Columns of the block of a pair."""
        width = self.side // len(self.eta)
        return slice(pair * width, (pair + 1) * width)
