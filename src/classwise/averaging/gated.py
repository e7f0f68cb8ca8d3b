"""Moving average that leaves out epochs in which a class is weak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from classwise.averaging.base import Averaging, Signal, Weights
from classwise.averaging.ema import blend
from classwise.configuration import config
from classwise.registry import register


@register("averaging", "gated-ema", "fawa")
@config
class Gated(Averaging):
    """The average of :class:`EpochEMA`, into which an epoch enters only if its weakest classes are robust enough.

    At the end of each epoch from ``start`` on, the weights enter if the gate is at least ``threshold``. The gate is the
    robust accuracy of the raw weights on validation images, of the worst class or as the mean of the worst fifth of the
    classes (ceil(K / 5) of them); classes without validation images do not count. The first weights that enter are copied;
    until then there is no average and the raw weights stand in.

    Source: Wei et al. 2023 (CFA), section 4.3 and algorithm 1 (decay 0.85, threshold 0.2, start 50; mean of the worst 20 % for
    Tiny-ImageNet); code PKU-ML/CFA 071f333 (decay 0.88, threshold 0.24, start 0).
    Departures: the code evaluates a random network until the first epoch enters; integer buffers (BatchNorm's counter) are
    copied.
    Observes: robust accuracy of each class on validation images.
    Costs: one copy of the weights, and a validation pass of the average per epoch.
    """

    needs: ClassVar[tuple[str, ...]] = ("validation_count", "validation_robust")

    decay: float = 0.85
    """Share of the old average that is kept, in [0, 1)."""
    start: int = 0
    """First epoch (counted from 0) that may enter the average."""
    threshold: float = 0.2
    """Least robust accuracy with which an epoch enters, at most 1; 0 or less: every epoch does."""
    gate: Literal["worst", "worst-fifth"] = "worst"
    """Whose robust accuracy counts: the worst class's, or the mean of the worst fifth of the classes."""
    buffers: Literal["average", "copy"] = "average"
    """Whether BatchNorm's running statistics are averaged like weights or copied from the live model."""

    def check(self) -> None:
        """Refuse a decay outside [0, 1), a negative epoch and a threshold that nothing reaches."""
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay {self.decay} must lie in [0, 1)")
        if self.start < 0:
            raise ValueError(f"start {self.start} must be at least 0")
        if not self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold} must be at most 1: give a fraction such as 0.2")

    def update(self, average: Weights, model: Mapping[str, Tensor], signal: Signal) -> Weights:
        """See :class:`Averaging`."""
        if int(signal["epoch"]) < self.start or not self._admits(signal):
            return average
        return blend(average, model, self.decay, copy_buffers=self.buffers == "copy")

    def _admits(self, signal: Signal) -> bool:
        robust = signal["validation_robust"][signal["validation_count"] > 0].sort().values
        lowest = 1 if self.gate == "worst" else -(-len(robust) // 5)
        return bool(robust[:lowest].mean() >= self.threshold)
