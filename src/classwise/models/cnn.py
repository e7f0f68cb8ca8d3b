"""Plain convolutional networks of three and four layers."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@config
class PlainCNN(ModelBuilder):
    """Base class of 3x3 convolutions with ReLU and 2x2 maximum pooling, and a linear head on all that is left."""

    layers: ClassVar[int]
    """Number of convolutions."""

    width: int = 32
    """Channels of the first convolution; every further one has twice as many."""

    def check(self) -> None:
        """Refuse widths below 1."""
        if self.width < 1:
            raise ValueError(f"width {self.width} of a convolutional network must be at least 1")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: Images are so small that pooling leaves nothing of them.
        """
        channels, height, width = shape
        least = 2**self.layers
        if min(height, width) < least:
            raise ValueError(
                f"images of {height}x{width} pixels are too small to be halved {self.layers} times: use images of "
                f"{least} pixels or more, or the network small-cnn"
            )
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for number in range(self.layers):
            leaving = self.width * 2**number
            parts[f"conv{number + 1}"] = nn.Conv2d(channels, leaving, 3, padding=1)
            parts[f"relu{number + 1}"] = nn.ReLU()
            parts[f"pool{number + 1}"] = nn.MaxPool2d(2)
            channels = leaving
        parts["flat"] = nn.Flatten()
        parts["head"] = nn.Linear(channels * (height // least) * (width // least), classes)
        return nn.Sequential(parts)


@register("model", "cnn3")
@config
class CNN3(PlainCNN):
    """Three 3x3 convolutions, each with ReLU and 2x2 maximum pooling, and a linear head.

    Source: "3-layer CNN" for the 43 classes of GTSRB in Xu et al., "To be robust or to be fair", arXiv:2010.06121v1,
    appendix. The paper says no more of it: that layers are convolutions, their widths and the pooling are ours.
    """

    layers: ClassVar[int] = 3


@register("model", "cnn4")
@config
class CNN4(PlainCNN):
    """Four 3x3 convolutions, each with ReLU and 2x2 maximum pooling, and a linear head.

    Source: "4-layer CNN" for 17 classes of GTSRB in Xu et al., "To be robust or to be fair", arXiv:2010.06121v1, table
    3. The paper says no more of it: that layers are convolutions, their widths and the pooling are ours.
    """

    layers: ClassVar[int] = 4
