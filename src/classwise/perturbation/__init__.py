"""Perturbation of weights around a training step."""

from classwise.perturbation.awp import AdversarialWeights
from classwise.perturbation.base import Gradient, NoPerturbation, Perturbation

__all__ = ["AdversarialWeights", "Gradient", "NoPerturbation", "Perturbation"]
