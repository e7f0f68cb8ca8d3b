"""Augmentation in batched tensor operations, driven by a generator that is part of the saved state."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from classwise.configuration import Component, config
from classwise.randomness import Noise
from classwise.registry import register


@config
class Augmentation(Component):
    """Base class: turns a batch of training images into a random variant of it."""

    kind: ClassVar[str] = "augmentation"

    @abstractmethod
    def __call__(self, images: Tensor, noise: Noise) -> Tensor:
        """Augment images (N, C, H, W), bytes or floats; the result has the same shape and type."""


@register("augmentation", "none")
@config
class NoAugmentation(Augmentation):
    """Leaves images as they are."""

    def __call__(self, images: Tensor, noise: Noise) -> Tensor:
        """Return the images unchanged."""
        return images


@register("augmentation", "crop-flip")
@config
class CropFlip(Augmentation):
    """Random crop after padding, and a random horizontal flip: the CIFAR standard of all papers here."""

    padding: int = 4
    """Pixels added on each side before cropping."""
    mode: Literal["zeros", "reflect"] = "zeros"
    """What the padding holds: zeros (most papers) or the mirrored image (CFA)."""
    flip: bool = True
    """Whether half of the images are mirrored left to right."""

    def check(self) -> None:
        """Refuse a negative padding."""
        if self.padding < 0:
            raise ValueError(f"padding {self.padding} must be at least 0")

    def __call__(self, images: Tensor, noise: Noise) -> Tensor:
        """Crop and flip each image by its own draw."""
        n, c, h, w = images.shape
        if self.mode == "reflect" and self.padding >= min(h, w):
            raise ValueError(f"padding {self.padding} cannot be mirrored from {h}x{w} pixels: use less, or zeros")
        draws = noise.uniform(torch.empty(n, 3, device=images.device))
        shifts = (draws[:, :2] * (2 * self.padding + 1)).long()
        mode = "constant" if self.mode == "zeros" else "reflect"
        padded = F.pad(images.float() if mode == "reflect" else images, (self.padding,) * 4, mode=mode).to(images.dtype)
        rows = shifts[:, :1] + torch.arange(h, device=images.device)
        columns = shifts[:, 1:] + torch.arange(w, device=images.device)
        if self.flip:
            columns = torch.where(draws[:, 2:] < 0.5, columns.flip(1), columns)
        sample = torch.arange(n, device=images.device)[:, None, None, None]
        channel = torch.arange(c, device=images.device)[None, :, None, None]
        return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
