"""Softer or sharper labels from a teacher, class by class (ABSLD)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.registry import register

_ROUNDING = 1e-12
"""Gaps below this share of the largest total are rounding, which must not be scaled up to a full step."""


@register("policy", "calibrated-temperature", "absld-temperature")
@config
class CalibratedTemperature(ClassPolicy):
    """Sharpen the teacher's labels of classes on which the network loses more than on others, soften the others.

    With the gap of a class its total cross-entropy in the epoch minus the mean of all classes' totals, its temperature
    becomes T - rate gap / (largest absolute gap), clamped to [low, high]; so the class furthest from the mean moves by the
    rate. Clean and perturbed images have a temperature each, from the cross-entropy of each, and both begin at 1. Equal
    totals change nothing.

    Source: Zhao et al. 2024 (ABSLD: anti-bias soft label distillation), code zhaoshiji123/ABSLD 7407c3a.
    Departures: the code divides one tensor of logits twice, so that both branches see the product of the two
    temperatures; here each sees its own. A class without samples in an epoch keeps its temperatures and counts in no
    mean. Totals are not means: where classes differ in size, a large class counts as a hard one, as published.
    Observes: the cross-entropy of clean and of perturbed images in the training steps, and counts.
    Costs: nothing beyond the logits of the step.
    """

    rate: float = 0.1
    """r, dimensionless, at least 0: how far the class with the largest gap moves in an epoch."""
    low: float = 0.5
    """Least temperature multiplier, above 0 and at most 1."""
    high: float = 5.0
    """Largest temperature multiplier, at least 1."""
    drops: tuple[int, ...] = (215, 260, 285)
    """Numbers of finished epochs from which on the rate is ten times smaller, the update at that moment included."""

    needs = ("train_cross_entropy", "train_clean_cross_entropy", "train_count")
    steers = ("temperature", "robust_temperature")

    def check(self) -> None:
        """Refuse a negative rate, a range without 1, and drops before the first epoch."""
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"rate {self.rate} must be a finite number of at least 0: 0.1 is published")
        if not 0 < self.low <= 1 <= self.high < math.inf:
            raise ValueError(
                f"low {self.low} and high {self.high} must enclose 1 and be above 0: 0.5 and 5 are published"
            )
        if any(drop < 1 for drop in self.drops):
            raise ValueError(f"drops {list(self.drops)} must be at least 1: they count finished epochs")

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {name: torch.ones(groups, dtype=torch.float64) for name in self.steers}

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        finished = int(stats["epoch"]) + 1
        rate = self.rate * 0.1 ** sum(finished >= drop for drop in self.drops)
        count = stats["train_count"]
        losses = {"temperature": "train_clean_cross_entropy", "robust_temperature": "train_cross_entropy"}
        return {
            knob: (state[knob] - rate * _relative_gap(stats[loss] * count, count > 0)).clamp(self.low, self.high)
            for knob, loss in losses.items()
        }


def _relative_gap(total: Tensor, seen: Tensor) -> Tensor:
    """Distance of class totals (G,) from their mean over the classes seen, the largest scaled to 1; 0 where not seen."""
    mean = total.sum() / seen.sum().clamp_min(1)
    gap = torch.where(seen, total - mean, 0)
    largest = gap.abs().max()
    return gap / largest if bool(largest > _ROUNDING * total.max()) else torch.zeros_like(gap)
