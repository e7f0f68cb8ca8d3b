"""ResNet-18, 34 and 50 in the form for small images."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.resnet_cifar import ResidualNetwork
from classwise.registry import register


@config
class ResNet(ModelBuilder):
    """Base class of ResNets of four stages whose shortcuts are 1x1 convolutions where the shape changes."""

    blocks: ClassVar[tuple[int, ...]]
    """Number of blocks of each stage."""
    bottleneck: ClassVar[bool] = False
    """Whether blocks narrow to a quarter of their channels, instead of two 3x3 convolutions at full width."""

    width: int = 64
    """Channels of the stem and of the first stage's 3x3 convolutions; every further stage has twice as many."""

    def check(self) -> None:
        """Refuse widths below 1."""
        if self.width < 1:
            raise ValueError(f"width {self.width} of a ResNet must be at least 1")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`."""
        widths = [self.width * 2**number for number in range(len(self.blocks))]
        block = ProjectedBottleneck if self.bottleneck else ProjectedBlock
        return ResidualNetwork(widths, self.blocks, block, classes, shape[0], block.expansion)


@register("model", "resnet18")
@config
class ResNet18(ResNet):
    """Residual network for small images: 3x3 stem without pooling, four stages of two blocks, global average, head.

    ReLU comes after the sum; where the shape changes, the shortcut is a 1x1 convolution with BatchNorm (option B).
    Weights start from PyTorch's default.

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, table 1, with the 3x3 stem
    of stride 1 that papers on CIFAR-10 and CIFAR-100 use (kuangliu/pytorch-cifar).
    """

    blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)


@register("model", "resnet34")
@config
class ResNet34(ResNet):
    """The ResNet for small images with stages of 3, 4, 6 and 3 blocks; otherwise as ``resnet18``.

    Source: He, Zhang, Ren, Sun, CVPR 2016, table 1.
    """

    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


@register("model", "resnet50")
@config
class ResNet50(ResNet):
    """The ResNet for small images with stages of 3, 4, 6 and 3 bottleneck blocks; otherwise as ``resnet18``.

    A block has four times as many output channels as its 3x3 convolution, which carries the stride.

    Source: He, Zhang, Ren, Sun, CVPR 2016, table 1.
    """

    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
    bottleneck: ClassVar[bool] = True


class ProjectedBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm beside a shortcut; ReLU after the sum.

    Args:
        channels: Channels of its input.
        width: Channels of its output.
        stride: 2 halves the image.
    """

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.project, self.project_norm = _projection(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, ceil(H / stride), ceil(W / stride))."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.project_norm(self.project(x)))


class ProjectedBottleneck(nn.Module):
    """Convolutions 1x1, 3x3 and 1x1 with BatchNorm beside a shortcut; ReLU after the sum.

    Args:
        channels: Channels of its input.
        width: Channels of its 3x3 convolution; its output has four times as many.
        stride: 2 halves the image, in the 3x3 convolution.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = self.expansion * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, leaving, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(leaving)
        self.project, self.project_norm = _projection(channels, leaving, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 4 width, ceil(H / stride), ceil(W / stride))."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.conv3(y)) + self.project_norm(self.project(x)))


def _projection(channels: int, leaving: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """The shortcut and its norm; both do nothing where the shape stays."""
    if stride == 1 and channels == leaving:
        return nn.Identity(), nn.Identity()
    return nn.Conv2d(channels, leaving, 1, stride=stride, bias=False), nn.BatchNorm2d(leaving)
