"""Checkpoints of other programs: read without running code, renamed to our keys, loaded whole or not."""

from classwise.models.foreign.constants import Normalisation, normalisation_of
from classwise.models.foreign.files import WRAPPERS, Weights, read_tensors
from classwise.models.foreign.load import load_foreign
from classwise.models.foreign.names import NAMINGS, map_keys

__all__ = [
    "NAMINGS",
    "WRAPPERS",
    "Normalisation",
    "Weights",
    "load_foreign",
    "map_keys",
    "normalisation_of",
    "read_tensors",
]
