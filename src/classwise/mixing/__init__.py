"""Mixing of images within a class."""

from classwise.mixing.base import Mixing, NoMixing
from classwise.mixing.gaussian_noise import GaussianNoise
from classwise.mixing.same_class import SameClassMixup

__all__ = ["GaussianNoise", "Mixing", "NoMixing", "SameClassMixup"]
