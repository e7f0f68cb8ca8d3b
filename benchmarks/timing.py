"""Wall-clock seconds of a piece of work, on a processor or an accelerator."""

import time
from collections.abc import Callable

import torch


def seconds(work: Callable[[], object], device: str, repeats: int = 1) -> float:
    """Mean seconds of one call over a few calls in a row, including what they left running on the device."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronise(device)
    return (time.perf_counter() - start) / repeats


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
