"""Batches of training images."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData
from classwise.data.feeding import Feeding, feed
from classwise.data.order import epoch_order
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
    """Shuffled batches, from data on the device or streamed to it; see :func:`classwise.data.feeding.feed`.

    The order of an epoch and the augmentation come from the two generators given, so whoever saves their state
    can continue with the same batches. All processes walk the same order and take every ``world``-th row of a batch.

    Args:
        data: Training images.
        batch_size: Samples of one batch over all processes; the last one of an epoch may be smaller.
        augmentation: Applied to every batch.
        device: Where training is.
        order: CPU generator of the order.
        augment: Generator of the augmentation, on the device.
        rank: Number of this process.
        world: Number of processes.
        balanced: Whether an epoch draws every class equally often; see :func:`classwise.data.order.epoch_order`.
        feeding: "resident", "streamed" or "auto"; batches are the same.
        workers: Processes that read streamed images.
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
        balanced: bool = False,
        feeding: Feeding = "auto",
        workers: int = 4,
    ) -> None:
        self.source = feed(data, augmentation, device, feeding, workers)
        self.batch_size = batch_size
        self.order, self.augment, self.rank, self.world = order, augment, rank, world
        self.strata, self.balanced = (data.labels.cpu(), data.groups.cpu()), balanced

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __iter__(self) -> Generator[Batch, None, None]:
        """One epoch. Close the generator where it is not gone through to its end: processes may be reading for it."""
        source, share = self.source, slice(self.rank, None, self.world)
        order = epoch_order(*self.strata, self.order, self.balanced)
        starts = range(0, len(order), self.batch_size)
        batches, there = ([each[i : i + self.batch_size] for i in starts] for each in (order, order.to(source.device)))
        noises = [GeneratorNoise(self.augment, len(whole), share) for whole in batches]
        announced = [(whole[share], noise) for whole, noise in zip(batches, noises, strict=True)]
        with closing(source.read(announced)) as read:
            for x, whole in zip(read, there, strict=True):
                mine = whole[share]
                yield Batch(x, source.labels[mine], source.groups[mine], source.index[mine], len(whole), share)
