"""Training images that lie on the training device."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData
from classwise.data.feed import Feed
from classwise.data.stored import StoredImages


class Resident(Feed):
    """Images kept on the device, as bytes where they came as bytes, and augmented as they are taken.

    Stored images are read once, in this process.

    Args:
        data: Training images.
        augmentation: Applied to whatever is taken.
        device: Where the images are kept.
    """

    def __init__(self, data: ClassData, augmentation: Augmentation, device: torch.device) -> None:
        super().__init__(data, augmentation, device)
        self.images = (
            _read_all(data.images, device) if isinstance(data.images, StoredImages) else data.images.to(device)
        )

    def stored(self, rows: Tensor) -> Tensor:
        """See :class:`Feed`."""
        return self.images.index_select(0, rows)  # on a CPU many times faster than images[rows]

    def read(self, batches: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """See :class:`Feed`."""
        if batches:
            there = torch.cat(list(batches)).to(self.device)
            yield from map(self.stored, torch.split(there, [len(rows) for rows in batches]))


def _read_all(images: StoredImages, device: torch.device) -> Tensor:
    """All images on the device, without a second copy of them on the way."""
    held = torch.empty(images.shape, dtype=images.dtype, device=device)
    for start, some in images.chunks():
        held[start : start + len(some)] = some.to(device)
    return held
