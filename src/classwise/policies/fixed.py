"""Class knobs given by hand."""

from __future__ import annotations

import math

import torch

from classwise.configuration import config
from classwise.policies.base import KNOBS, ClassPolicy, State
from classwise.registry import register


@register("policy", "fixed")
@config
class Fixed(ClassPolicy):
    """Knobs that never change: one value per group, or an empty list for "all 1".

    Source: the one-class ablation of FRL (Xu et al. 2021, section 5.3 and figure 3: weight 1.0 to 4.5 times, radius 1.0 to 2.5).
    Departures: none.
    Observes: nothing.
    Costs: nothing.
    """

    radius: tuple[float, ...] = ()
    """Multipliers of the radius, dimensionless."""
    step: tuple[float, ...] = ()
    """Multipliers of the attack's step."""
    weight: tuple[float, ...] = ()
    """Multipliers of the whole loss."""
    label: tuple[float, ...] = ()
    """Multipliers of the loss on the label."""
    robust: tuple[float, ...] = ()
    """Multipliers of the robust term."""
    steps: tuple[float, ...] = ()
    """Multipliers of the number of attack steps, at most 1."""
    temperature: tuple[float, ...] = ()
    """Multipliers of a teacher's temperature for clean images."""
    robust_temperature: tuple[float, ...] = ()
    """Multipliers of a teacher's temperature for perturbed images."""

    def check(self) -> None:
        """Refuse multipliers that are negative or no finite numbers."""
        for name in KNOBS:
            if not all(0 <= value < math.inf for value in getattr(self, name)):
                raise ValueError(f"{name} {list(getattr(self, name))} must be finite numbers of at least 0")

    def steered(self) -> frozenset[str]:
        """See :class:`ClassPolicy`."""
        return frozenset(name for name in KNOBS if getattr(self, name))

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`.

        Raises:
            ValueError: A knob has not one value per group.
        """
        given = {name: getattr(self, name) for name in KNOBS if getattr(self, name)}
        for name, values in given.items():
            if len(values) != groups:
                raise ValueError(f"policy.{name} has {len(values)} values: give one for each of the {groups} groups")
        return {name: torch.tensor(values, dtype=torch.float64) for name, values in given.items()}
