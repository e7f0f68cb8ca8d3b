"""Worst-case class weights within a divergence of uniform (FAAL)."""

from __future__ import annotations

import math
from itertools import pairwise
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
    (P / B) sum_i q_(y_i) L_i with P the number of classes present, so tau = 0 is the base method. As tau grows it
    approaches group DRO, which weighs the worst class of the batch alone.

    Source: Zhang et al. 2024 (FAAL), eq. 6-10 and algorithm 1; code TrustAI/FAAL b20ee9d, which is scores
    "sample-sums", missing "minus-one", normaliser "all". The paper trains from scratch with tau 0, then 0.25 from epoch
    100 and 0.5 from epoch 150 on. Group DRO: Sagawa et al. 2020, per batch and without their step-wise update.
    Departures: ``memory`` is ours; closed form instead of a convex program per batch; the defaults look at the classes
    present only, since the code's sums give a class that is absent from the batch more weight, which no sample uses, than
    any class with a negative margin; factor P instead of K. Attack, start and clipping are those of the base method.
    Observes: the scores of the batch, from the logits of the training step.
    Costs: one small solve per batch and no synchronisation.
    """

    tau: float = 0.5
    """Radius of the ball in nats, at least 0 (0: the base method, .inf: all weight on the worst class, ties share)."""
    stage_epochs: tuple[int, ...] = ()
    """Epochs (counted from 0, rising, at least 1) from which on another radius holds, such as 100, 150."""
    stage_taus: tuple[float, ...] = ()
    """The radii from those epochs on in nats, such as 0.25, 0.5; before the first of them it is ``tau``."""
    score: Literal["margin", "cross-entropy", "error"] = "margin"
    """Sample score: largest other probability - probability of the label, cross-entropy, or error (0 or 1)."""
    scores: Literal["class-means", "sample-sums"] = "class-means"
    """Class score: the mean over the samples of a class, or their sum as in the published code."""
    missing: Literal["exclude", "minus-one"] = "exclude"
    """A class without samples in the batch gets no weight, or takes part with mean score -1 (its sum is 0)."""
    normaliser: Literal["present", "all"] = "present"
    """Factor of the weights: the number of classes in the batch, or of all classes as in the published code."""
    direction: Literal["reverse", "forward"] = "reverse"
    """Ball KL(uniform || q) as in the paper ("reverse"), or KL(q || uniform)."""
    memory: float = 0.0
    """Share of the earlier class scores that is kept from batch to batch, in [0, 1); 0: scores of the batch alone."""

    def check(self) -> None:
        """Refuse a negative ball, and stages that are not in order."""
        for name, taus in (("tau", (self.tau,)), ("stage_taus", self.stage_taus)):
            for tau in taus:
                if not tau >= 0:
                    raise ValueError(f"{name} {tau} must be at least 0 (.inf: all weight on the worst class)")
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory {self.memory} must be at least 0 and below 1, such as 0.95")
        if self.memory and (self.scores, self.missing) != ("class-means", "exclude"):
            raise ValueError(
                "memory keeps class means of classes that were seen: use scores class-means, missing exclude"
            )
        if len(self.stage_epochs) != len(self.stage_taus):
            raise ValueError(
                f"stage_epochs has {len(self.stage_epochs)} entries, stage_taus {len(self.stage_taus)}: "
                "give one radius for each epoch"
            )
        if any(later <= earlier for earlier, later in pairwise((0, *self.stage_epochs))):
            raise ValueError(
                f"stage_epochs {list(self.stage_epochs)} must rise and be at least 1: tau holds from epoch 0 on"
            )

    def tau_at(self, epoch: int) -> float:
        """The radius of the ball in an epoch (counted from 0), in nats."""
        begun = [tau for begin, tau in zip(self.stage_epochs, self.stage_taus, strict=True) if begin <= epoch]
        return begun[-1] if begun else self.tau

    def observes(self) -> frozenset[str]:
        """See :class:`ClassPolicy`."""
        return frozenset({_SCORES[self.score], "batch_count"})

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {"remembered": torch.zeros(groups), "seen": torch.zeros(groups)} if self.memory else {}

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        """See :class:`ClassPolicy`."""
        tau = self.tau_at(int(stats["epoch"]))
        if tau == 0:
            return None, state
        count = stats["batch_count"]
        present = count > 0
        scores = torch.where(present, stats[_SCORES[self.score]], -1.0)
        if self.scores == "sample-sums":
            scores = scores * count
        if self.memory:
            scores, state = self._remember(state, scores, present)
        taking_part = present if self.missing == "exclude" else torch.ones_like(present)
        if tau == math.inf:
            weights = _worst_alone(scores, taking_part)
        else:
            weights = worst_case_weights(scores, tau, present=taking_part, direction=self.direction)
        return weights * (present.sum() if self.normaliser == "present" else len(count)), state

    def _remember(self, state: State, scores: Tensor, present: Tensor) -> tuple[Tensor, State]:
        """Class scores averaged over batches, each batch with weight 1 - memory; those of absent classes stay."""
        kept = self.memory * state["remembered"].to(scores) + (1 - self.memory) * scores
        mass = self.memory * state["seen"].to(scores) + (1 - self.memory)
        remembered = torch.where(present, kept, state["remembered"].to(scores))
        seen = torch.where(present, mass, state["seen"].to(scores))
        # Divided by the mass of what was seen, so that the first batches do not count as scores of 0.
        return remembered / seen.clamp_min(1e-12), {"remembered": remembered, "seen": seen}


def _worst_alone(scores: Tensor, taking_part: Tensor) -> Tensor:
    """Equal weights (G,) for the classes with the largest score, 0 for the others."""
    scores = scores.masked_fill(~taking_part, -math.inf)
    worst = (scores == scores.amax()).to(scores)
    return worst / worst.sum()
