"""Class policies: what a class's radius and weight are, and when they change."""

from classwise.policies.base import KNOBS, ClassPolicy, State, Stats, mean_one
from classwise.policies.calibrated_radius import CalibratedRadius
from classwise.policies.combined import Combined
from classwise.policies.fixed import Fixed
from classwise.policies.kl_dro import KLDRO
from classwise.policies.uniform import Uniform

__all__ = [
    "KLDRO",
    "KNOBS",
    "CalibratedRadius",
    "ClassPolicy",
    "Combined",
    "Fixed",
    "State",
    "Stats",
    "Uniform",
    "mean_one",
]
