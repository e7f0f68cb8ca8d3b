"""Perturbation of weights around a training step."""

from classwise.perturbation.base import NoPerturbation, Perturbation

__all__ = ["NoPerturbation", "Perturbation"]
