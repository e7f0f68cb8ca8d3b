"""A small vision transformer for images of 8 to 32 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.registry import register


@register("model", "small-vit")
@config
class SmallViT(ModelBuilder):
    """Patches, learned positions, pre-norm transformer blocks, the mean over patches, linear head; no dropout.

    Attention is written as two matrix products and a softmax: with at most a few hundred patches the fused kernels
    gain little, and their backward passes are not the same from call to call on every device.

    Source: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, with the mean over patches instead of a
    class token (Beyer, Zhai, Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022).
    """

    patch_size: int = 4
    """Side of a patch in pixels; must divide height and width."""
    width: int = 64
    """Size of a patch's vector; a multiple of the heads."""
    depth: int = 4
    """Number of blocks."""
    heads: int = 4
    """Attention heads of a block."""

    def check(self) -> None:
        """Refuse sizes below 1, and heads that do not divide the width."""
        if min(self.patch_size, self.width, self.depth, self.heads) < 1:
            raise ValueError(
                f"patch_size {self.patch_size}, width {self.width}, depth {self.depth} and heads {self.heads} "
                "must be at least 1"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the {self.heads} heads")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: Images cannot be cut into whole patches.
        """
        channels, height, width = shape
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"images of {height}x{width} pixels cannot be cut into patches of {self.patch_size}: "
                "choose a patch_size that divides both"
            )
        patches = (height // self.patch_size) * (width // self.patch_size)
        return VisionTransformer(self, classes, channels, patches)


class VisionTransformer(nn.Module):
    """See :class:`SmallViT`.

    Args:
        sizes: Patch size, width, depth and heads.
        classes: Number of outputs.
        channels: Channels of an image.
        patches: Patches of an image.
    """

    def __init__(self, sizes: SmallViT, classes: int, channels: int, patches: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, sizes.width, sizes.patch_size, stride=sizes.patch_size)
        self.position = nn.Parameter(torch.empty(patches, sizes.width))
        self.blocks = nn.Sequential(*(Block(sizes.width, sizes.heads) for _ in range(sizes.depth)))
        self.norm = nn.LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, classes)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, C, H, W) of the size it was built for."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return logits


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a LayerNorm and beside an identity.

    Args:
        width: Size of a patch's vector.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, patches, width) to the same shape."""
        x = x + self.attend(self.norm1(x))
        summed: Tensor = x + self.mlp(self.norm2(x))
        return summed

    def attend(self, x: Tensor) -> Tensor:
        """Every patch's weighted mean over all patches, head by head: softmax(q k / sqrt(d)) v."""
        n, patches, width = x.shape
        parts = self.query_key_value(x).view(n, patches, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5
        mixed: Tensor = self.mix((scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(n, patches, width))
        return mixed
