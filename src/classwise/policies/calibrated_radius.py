"""Larger radius for classes that can bear it (CFA's customised class-wise margin, CCM)."""

from __future__ import annotations

import torch

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.policies.calibration import Counts, calibrated, check_calibration
from classwise.registry import register


@register("policy", "calibrated-radius", "ccm")
@config
class CalibratedRadius(ClassPolicy):
    """Radius multiplier of a class: offset + its robust accuracy on the training batches of the last epoch.

    A class the network holds well is trained with a larger radius, a hard class with a smaller one, always relative
    to the base radius (not cumulative, no clamp), so the multiplier lies in [offset, offset + 1]. The step size stays.

    Source: Wei et al. 2023 (CFA), section 4.1, eq. 6; code PKU-ML/CFA 071f333. The paper takes offset 0.5 for
    adversarial training, 0.3 for TRADES and 0.7 for friendly training, from the second epoch on (begin 1); its code
    0.5 for all, from begin 10 on.
    Departures: accuracy over true class counts (the code divides by N/K: ``counts``); a class without samples in an
    epoch keeps its multiplier.
    Observes: robust accuracy in training, from the logits of the step.
    Costs: nothing.
    """

    offset: float = 0.5
    """lambda_1, added to the accuracy, dimensionless, at least 0."""
    begin: int = 10
    """First epoch (counted from 0) with class-wise radii; the first accuracies are noise."""
    counts: Counts = "true"
    """What a class's correct samples are divided by: its own samples, or N/K as in the published code ("balanced")."""

    needs = ("train_robust", "train_count")
    steers = ("radius",)

    def check(self) -> None:
        """Refuse negative values."""
        check_calibration(self.offset, self.begin)

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {"radius": torch.ones(groups, dtype=torch.float64)}

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        return {"radius": calibrated(state["radius"], stats, self.offset, self.begin, self.counts)}
