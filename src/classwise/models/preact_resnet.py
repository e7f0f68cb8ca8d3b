"""Pre-activation ResNets for small images; on the one of 18 layers most class-wise methods report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.stages import add_stages, through_stages
from classwise.registry import register


@config
class PreActResNet(ModelBuilder):
    """Base class of pre-activation ResNets of four stages."""

    blocks: ClassVar[tuple[int, ...]]
    """Number of blocks of each stage."""
    bottleneck: ClassVar[bool] = False
    """Whether blocks narrow to a quarter of their channels, instead of two 3x3 convolutions at full width."""

    final_norm: bool = True
    """Whether BatchNorm and ReLU precede the global average (CFA, FAAL, DAFA: yes; FRL: no)."""
    width: int = 64
    """Channels of the first stage; every further stage has twice as many."""

    def check(self) -> None:
        """Refuse widths below 1."""
        if self.width < 1:
            raise ValueError(f"width {self.width} of a pre-activation ResNet must be at least 1")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`."""
        widths = [self.width * 2**number for number in range(len(self.blocks))]
        block = PreActBottleneck if self.bottleneck else PreActBlock
        return PreActNetwork(self.width, widths, self.blocks, classes, shape[0], self.final_norm, block)


@register("model", "preact-resnet18")
@config
class PreActResNet18(PreActResNet):
    """Pre-activation residual network: 3x3 stem, four stages of two blocks, global average, linear head.

    A block's BatchNorm and ReLU come before its convolutions; where the shape changes, its shortcut is a 1x1
    convolution of the *activated* input. Convolutions start from PyTorch's default, as in the public code of
    CFA and FRL.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016, in the form with
    four stages of 64 to 512 channels that CFA, FAAL, DAFA and FRL train on CIFAR-10.
    """

    blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)


@register("model", "preact-resnet34")
@config
class PreActResNet34(PreActResNet):
    """The pre-activation ResNet with stages of 3, 4, 6 and 3 blocks; otherwise as ``preact-resnet18``.

    Source: He, Zhang, Ren, Sun, ECCV 2016, with the depths of their "Deep residual learning", CVPR 2016, table 1.
    """

    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


@register("model", "preact-resnet50")
@config
class PreActResNet50(PreActResNet):
    """The pre-activation ResNet with stages of 3, 4, 6 and 3 bottleneck blocks; otherwise as ``preact-resnet18``.

    A block has four times as many output channels as its 3x3 convolution, which carries the stride.

    Source: He, Zhang, Ren, Sun, ECCV 2016, with the depths of their "Deep residual learning", CVPR 2016, table 1.
    """

    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
    bottleneck: ClassVar[bool] = True


class PreActBlock(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice, beside a shortcut.

    Args:
        channels: Channels of its input.
        width: Channels of its output.
        stride: 2 halves the image.
    """

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = stride != 1 or channels != width
        self.project = nn.Conv2d(channels, width, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, ceil(H / stride), ceil(W / stride))."""
        # In place where no gradient needs what is overwritten: less memory to fetch, the same numbers.
        active = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.project is None else self.project(active)
        y: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active)), inplace=True))
        y += shortcut
        return y


class PreActBottleneck(nn.Module):
    """BatchNorm, ReLU and convolution, three times (1x1, 3x3, 1x1), beside a shortcut.

    Args:
        channels: Channels of its input.
        width: Channels of its 3x3 convolution; its output has four times as many.
        stride: 2 halves the image, in the 3x3 convolution.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = self.expansion * width
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, leaving, 1, bias=False)
        changes = stride != 1 or channels != leaving
        self.project = nn.Conv2d(channels, leaving, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 4 width, ceil(H / stride), ceil(W / stride))."""
        active = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.project is None else self.project(active)
        y = self.conv2(F.relu(self.norm2(self.conv1(active)), inplace=True))
        y = self.conv3(F.relu(self.norm3(y), inplace=True))
        y += shortcut
        summed: Tensor = y
        return summed


class PreActNetwork(nn.Module):
    """Stem, stages, global average, linear head. See :class:`PreActResNet18`.

    Args:
        stem: Channels of the stem.
        widths: Width of the blocks of each stage; every stage but the first halves the image.
        blocks: Number of blocks of each stage.
        classes: Number of outputs.
        channels: Channels of an image.
        final_norm: Whether BatchNorm and ReLU precede the global average.
        block: Kind of block.
    """

    def __init__(
        self,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        classes: int,
        channels: int,
        final_norm: bool = True,
        block: type[PreActBlock] | type[PreActBottleneck] = PreActBlock,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        leaving = add_stages(self, block, stem, widths, blocks, block.expansion)
        self.norm = nn.BatchNorm2d(leaving) if final_norm else None
        self.head = nn.Linear(leaving, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, C, H, W)."""
        x = through_stages(self, self.stem(x))
        if self.norm is not None:
            x = F.relu(self.norm(x), inplace=True)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits
