"""Worst-case class weights within a divergence of uniform (FAAL)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.registry import register
from classwise.theory.kl_ball import worst_case_weights

_SCORES = {"margin": "batch_margin", "cross-entropy": "batch_cross_entropy", "error": "batch_error"}


@register("policy", "kl-dro", "faal")
@config
class KLDRO(ClassPolicy):
    """Weight the classes of each batch by the distribution, within a KL ball around uniform, that is worst for them.

    With class scores l_c of the perturbed images, q = argmax q.l subject to KL(uniform || q) <= tau; the loss is
    (P / B) sum_i q_(y_i) L_i with P the number of classes present, so tau = 0 is the base method.

    Source: Zhang et al. 2024 (FAAL), eq. 6-9 and algorithm 1; code TrustAI/FAAL b20ee9d. Departures: closed-form
    solution instead of a convex program per batch; scores are class means over the classes present (the code's
    objective sums over samples, and gives absent classes weight that no sample uses); factor P instead of K.
    Observes the logits of the training step; costs one small solve per batch and no synchronisation.
    """

    tau: float = 0.5
    """Radius of the ball in nats, at least 0."""
    begin: int = 0
    """First epoch (counted from 0) with class weights; before it the base method."""
    score: Literal["margin", "cross-entropy", "error"] = "margin"
    """Class score: mean of (largest other probability - probability of the label), cross-entropy, or error rate."""
    direction: Literal["reverse", "forward"] = "reverse"
    """Ball KL(uniform || q) as in the paper ("reverse"), or KL(q || uniform)."""

    def check(self) -> None:
        """Refuse a negative ball."""
        if not self.tau >= 0 or self.begin < 0:
            raise ValueError(f"tau {self.tau} and begin {self.begin} must be at least 0")

    def observes(self) -> frozenset[str]:
        """See :class:`ClassPolicy`."""
        return frozenset({_SCORES[self.score], "batch_count"})

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        """See :class:`ClassPolicy`."""
        if self.tau == 0 or int(stats["epoch"]) < self.begin:
            return None, state
        present = stats["batch_count"] > 0
        scores = torch.where(present, stats[_SCORES[self.score]], 0)
        weights = worst_case_weights(scores, self.tau, present=present, direction=self.direction)
        return weights * present.sum(), state
