"""Class weights from the cumulative validation loss (WAT)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats, mean_one
from classwise.registry import register


@register("policy", "hedge", "wat")
@config
class Hedge(ClassPolicy):
    """Weight classes by the exponential of what they have cost on validation images in all epochs so far (Hedge).

    There are K + 1 arms: one for each class, whose cost of an epoch is its mean validation loss (both terms, under the
    training attack), and one whose cost is the average of these, which holds the weights together. With C the costs
    summed over epochs, the arms weigh w = K softmax(rate C), which sums to K, and the loss of a sample of class c counts
    w_c + w_(K+1) times. In the first epoch nothing is known and every arm weighs 1. A class without validation images is
    charged the average.

    Source: Li and Liu 2023 (WAT: worst-class adversarial training); code boqili/WAT 62d1184.
    Departures: the costs are class means over true counts (``counted``); the weights have mean 1, so that the learning
    rate means what it means without them (``normalise``); the exponentials are shifted by the largest, so that no sum of
    costs overflows. With ``counted="batches"`` and ``normalise=False`` it is the published loss, whose first epoch is twice
    that of TRADES. The code charges a class without validation images nothing.
    Observes: the objective's two terms on the validation images under the training attack, by class; the robust term
    brings its own coefficient (beta).
    Costs: a pass of the training attack over the validation images after each epoch.
    """

    rate: float = 0.1
    """eta, per unit of cost (nats), at least 0; at 0 all arms weigh the same."""
    normalise: bool = True
    """Whether the weights are scaled to mean 1; otherwise they are 2 in the first epoch, and 2 K/(K+1) later at rate 0."""
    counted: Literal["samples", "batches"] = "samples"
    """What a class's sum of losses is divided by: its number of images, or, as published, 1/K of the images that whole
    validation batches would hold, which counts a ragged last batch as full."""
    batch_size: int = 128
    """Images of a validation batch, at least 1; only for ``counted="batches"``."""

    needs = ("validation_label_loss", "validation_robust_loss", "validation_count")
    steers = ("weight",)

    def check(self) -> None:
        """Refuse a negative rate and empty batches."""
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"rate {self.rate} must be a finite number of at least 0: 0.1 is published")
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} must be at least 1: 128 is published")

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`. The last entry of both is the arm of the average."""
        return {
            "cost": torch.zeros(groups + 1, dtype=torch.float64),
            "arms": torch.ones(groups + 1, dtype=torch.float64),
        }

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        cost = state["cost"] + self._cost(stats)
        return {"cost": cost, "arms": (len(cost) - 1) * (self.rate * cost).softmax(0)}

    def knobs(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        weight = state["arms"][:-1] + state["arms"][-1]
        return {"weight": mean_one(weight) if self.normalise else weight}

    def notes(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`. The cost of each class so far, in nats."""
        return {"cumulative_cost": state["cost"][:-1]}

    def _cost(self, stats: Stats) -> Tensor:
        """Cost of one epoch of each arm, (G + 1,)."""
        count = stats["validation_count"].double()
        loss = stats["validation_label_loss"] + stats["validation_robust_loss"]
        present = count > 0
        if self.counted == "samples":
            average = loss[present].sum() / present.sum().clamp_min(1)
        else:
            batches = max(1, math.ceil(int(count.sum()) / self.batch_size))
            loss = len(count) * loss * count / (batches * self.batch_size)
            average = loss.mean()
        return torch.cat([torch.where(present, loss, average), average[None]])
