"""Radius and weight handed over between classes that are mistaken for each other (DAFA)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.registry import register


@register("policy", "similarity-transfer", "dafa")
@config
class SimilarityTransfer(ClassPolicy):
    """Hand budget from the stronger to the weaker class of each pair, in proportion to how alike the two are.

    E[i, j] is the mean probability that the perturbed training images of class i are given for class j in the last epoch
    of the warm-up, s_i = E[i, i]. Once, at the end of that epoch, class i gets the multiplier
    W_i = 1 + strength sum over j != i of (E[i, j] s_j if s_i < s_j, else -E[j, i] s_i),
    which then scales its radius, its attack step (so the attack's own ``step_from`` stays "threat") and its loss on the
    label for the rest of training; the robust term is not weighted. What one class of a pair gains the other loses; two
    classes of equal strength both lose. The warm-up trains the base method.

    Source: Lee et al. 2024 (DAFA: distance-aware fair adversarial training), code rucy74/DAFA c60ba83, whose epochs count
    from 1. Starts from 0.001 times a normal draw with both objectives: choose the start "gauss" for adversarial training.
    Departures: the published attack for adversarial training makes a second, plain step in every iteration, which undoes
    the classes' own; it is left out. A multiplier below 0, which has no meaning, becomes 0. Classes without samples in the
    epoch stay at 1 and count in no other class's sum.
    Observes: the probabilities of the perturbed images in the steps of every epoch, of which one is used. The groups are
    the labels.
    Costs: nothing but K sums over the predictions of a step.
    """

    strength: float = 1.0
    """lambda, dimensionless, at least 0; published: 1.0 for CIFAR-10, 1.5 for CIFAR-100 and STL-10."""
    warmup: int = 70
    """Epochs of the base method, at least 1; the last of them is measured, and the first with class-wise values is the epoch
    of this number (counted from 0)."""

    needs = ("train_probabilities", "train_count")
    steers = ("radius", "step", "label")
    label_groups = True

    def check(self) -> None:
        """Refuse a negative strength and no warm-up at all."""
        if not 0 <= self.strength < math.inf:
            raise ValueError(f"strength {self.strength} must be a finite number of at least 0: 1.0 is published")
        if self.warmup < 1:
            raise ValueError(f"warmup {self.warmup} must be at least 1, since its last epoch is measured")

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {"multiplier": torch.ones(groups, dtype=torch.float64)}

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        if int(stats["epoch"]) != self.warmup - 1:
            return state
        similarity = stats["train_probabilities"]
        strength = similarity.diagonal()
        moved = similarity * strength  # [i, j]: E[i, j] s_j, which i gains where it is the weaker, and j loses
        change = torch.where(strength[:, None] < strength, moved, -moved.T)
        present = stats["train_count"] > 0
        pairs = (present[:, None] & present).fill_diagonal_(False)
        return {"multiplier": (1 + self.strength * (change * pairs).sum(1)).clamp_min(0)}

    def knobs(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        return dict.fromkeys(self.steers, state["multiplier"])
