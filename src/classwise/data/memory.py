"""How much memory there is for images."""

from __future__ import annotations

import os
from pathlib import Path

import torch

SHARE = 1 / 3
"""Share of the free memory that images may fill; the rest is for the network, its gradients and activations."""


def fits(size: float, device: torch.device) -> bool:
    """Whether so many bytes fill at most a third of the device's free memory."""
    return size <= SHARE * free_memory(device)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device, for each of the processes that share it; where that is not told, half of all memory.

    A GPU is taken to have one process; those that ``torchrun`` starts on one machine share its memory.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min([_of_machine(), *_of_container()]) // processes


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
