"""Exponential moving average of the weights, once per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from classwise.averaging.base import Averaging, Signal, Weights
from classwise.configuration import config
from classwise.registry import register


@register("averaging", "epoch-ema", "ema")
@config
class EpochEMA(Averaging):
    """average <- decay average + (1 - decay) weights, at the end of each epoch from ``start`` on; the first is a copy.

    Source: Wei et al. 2023 (CFA), section 5.1 (decay 0.85, start 50; code PKU-ML/CFA 071f333: 0.88, 0); Zhang et al. 2024
    (FAAL; start 100).
    Departures: integer buffers are copied (the published code averages and truncates BatchNorm's counter).
    Costs: a copy of the weights, and a second pass over the validation images after each epoch.
    """

    decay: float = 0.85
    """Share of the old average that is kept, in [0, 1)."""
    start: int = 0
    """First epoch (counted from 0) that enters the average."""
    buffers: Literal["average", "copy"] = "average"
    """Whether BatchNorm's running statistics are averaged like weights or copied from the live model."""

    def check(self) -> None:
        """Refuse a decay outside [0, 1) and a negative epoch."""
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay {self.decay} must lie in [0, 1)")
        if self.start < 0:
            raise ValueError(f"start {self.start} counts epochs from 0: leave it at 0 or above")

    def update(self, average: Weights, model: Mapping[str, Tensor], signal: Signal) -> Weights:
        """See :class:`Averaging`."""
        if int(signal["epoch"]) < self.start:
            return average
        return blend(average, model, self.decay, copy_buffers=self.buffers == "copy")


def blend(average: Weights, model: Mapping[str, Tensor], decay: float, copy_buffers: bool) -> Weights:
    """One step of a moving average; an empty average becomes a copy of the model."""
    made = {}
    for name, value in model.items():
        value = value.detach()
        copied = not average or not value.is_floating_point() or (copy_buffers and "running_" in name)
        made[name] = value.clone() if copied else average[name].lerp(value, 1 - decay)
    return made
