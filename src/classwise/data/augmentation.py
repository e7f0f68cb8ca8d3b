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
        """Augment images (N, C, H, W), bytes or floats; the result has the same shape and type, in any layout."""


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
    """Random crop after padding, and a random horizontal flip: the CIFAR standard of all papers here.

    On request followed by cutout: a square around a random pixel is blanked, of which parts may lie outside the image.

    Source of cutout: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout",
    section 3.2. There the square holds zeros after normalisation, which is the mean image; here images are not normalised
    yet, and it is black.
    """

    padding: int = 4
    """Pixels added on each side before cropping."""
    mode: Literal["zeros", "reflect"] = "zeros"
    """What the padding holds: zeros (most papers) or the mirrored image (CFA)."""
    flip: bool = True
    """Whether half of the images are mirrored left to right."""
    cutout: int = 0
    """Side of the square that is blanked, in pixels; 0: none."""

    def check(self) -> None:
        """Refuse a negative padding or square."""
        if self.padding < 0:
            raise ValueError(f"padding {self.padding} must be at least 0")
        if self.cutout < 0:
            raise ValueError(f"cutout {self.cutout} must be at least 1 pixel, or 0 for none")

    def __call__(self, images: Tensor, noise: Noise) -> Tensor:
        """Crop, flip and blank each image by its own draw."""
        n, _, h, w = images.shape
        if self.mode == "reflect" and self.padding >= min(h, w):
            raise ValueError(f"padding {self.padding} cannot be mirrored from {h}x{w} pixels: use less, or zeros")
        draws = noise.uniform(torch.empty(n, 3, device=images.device))
        shifts = (draws[:, :2] * (2 * self.padding + 1)).long()
        mirrored = draws[:, 2] < (0.5 if self.flip else 0)
        images = (self._copied if images.device.type == "cpu" else self._gathered)(images, shifts, mirrored)
        if self.cutout:
            images = blanked(images, noise.uniform(torch.empty(n, 2, device=images.device)), self.cutout)
        return images

    def _gathered(self, images: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
        """Crops that begin at some shifts (N, 2), down and right, mirrored or not (N,): one gather, no synchronisation."""
        n, c, h, w = images.shape
        rows = shifts[:, :1] + torch.arange(h, device=images.device)
        columns = shifts[:, 1:] + torch.arange(w, device=images.device)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        sample = torch.arange(n, device=images.device)[:, None, None, None]
        channel = torch.arange(c, device=images.device)[None, :, None, None]
        return self._padded(images)[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]

    def _copied(self, images: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
        """The same, several times faster on a CPU: one stretch of memory is copied per image, which holds its whole crop.

        Seen as stretches of that length, one from every value on, the images are a matrix whose rows can be selected.
        """
        n, c, h, w = images.shape
        if not n:
            return images
        order = mirrored.byte().argsort(stable=True)  # those to be mirrored come last, and are mirrored at once
        turned, plain = images.index_select(0, order), n - int(mirrored.sum())
        turned[plain:] = turned[plain:].flip(3)
        padded = self._padded(turned).contiguous()
        height, width = padded.shape[2:]
        right = torch.where(mirrored, 2 * self.padding - shifts[:, 1], shifts[:, 1])
        starts = order.argsort() * (c * height * width) + shifts[:, 0] * width + right
        length = (c - 1) * height * width + (h - 1) * width + w
        stretches = padded.as_strided((padded.numel() - length + 1, length), (1, 1)).index_select(0, starts)
        return stretches.as_strided((n, c, h, w), (length, height * width, width, 1))

    def _padded(self, images: Tensor) -> Tensor:
        around = (self.padding,) * 4
        if self.mode == "zeros":
            return F.pad(images, around)
        return F.pad(images.float(), around, mode="reflect").to(images.dtype)


def blanked(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W) with a black square each.

    Args:
        images: Images.
        centres: Where the squares lie, down and right, (N, 2) in [0, 1) of height and width.
        side: Their side in pixels; what lies outside the image is left away.
    """
    inside = []
    for draw, length in zip(centres.unbind(1), images.shape[2:], strict=True):
        place = torch.arange(length, device=images.device) - ((draw * length).long() - side // 2)[:, None]
        inside.append((place >= 0) & (place < side))
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)
