"""Training images that do not fit on the training device: read ahead by worker processes."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData, as_float
from classwise.data.feed import Feed
from classwise.data.stored import StoredImages
from classwise.randomness import Noise


class Streamed(Feed):
    """Images that stay where they are and are read while the step before them computes.

    The order of an epoch is known when it begins, so processes read its batches ahead, into pinned memory where the
    device is a GPU. They only read: order and augmentation are drawn in the training process, from the same generators
    as those of :class:`Resident`. They live for one epoch, and end with it, with an error and with Ctrl-C.

    Rows that no epoch announced, such as partners for mixing, are read in the training process, and the step waits.

    Args:
        data: Training images, in memory or stored.
        augmentation: Applied to whatever is taken.
        device: Where training is.
        workers: Processes that read, at most as many as there are processors; 0: the training process reads.
    """

    def __init__(self, data: ClassData, augmentation: Augmentation, device: torch.device, workers: int) -> None:
        super().__init__(data, augmentation, device)
        self.images = data.images.cpu() if isinstance(data.images, Tensor) else data.images
        self.workers = min(workers, _processors())

    def take(self, rows: Tensor, noise: Noise) -> Tensor:
        """See :class:`Feed`."""
        return self._augmented(_at(self.images, rows.cpu()).to(self.device), noise)

    def read(self, batches: Sequence[tuple[Tensor, Noise]]) -> Generator[Tensor, None, None]:
        """See :class:`Feed`.

        Raises:
            ValueError: An image cannot be read.
        """
        # Without a generator of its own the loader would draw from torch's, which networks with dropout use as well.
        options: dict[str, Any] = {"generator": torch.Generator()}
        if self.workers and sys.platform == "linux":  # the other ways import the user's program again
            options["multiprocessing_context"] = "fork"
        loader = DataLoader(
            _Batches(self.images),
            batch_size=None,
            sampler=[rows.numpy() for rows, _ in batches],
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            **options,
        )
        with warnings.catch_warnings():  # Python 3.12 warns of forks beside threads; the copies run no code of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            reading = iter(loader)
        try:
            for images, (_, noise) in zip(reading, batches, strict=True):
                if isinstance(images, ValueError):
                    raise images
                yield self._augmented(images.to(self.device, non_blocking=True), noise)
        finally:
            _stop(reading)

    def _augmented(self, images: Tensor, noise: Noise) -> Tensor:
        return as_float(self.augmentation(images, noise)).contiguous()


class _Batches(Dataset[Any]):
    """Batches by their positions. What is wrong with an image is handed over, for it to be raised by who asked."""

    def __init__(self, images: Tensor | StoredImages) -> None:
        self.images = images

    def __getitem__(self, rows: Any) -> Tensor | ValueError:
        try:
            return _at(self.images, torch.from_numpy(rows))
        except ValueError as error:
            return error


def _at(images: Tensor | StoredImages, rows: Tensor) -> Tensor:
    return images.index_select(0, rows) if isinstance(images, Tensor) else images[rows]


def _stop(reading: Any) -> None:
    """End the processes now. By itself the loader ends them when it is collected, and a traceback may keep it for long."""
    shutdown = getattr(reading, "_shutdown_workers", None)
    if shutdown is not None:
        shutdown()


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
