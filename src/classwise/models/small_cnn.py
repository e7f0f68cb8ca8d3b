"""A small convolutional network for images of 8 to 32 pixels."""

from __future__ import annotations

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@register("model", "small-cnn")
@config
class SmallCNN(ModelBuilder):
    """Three 3x3 convolutions, the last two with stride 2, and one hidden layer; no BatchNorm.

    Source: own design for the digits (8x8); trains in seconds on a CPU.
    """

    width: int = 32
    """Channels of the first convolution; the others have twice as many."""
    hidden: int = 128
    """Units of the hidden layer."""

    def check(self) -> None:
        """Refuse layers without channels."""
        if self.width < 1 or self.hidden < 1:
            raise ValueError(f"width {self.width} and hidden {self.hidden} must be at least 1")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`."""
        channels, height, width = shape
        features = 2 * self.width * (-(-height // 4)) * (-(-width // 4))
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * self.width, 2 * self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(features, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, classes),
        )
