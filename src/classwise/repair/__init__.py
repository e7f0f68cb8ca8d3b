"""Repairs without training: what a bias per class, a scale per class or a mixture of two sets of weights reaches."""

from classwise.repair.base import Fit, NoRepair, Repair
from classwise.repair.bench import Bench
from classwise.repair.interpolation import Interpolation
from classwise.repair.last_layer import LastLayerScale, LogitBias

__all__ = ["Bench", "Fit", "Interpolation", "LastLayerScale", "LogitBias", "NoRepair", "Repair"]
