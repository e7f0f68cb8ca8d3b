"""Batches from data that lie on the training device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData
from classwise.data.resident import Resident
from classwise.randomness import GeneratorNoise


@dataclass(frozen=True)
class Batch:
    """One training batch, or this process's rows of it.

    Args:
        x: Images (N, C, H, W), float32 in [0, 1].
        y: Labels (N,), int64.
        group: Groups (N,), int64.
        index: Index of each sample in its data set, (N,), int64.
        total: Samples in the batch over all processes.
        rows: Which rows of the whole batch these are.
    """

    x: Tensor
    y: Tensor
    group: Tensor
    index: Tensor
    total: int
    rows: slice

    def with_images(self, x: Tensor) -> Batch:
        """The same batch with other images."""
        return replace(self, x=x)


class Loader:
    """Shuffled batches; data stay on the device, as bytes where they came as bytes.

    The order of an epoch and the augmentation come from the two generators given, so whoever saves their state
    can continue with the same batches. All processes walk the same order and take every ``world``-th row of a batch.

    Args:
        data: Training images.
        batch_size: Samples of one batch over all processes; the last one of an epoch may be smaller.
        augmentation: Applied to every batch.
        device: Where images are kept.
        order: CPU generator of the order.
        augment: Generator of the augmentation, on the device.
        rank: Number of this process.
        world: Number of processes.
    """

    def __init__(
        self,
        data: ClassData,
        batch_size: int,
        augmentation: Augmentation,
        device: torch.device,
        order: torch.Generator,
        augment: torch.Generator,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source = Resident(data, augmentation, device)
        self.batch_size = batch_size
        self.order, self.augment, self.rank, self.world = order, augment, rank, world

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One epoch."""
        source = self.source
        order = torch.randperm(len(source), generator=self.order).to(source.device)
        for start in range(0, len(order), self.batch_size):
            whole = order[start : start + self.batch_size]
            share = slice(self.rank, None, self.world)
            mine = whole[share]
            noise = GeneratorNoise(self.augment, len(whole), share)
            x = source.take(mine, noise)
            yield Batch(x, source.labels[mine], source.groups[mine], source.index[mine], len(whole), share)
