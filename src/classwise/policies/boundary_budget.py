"""Fewer attack steps for classes that the attack fools more often."""

from __future__ import annotations

import torch

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.registry import register


@register("policy", "boundary-budget", "bat-budget")
@config
class BoundaryBudget(ClassPolicy):
    """Experimental: multiply a class's number of attack steps by 1 - strength times the share of it that was fooled.

    The share is that of the last epoch's training batches. A class whose samples end up beyond the decision boundary
    gets fewer steps, so that they stay closer to it; one that is never fooled gets all of them. The rule is relative to
    the attack's full number of steps and has no memory beyond one epoch, so nothing can run away. The number is rounded
    up, so every class keeps at least one step.

    Source: our proposal, the simplest rule we know that adapts attack strength to classes, which is what others say
    balance adversarial training does (BAT, Sun et al. 2022, arXiv 2209.07534; no public code, not read by us): this
    reproduces no result of it. Meant for :class:`BoundaryBalancedPGD`, works with every attack that heeds "steps".
    Departures: none that could be named. A class without samples in an epoch keeps its multiplier.
    Observes: which samples the training attack fooled, from the logits of the training step.
    Costs: nothing.
    """

    strength: float = 0.5
    """Share of the steps that a class loses when all of it is fooled, in [0, 1); 0: none."""
    begin: int = 10
    """First epoch (counted from 0) with fewer steps; the first error rates are noise."""

    needs = ("train_error", "train_count")
    steers = ("steps",)

    def check(self) -> None:
        """Refuse a strength outside [0, 1) and a negative epoch."""
        if not 0 <= self.strength < 1:
            raise ValueError(
                f"strength {self.strength} must be at least 0 and below 1, so that a class keeps some steps"
            )
        if self.begin < 0:
            raise ValueError(f"begin {self.begin} must be at least 0")

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {"steps": torch.ones(groups, dtype=torch.float64)}

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        if int(stats["epoch"]) + 1 < self.begin:
            return state
        seen = stats["train_count"] > 0
        return {"steps": torch.where(seen, 1 - self.strength * stats["train_error"], state["steps"])}
