"""Perturbation of weights around a training step."""

from classwise.perturbation.base import Gradient, NoPerturbation, Perturbation

__all__ = ["Gradient", "NoPerturbation", "Perturbation"]
