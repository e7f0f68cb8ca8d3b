"""Residual networks for small images: ResNet-20, 32, 56, 110."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.stages import MakeBlock, add_stages, through_stages
from classwise.registry import register


@register("model", "resnet-cifar", "resnet20")
@config
class ResNetCIFAR(ModelBuilder):
    """Residual network of depth 6n+2 with 16, 32 and 64 channels and shortcuts without parameters (option A).

    Where a stage halves the image, its shortcut takes every second pixel and adds channels of zeros *after*
    the given ones. The paper leaves their place open and other code puts half of them before: checkpoints of
    that kind have the same tensors but compute something else here. Convolutions start from He's normal
    distribution.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2.
    """

    depth: int = 20
    """Layers with weights on the longest path, 6n+2: 20, 32, 44, 56, 110."""

    def check(self) -> None:
        """Refuse depths that are not 6n+2."""
        if self.depth < 8 or self.depth % 6 != 2:
            raise ValueError(f"depth {self.depth} of a ResNet for small images must be 6n+2: such as 20, 32, 56 or 110")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`."""
        network = ResidualNetwork((16, 32, 64), [(self.depth - 2) // 6] * 3, _without_projection, classes, shape[0])
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        return network


class ResidualNetwork(nn.Module):
    """Stem, stages, global average, linear head. See :class:`ResNetCIFAR`.

    Args:
        widths: Width of the blocks of each stage; the stem has that of the first.
        blocks: Number of blocks of each stage.
        make: What makes a block.
        classes: Number of outputs.
        channels: Channels of an image.
        expansion: Channels of a block's output, as a multiple of its width.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: Sequence[int],
        make: MakeBlock,
        classes: int,
        channels: int,
        expansion: int = 1,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        leaving = add_stages(self, make, widths[0], widths, blocks, expansion)
        self.head = nn.Linear(leaving, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, C, H, W)."""
        x = F.relu(self.stem_norm(self.stem(x)))
        logits: Tensor = self.head(through_stages(self, x).mean(dim=(2, 3)))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm beside an identity; ReLU after the sum.

    Args:
        channels: Channels of its input.
        width: Channels of its output; more than ``channels``: the image is halved.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stride, self.widening = 1 if width == channels else 2, width - channels
        self.conv1 = _conv3x3(channels, width, self.stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, ceil(H / stride), ceil(W / stride))."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.widening:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.widening))
        return torch.relu(y + x)


def _without_projection(channels: int, width: int, stride: int) -> nn.Module:
    assert stride == (1 if width == channels else 2)
    return ResidualBlock(channels, width)


def _conv3x3(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
