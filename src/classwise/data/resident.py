"""Training images that lie on the training device."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData, as_float
from classwise.data.feed import Feed
from classwise.data.memory import fits
from classwise.data.stored import StoredImages
from classwise.randomness import Noise


class Resident(Feed):
    """Images kept on the device, as bytes where they came as bytes, and augmented as they are taken.

    Stored images are read once, in this process. Where there is room, images are kept in the form from which the
    augmentation takes its variants fastest.

    Args:
        data: Training images.
        augmentation: Applied to whatever is taken.
        device: Where the images are kept.
    """

    def __init__(self, data: ClassData, augmentation: Augmentation, device: torch.device) -> None:
        super().__init__(data, augmentation, device)
        images = data.images
        self._images = _read_all(images, device) if isinstance(images, StoredImages) else images.to(device)
        self._prepared = _prepares(type(augmentation)) and fits(
            augmentation.kept(self._images[:1]).nbytes * len(images), device
        )
        if self._prepared:
            self._images = augmentation.kept(self._images)

    def take(self, rows: Tensor, noise: Noise) -> Tensor:
        """See :class:`Feed`."""
        if self._prepared:
            taken = self.augmentation.variants(self._images, rows, noise)
        else:
            taken = self.augmentation(self._images.index_select(0, rows), noise)
        return as_float(taken).contiguous()

    def read(self, batches: Sequence[tuple[Tensor, Noise]]) -> Generator[Tensor, None, None]:
        """See :class:`Feed`."""
        if batches:
            there = torch.cat([rows for rows, _ in batches]).to(self.device)
            for rows, (_, noise) in zip(torch.split(there, [len(rows) for rows, _ in batches]), batches, strict=True):
                yield self.take(rows, noise)


def _prepares(kind: type[Augmentation]) -> bool:
    """Whether ``variants`` of a class knows of its call: it comes from the class that defines the call, or a later one."""
    order = kind.__mro__
    call, variants = (
        next(i for i, each in enumerate(order) if name in vars(each)) for name in ("__call__", "variants")
    )
    return variants <= call


def _read_all(images: StoredImages, device: torch.device) -> Tensor:
    """All images on the device, without a second copy of them on the way."""
    held = torch.empty(images.shape, dtype=images.dtype, device=device)
    for start, some in images.chunks():
        held[start : start + len(some)] = some.to(device)
    return held
