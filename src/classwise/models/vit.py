"""ViT-tiny and ViT-small for images of 32 to 64 pixels."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.small_vit import SmallViT
from classwise.registry import register


@config
class ViT(ModelBuilder):
    """Base class of vision transformers of the published sizes: twelve blocks, heads of 64."""

    width: ClassVar[int]
    """Size of a patch's vector."""

    patch_size: int = 4
    """Side of a patch in pixels, which must divide height and width; 4 for images of 32 pixels, 8 for 64."""

    def check(self) -> None:
        """Refuse sizes below 1."""
        if self.patch_size < 1:
            raise ValueError(f"patch_size {self.patch_size} must be at least 1")

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: Images cannot be cut into whole patches.
        """
        sizes = SmallViT(patch_size=self.patch_size, width=self.width, depth=12, heads=self.width // 64)
        return sizes.build(classes, shape)


@register("model", "vit-tiny")
@config
class ViTTiny(ViT):
    """Vision transformer of twelve blocks, width 192 and 3 heads; the network of ``small-vit``, no dropout.

    Source: the sizes are DeiT-Ti's: Touvron et al., "Training data-efficient image transformers & distillation through
    attention", ICML 2021, table 1. Departures: the mean over patches in place of the class token, smaller patches.
    """

    width: ClassVar[int] = 192


@register("model", "vit-small")
@config
class ViTSmall(ViT):
    """Vision transformer of twelve blocks, width 384 and 6 heads; the network of ``small-vit``, no dropout.

    Source: the sizes are DeiT-S's: Touvron et al., ICML 2021, table 1. Departures: the mean over patches in place of
    the class token, smaller patches.
    """

    width: ClassVar[int] = 384
