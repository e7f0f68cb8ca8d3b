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

_CHUNK = 1024
"""Images that are padded at a time."""


@config
class Augmentation(Component):
    """Base class: turns a batch of training images into a random variant of it."""

    kind: ClassVar[str] = "augmentation"

    @abstractmethod
    def __call__(self, images: Tensor, noise: Noise) -> Tensor:
        """Augment images (N, C, H, W), bytes or floats; the result has the same shape and type, in any layout."""

    def kept(self, images: Tensor) -> Tensor:
        """Images of a data set (N, C, H, W) as :meth:`variants` wants them, in a tensor of their own; it changes nothing else.

        Whoever wants another form overrides both methods. A class that overrides the call alone gets plain images.
        """
        return images

    def variants(self, kept: Tensor, rows: Tensor, noise: Noise) -> Tensor:
        """What calling with the images at some positions (N,) gives, bit for bit, from the same draws."""
        return self(kept.index_select(0, rows), noise)  # on a CPU many times faster than kept[rows]


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
        shifts, mirrored = self._drawn(images, noise)
        if images.device.type == "cpu":
            order = mirrored.byte().argsort(stable=True)  # those to be mirrored come last, and are mirrored at once
            turned, plain = images.index_select(0, order), len(images) - int(mirrored.sum())
            turned[plain:] = turned[plain:].flip(3)
            cropped = self._cut(self._padded(turned), order.argsort(), shifts, mirrored)
        else:
            cropped = self._gathered(images, shifts, mirrored)
        return self._blanked(cropped, noise)

    def kept(self, images: Tensor) -> Tensor:
        """On a CPU padded (N, C, H', W'), followed by the same mirrored; other devices keep what they are given."""
        if images.device.type != "cpu":
            return images
        n, c, h, w = images.shape
        shape = (h + 2 * self.padding, w + 2 * self.padding)
        kept = torch.empty(2 * n if self.flip else n, c, *shape, dtype=images.dtype)
        for start in range(0, n, _CHUNK):  # in pieces: the whole of them a second time may not fit in memory
            padded = self._padded(images[start : start + _CHUNK])
            kept[start : start + len(padded)] = padded
            if self.flip:
                kept[n + start : n + start + len(padded)] = padded.flip(3)
        return kept

    def variants(self, kept: Tensor, rows: Tensor, noise: Noise) -> Tensor:
        """See :class:`Augmentation`."""
        if kept.device.type != "cpu":
            return super().variants(kept, rows, noise)
        shifts, mirrored = self._drawn(rows, noise)
        rows = rows + mirrored * (len(kept) // 2) if self.flip else rows
        return self._blanked(self._cut(kept, rows, shifts, mirrored), noise)

    def _drawn(self, like: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """How far crops begin from the corner (N, 2), down and right, and which images are mirrored (N,)."""
        draws = noise.uniform(torch.empty(len(like), 3, device=like.device))
        return (draws[:, :2] * (2 * self.padding + 1)).long(), draws[:, 2] < (0.5 if self.flip else 0)

    def _cut(self, padded: Tensor, rows: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
        """Crops of some images, padded and mirrored already: a CPU copies one stretch of memory each, which holds it whole.

        Seen as stretches of that length, one from every value on, the images are a matrix whose rows can be selected.
        """
        _, c, height, width = padded.shape
        h, w = height - 2 * self.padding, width - 2 * self.padding
        if not len(rows):
            return padded.new_empty(0, c, h, w)
        right = torch.where(mirrored, 2 * self.padding - shifts[:, 1], shifts[:, 1])
        starts = rows * (c * height * width) + shifts[:, 0] * width + right
        length = (c - 1) * height * width + (h - 1) * width + w
        stretches = padded.as_strided((padded.numel() - length + 1, length), (1, 1)).index_select(0, starts)
        return stretches.as_strided((len(rows), c, h, w), (length, height * width, width, 1))

    def _blanked(self, images: Tensor, noise: Noise) -> Tensor:
        if not self.cutout:
            return images
        return blanked(images, noise.uniform(torch.empty(len(images), 2, device=images.device)), self.cutout)

    def _gathered(self, images: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
        """Crops that begin at some shifts (N, 2), down and right, mirrored or not (N,): one gather, no synchronisation."""
        n, c, h, w = images.shape
        rows = shifts[:, :1] + torch.arange(h, device=images.device)
        columns = shifts[:, 1:] + torch.arange(w, device=images.device)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        sample = torch.arange(n, device=images.device)[:, None, None, None]
        channel = torch.arange(c, device=images.device)[None, :, None, None]
        return self._padded(images)[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise ValueError(
                f"padding {self.padding} cannot be mirrored from {height}x{width} pixels: use less, or zeros"
            )
        around = (self.padding,) * 4
        if self.mode == "zeros":
            return F.pad(images, around).contiguous()
        return F.pad(images.float(), around, mode="reflect").to(images.dtype).contiguous()


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
