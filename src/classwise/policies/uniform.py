"""No class-wise treatment."""

from __future__ import annotations

from classwise.configuration import config
from classwise.policies.base import ClassPolicy
from classwise.registry import register


@register("policy", "uniform", "none")
@config
class Uniform(ClassPolicy):
    """Every class gets the same radius and the same weight: no class-wise treatment. Observes nothing, costs nothing."""
