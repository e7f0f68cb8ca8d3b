"""The pre-activation ResNet-18 for small images, on which most class-wise methods report."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@register("model", "preact-resnet18")
@config
class PreActResNet18(ModelBuilder):
    """Pre-activation residual network: 3x3 stem, four stages of two blocks, global average, linear head.

    A block's BatchNorm and ReLU come before its convolutions; where the shape changes, its shortcut is a 1x1
    convolution of the *activated* input. Convolutions start from PyTorch's default, as in the public code of
    CFA and FRL.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016, in the form with
    four stages of 64 to 512 channels that CFA, FAAL, DAFA and FRL train on CIFAR-10.
    """

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
        return PreActNetwork(self.width, self.final_norm, classes, channels=shape[0])


class PreActNetwork(nn.Module):
    """See :class:`PreActResNet18`.

    Args:
        width: Channels of the first stage.
        final_norm: Whether BatchNorm and ReLU precede the global average.
        classes: Number of outputs.
        channels: Channels of an image.
    """

    def __init__(self, width: int, final_norm: bool, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.stage1 = _stage(width, width, stride=1)
        self.stage2 = _stage(width, 2 * width, stride=2)
        self.stage3 = _stage(2 * width, 4 * width, stride=2)
        self.stage4 = _stage(4 * width, 8 * width, stride=2)
        self.norm = nn.BatchNorm2d(8 * width) if final_norm else None
        self.head = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, C, H, W)."""
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        if self.norm is not None:
            x = F.relu(self.norm(x), inplace=True)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class PreActBlock(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice, beside a shortcut.

    Args:
        channels: Channels of its input.
        width: Channels of its output.
        stride: 2 halves the image.
    """

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


def _stage(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(PreActBlock(channels, width, stride), PreActBlock(width, width, 1))
