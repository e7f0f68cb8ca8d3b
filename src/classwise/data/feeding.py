"""Whether training images are kept on the device or streamed to it."""

from __future__ import annotations

from typing import Literal

import torch

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData
from classwise.data.feed import Feed
from classwise.data.memory import fits
from classwise.data.resident import Resident
from classwise.data.streamed import Streamed

Feeding = Literal["auto", "resident", "streamed"]


def feed(
    data: ClassData, augmentation: Augmentation, device: torch.device, feeding: Feeding = "auto", workers: int = 4
) -> Feed:
    """Training images for the loop, from the place that suits them.

    Args:
        data: Training images.
        augmentation: Applied to whatever is taken.
        device: Where training is.
        feeding: "resident": on the device; "streamed": read while training; "auto": on the device where they are there
            already or fill at most a third of its free memory. Batches are the same.
        workers: Processes that read streamed images; 0: the training process.
    """
    if feeding == "resident" or (feeding == "auto" and _fits(data, device)):
        return Resident(data, augmentation, device)
    return Streamed(data, augmentation, device, workers)


def _fits(data: ClassData, device: torch.device) -> bool:
    """Whether the images are on the device already, or fill at most a third of its free memory."""
    there = isinstance(data.images, torch.Tensor) and data.images.device.type == device.type
    return there or fits(data.images.nbytes, device)
