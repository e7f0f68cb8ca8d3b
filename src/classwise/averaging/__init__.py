"""Averages of weights, and when they are updated."""

from classwise.averaging.base import Averaging, NoAveraging
from classwise.averaging.ema import EpochEMA
from classwise.averaging.gated import Gated
from classwise.averaging.step_ema import StepEMA

__all__ = ["Averaging", "EpochEMA", "Gated", "NoAveraging", "StepEMA"]
