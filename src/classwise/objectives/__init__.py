"""Objectives: natural, adversarial training, TRADES."""

from classwise.objectives.base import Objective, Outputs, SampleInfo
from classwise.objectives.cross_entropy import AdversarialTraining, Natural
from classwise.objectives.trades import Trades

__all__ = ["AdversarialTraining", "Natural", "Objective", "Outputs", "SampleInfo", "Trades"]
