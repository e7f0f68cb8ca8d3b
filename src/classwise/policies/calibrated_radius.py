"""Larger radius for classes that can bear it (CFA's customised class-wise margin, CCM)."""

from __future__ import annotations

import torch

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.registry import register


@register("policy", "calibrated-radius", "ccm")
@config
class CalibratedRadius(ClassPolicy):
    """Radius multiplier of a class: offset + its robust accuracy on the training batches of the last epoch.

    A class the network holds well is trained with a larger radius, a hard class with a smaller one, always relative
    to the base radius (not cumulative, no clamp), so the multiplier lies in [offset, offset + 1].

    Source: Wei et al. 2023 (CFA), eq. 5 and section 4.1; code PKU-ML/CFA 071f333. Departures: accuracy over true class
    counts (the code divides by N/K); a class without samples in an epoch keeps its multiplier. Defaults of the paper:
    offset 0.5 for adversarial training, 0.3 for TRADES, 0.7 for friendly training; of its code: begin 10.
    Observes the logits of the training step it has anyway; costs nothing.
    """

    offset: float = 0.5
    """lambda_1, added to the accuracy, dimensionless, at least 0."""
    begin: int = 10
    """First epoch (counted from 0) with class-wise radii; the first accuracies are noise."""

    needs = ("train_robust", "train_count")
    steers = ("radius",)

    def check(self) -> None:
        """Refuse negative values."""
        if not self.offset >= 0 or self.begin < 0:
            raise ValueError(f"offset {self.offset} and begin {self.begin} must be at least 0")

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {"radius": torch.ones(groups, dtype=torch.float64)}

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        if int(stats["epoch"]) + 1 < self.begin:
            return state
        seen = stats["train_count"] > 0
        return {"radius": torch.where(seen, self.offset + stats["train_robust"], state["radius"])}
