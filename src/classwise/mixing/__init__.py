"""Mixing of images within a class."""

from classwise.mixing.base import Mixing, NoMixing

__all__ = ["Mixing", "NoMixing"]
