"""A plug-in model with everything that makes resuming hard: dropout (global generator) and BatchNorm (buffers)."""

from torch import nn

from classwise import config, register
from classwise.models import ModelBuilder


@register("model", "test-dropout-net")
@config
class DropoutNet(ModelBuilder):
    """Convolution, BatchNorm, dropout, linear."""

    width: int = 6

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        channels, height, width = shape
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.BatchNorm2d(self.width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(self.width * height * width, classes),
        )
