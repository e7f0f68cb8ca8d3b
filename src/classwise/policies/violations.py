"""How far the errors of classes exceed what constraints allow, for policies that are driven by it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor

from classwise.policies.base import Stats

OBSERVED = ("validation_clean", "validation_robust", "validation_count")
"""The statistics that errors are made of."""

Average = Literal["samples", "classes"]
"""What an average error is taken over: all samples, or the classes that have any, each counted once."""


def class_errors(stats: Stats) -> tuple[Tensor, Tensor]:
    """Clean error and boundary error of every class on validation images.

    Their sum is the robust error 1 - P(correct without and under attack).

    Args:
        stats: With the statistics in ``OBSERVED``; accuracies (G,) in [0, 1].

    Returns:
        Two vectors (G,) in [0, 1], not finite where a class has no sample: the share that is wrong without attack, and
        the share that is correct without attack and wrong under it.
    """
    return 1 - stats["validation_clean"], stats["validation_clean"] - stats["validation_robust"]


def violations(errors: Tensor, count: Tensor, slack: float, average: Average, relative: bool = True) -> Tensor:
    """Error of each class, minus the average error, minus the slack: above 0 where a constraint is violated.

    Args:
        errors: Errors (G,), fractions; ignored where there is no sample.
        count: Samples (G,).
        slack: How far a class may lie above the average, a fraction.
        average: What the average is taken over.
        relative: Whether the average is subtracted at all.

    Returns:
        (G,), of the dtype of the errors; 0 for a class without samples, of which nothing is known.
    """
    present = count > 0
    known = torch.where(present, errors, 0)
    shares = count if average == "samples" else present
    mean = (shares * known).sum() / shares.sum().clamp_min(1)
    return torch.where(present, known - mean - slack if relative else known - slack, 0)


def decayed(rate: float, factor: float, drops: Collection[int], stats: Stats) -> float:
    """Rate of the update that follows a validation pass and precedes a training epoch.

    Args:
        rate: The first rate.
        factor: What it is multiplied by at each drop.
        drops: Training epochs (counted from 0) from whose own update on it is lower.
        stats: With the epoch just finished, -1 before the first.
    """
    return rate * factor ** sum(int(stats["epoch"]) + 1 >= drop for drop in drops)


def check_decay(factor: float, drops: Collection[int]) -> None:
    """Refuse factors outside [0, 1] and negative epochs.

    Raises:
        ValueError: One of them is out of range.
    """
    if not 0 <= factor <= 1 or any(drop < 0 for drop in drops):
        raise ValueError(
            f"rate_decay {factor} must lie in [0, 1] and decay_epochs {list(drops)} must be at least 0: "
            "leave decay_epochs empty for constant rates"
        )
