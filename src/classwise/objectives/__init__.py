"""Objectives: what a training step lowers, one method a file."""

from classwise.objectives.base import Objective, Outputs, SampleInfo
from classwise.objectives.cross_entropy import AdversarialTraining, Natural
from classwise.objectives.distillation import Distillation
from classwise.objectives.mart import Mart
from classwise.objectives.trades import Trades
from classwise.objectives.variance import VarianceRegularised

__all__ = [
    "AdversarialTraining",
    "Distillation",
    "Mart",
    "Natural",
    "Objective",
    "Outputs",
    "SampleInfo",
    "Trades",
    "VarianceRegularised",
]
