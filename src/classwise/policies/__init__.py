"""Class policies: what a class's radius and weight are, and when they change."""

from classwise.policies.base import KNOBS, ClassPolicy, State, Stats, mean_one
from classwise.policies.boundary_budget import BoundaryBudget
from classwise.policies.calibrated_radius import CalibratedRadius
from classwise.policies.calibrated_regularisation import CalibratedRegularisation
from classwise.policies.calibrated_temperature import CalibratedTemperature
from classwise.policies.combined import Combined
from classwise.policies.constraint_remargin import ConstraintRemargin
from classwise.policies.constraint_reweight import ConstraintReweight
from classwise.policies.error_reweight import ErrorReweight
from classwise.policies.fixed import Fixed
from classwise.policies.hedge import Hedge
from classwise.policies.kl_dro import KLDRO
from classwise.policies.similarity_transfer import SimilarityTransfer
from classwise.policies.uniform import Uniform

__all__ = [
    "KLDRO",
    "KNOBS",
    "BoundaryBudget",
    "CalibratedRadius",
    "CalibratedRegularisation",
    "CalibratedTemperature",
    "ClassPolicy",
    "Combined",
    "ConstraintRemargin",
    "ConstraintReweight",
    "ErrorReweight",
    "Fixed",
    "Hedge",
    "SimilarityTransfer",
    "State",
    "Stats",
    "Uniform",
    "mean_one",
]
