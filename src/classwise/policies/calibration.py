"""What both calibrated policies of CFA share: a factor per class that follows its robust accuracy in training."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from classwise.policies.base import Stats

Counts = Literal["true", "balanced"]
"""What a class's correct samples are divided by: its own samples, or an equal share N/K of all."""


def check_calibration(offset: float, begin: int) -> None:
    """Refuse negative settings.

    Raises:
        ValueError: One of them is negative or no number.
    """
    if not 0 <= offset < math.inf or begin < 0:
        raise ValueError(f"offset {offset} and begin {begin} must be at least 0")


def calibrated(factor: Tensor, stats: Stats, offset: float, begin: int, counts: Counts) -> Tensor:
    """The factors (G,) of the next epoch: offset + the accuracy under attack on the epoch's training batches.

    Args:
        factor: The factors of the epoch just finished; kept before ``begin``, and where a class had no sample.
        stats: "epoch", "train_robust" (the mean over a class's own samples) and "train_count".
        offset: Added to the accuracy.
        begin: First epoch (counted from 0) whose factors follow the accuracy.
        counts: "true" takes the accuracy as it is; "balanced" divides by N/K, as the published code does, which
            can exceed 1 for a large class.
    """
    if int(stats["epoch"]) + 1 < begin:
        return factor
    count, accuracy = stats["train_count"], stats["train_robust"]
    if counts == "balanced":
        accuracy = accuracy * (count / count.mean())
    return torch.where(count > 0, offset + accuracy, factor)
