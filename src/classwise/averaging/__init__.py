"""Averages of weights, and when they are updated."""

from classwise.averaging.base import Averaging, NoAveraging
from classwise.averaging.ema import EpochEMA

__all__ = ["Averaging", "EpochEMA", "NoAveraging"]
