"""Exponential moving average of the weights, once per step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from classwise.averaging.base import Averaging, Signal, Weights
from classwise.averaging.ema import blend
from classwise.configuration import config
from classwise.registry import register


@register("averaging", "step-ema", "seat")
@config
class StepEMA(Averaging):
    """average <- d average + (1 - d) weights after every optimiser step, beginning at the weights before the first one.

    With ``warmup`` d = min(decay, (t + 1) / (t + 10)) in step t (counted from 0), so that the average leaves the first,
    random weights soon; without it d = decay throughout.

    Source: Wang and Wang 2022 (SEAT, self-ensemble adversarial training); code whj363636/Self-Ensemble-Adversarial-Training
    826b4bc.
    Departures: integer buffers (BatchNorm's counter) are copied.
    Costs: one copy of the weights, one pass over them per step, and a validation pass of the average per epoch.
    """

    unit: ClassVar[Literal["epoch", "step"]] = "step"

    decay: float = 0.999
    """Share of the old average that is kept in a step, in [0, 1)."""
    warmup: bool = True
    """Whether less is kept in the first steps."""
    buffers: Literal["average", "copy"] = "average"
    """Whether BatchNorm's running statistics are averaged like weights or copied from the live model."""

    def check(self) -> None:
        """Refuse a decay outside [0, 1)."""
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay {self.decay} must lie in [0, 1)")

    def begin(self, model: Mapping[str, Tensor]) -> Weights:
        """See :class:`Averaging`: a copy of the first weights."""
        return blend({}, model, self.decay, copy_buffers=False)

    def update(self, average: Weights, model: Mapping[str, Tensor], signal: Signal) -> Weights:
        """See :class:`Averaging`."""
        step = int(signal["step"])
        decay = min(self.decay, (step + 1) / (step + 10)) if self.warmup else self.decay
        return blend(average, model, decay, copy_buffers=self.buffers == "copy")
