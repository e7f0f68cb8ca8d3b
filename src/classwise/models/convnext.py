"""ConvNeXt-tiny for images of 32 to 64 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.stages import through_stages
from classwise.registry import register

BLOCKS = (3, 3, 9, 3)
"""Blocks of each stage of the tiny one."""


@register("model", "convnext-tiny")
@config
class ConvNeXtTiny(ModelBuilder):
    """Patches, four stages of depthwise 7x7 convolutions with a perceptron on each pixel, global average, linear head.

    Every stage but the first begins by halving the image. The published one cuts 224 pixels into patches of 4; smaller
    ones suit smaller images. Without stochastic depth. Weights start from a normal distribution of standard deviation
    0.02, biases from 0, the blocks' scales from 1e-6.

    Source: Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", CVPR 2022, section 2 and appendix A.
    """

    patch_size: int = 2
    """Side of a patch in pixels; 2 for images of 32 pixels, 4 for 64 and more."""
    width: int = 96
    """Channels of the first stage; every further stage has twice as many."""

    def check(self) -> None:
        """Refuse sizes below 1."""
        if self.patch_size < 1 or self.width < 1:
            raise ValueError(f"patch_size {self.patch_size} and width {self.width} must be at least 1")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: Images are so small that nothing of them is left in the last stage.
        """
        channels, height, width = shape
        least = self.patch_size * 2 ** (len(BLOCKS) - 1)
        if min(height, width) < least:
            raise ValueError(
                f"images of {height}x{width} pixels are too small for patches of {self.patch_size}, which need {least}: "
                "choose a smaller patch_size"
            )
        return ConvNeXt(self.patch_size, self.width, classes, channels)


class ConvNeXt(nn.Module):
    """See :class:`ConvNeXtTiny`.

    Args:
        patch_size: Side of a patch in pixels.
        width: Channels of the first stage.
        classes: Number of outputs.
        channels: Channels of an image.
    """

    def __init__(self, patch_size: int, width: int, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.stem_norm = PixelNorm(width)
        for number, count in enumerate(BLOCKS, start=1):
            parts: list[nn.Module] = [] if number == 1 else [Halved(width // 2, width)]
            self.add_module(f"stage{number}", nn.Sequential(*parts, *(Block(width) for _ in range(count))))
            width *= 2
        self.norm = nn.LayerNorm(width // 2, eps=1e-6)
        self.head = nn.Linear(width // 2, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, C, H, W)."""
        x = through_stages(self, self.stem_norm(self.stem(x)))
        logits: Tensor = self.head(self.norm(x.mean(dim=(2, 3))))
        return logits


class PixelNorm(nn.Module):
    """LayerNorm over the channels of every pixel of (N, C, H, W).

    Args:
        width: Number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        # In channels-last layout, in which networks are placed, neither permutation moves anything in memory.
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class Halved(nn.Module):
    """Norm, then a 2x2 convolution of stride 2; an odd last row or column is left out.

    Args:
        channels: Channels of its input.
        width: Channels of its output.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = PixelNorm(channels)
        self.conv = nn.Conv2d(channels, width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H // 2, W // 2)."""
        halved: Tensor = self.conv(self.norm(x))
        return halved


class Block(nn.Module):
    """Depthwise 7x7 convolution, norm and a two-layer perceptron on each pixel, scaled, beside an identity.

    Args:
        width: Number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y = self.mlp(self.norm1(self.conv1(x).permute(0, 2, 3, 1))) * self.scale
        summed: Tensor = x + y.permute(0, 3, 1, 2)
        return summed
