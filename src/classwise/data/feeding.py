"""Whether training images are kept on the device or streamed to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch

from classwise.data.augmentation import Augmentation
from classwise.data.dataset import ClassData
from classwise.data.feed import Feed
from classwise.data.resident import Resident
from classwise.data.streamed import Streamed

Feeding = Literal["auto", "resident", "streamed"]

SHARE = 1 / 3
"""Share of the free memory that images may fill; the rest is for the network, its gradients and activations."""


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
    if feeding == "resident" or (feeding == "auto" and fits(data, device)):
        return Resident(data, augmentation, device)
    return Streamed(data, augmentation, device, workers)


def fits(data: ClassData, device: torch.device) -> bool:
    """Whether the images are on the device already, or fill at most a third of its free memory."""
    if isinstance(data.images, torch.Tensor) and data.images.device.type == device.type:
        return True
    return data.images.nbytes <= SHARE * free_memory(device)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; of a system that does not tell, half of all memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([_of_machine(), *_of_container()])


def _of_machine() -> int:
    listing = Path("/proc/meminfo")
    if listing.exists():
        facts = dict(line.split(":", 1) for line in listing.read_text().splitlines() if ":" in line)
        return 1024 * int(facts["MemAvailable"].split()[0])
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 1 << 32


def _of_container() -> list[int]:
    """What a container may take, where it has a limit (control groups, version 2)."""
    path = Path("/sys/fs/cgroup/memory.max")
    limit = path.read_text().strip() if path.exists() else "max"
    return [] if limit == "max" else [int(limit)]
