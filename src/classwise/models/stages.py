"""Stages of a convolutional network: blocks of one width, each stage but the first on an image half as large."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

MakeBlock = Callable[[int, int, int], nn.Module]
"""From the channels of its input, its own width and its stride to a block."""


def stage(make: MakeBlock, channels: int, width: int, blocks: int, stride: int, expansion: int = 1) -> nn.Sequential:
    """Blocks of one width.

    Args:
        make: What makes a block.
        channels: Channels of the input of the first block.
        width: Width of the blocks.
        blocks: Their number, at least 1.
        stride: Stride of the first block; the others have 1.
        expansion: Channels of a block's output, as a multiple of its width.
    """
    first = make(channels, width, stride)
    return nn.Sequential(first, *(make(width * expansion, width, 1) for _ in range(blocks - 1)))


def add_stages(
    network: nn.Module, make: MakeBlock, channels: int, widths: Sequence[int], blocks: Sequence[int], expansion: int = 1
) -> int:
    """Add ``stage1``, ``stage2``, … to a network.

    Args:
        network: Receives them.
        make: What makes a block; called in the order in which images pass the blocks.
        channels: Channels of the input of the first stage.
        widths: Width of the blocks of each stage.
        blocks: Number of blocks of each stage.
        expansion: Channels of a block's output, as a multiple of its width.

    Returns:
        Channels of the output of the last stage.
    """
    for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        stride = 1 if number == 1 else 2
        network.add_module(f"stage{number}", stage(make, channels, width, count, stride, expansion))
        channels = width * expansion
    return channels


def through_stages(network: nn.Module, x: Tensor) -> Tensor:
    """Send features (N, C, H, W) through the stages of a network, one after the other."""
    for name, part in network.named_children():
        if name.startswith("stage"):
            x = part(x)
    return x
