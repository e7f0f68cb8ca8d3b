"""The contract checks of any component, by its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from classwise.configuration import Component
from classwise.testing.attack import check_attack
from classwise.testing.averaging import check_averaging
from classwise.testing.demand import examine
from classwise.testing.finding import Finding, assert_passes
from classwise.testing.made import kind_of, made
from classwise.testing.mixing import check_mixing
from classwise.testing.objective import check_objective
from classwise.testing.perturbation import check_perturbation
from classwise.testing.policy import check_policy
from classwise.testing.repair import check_repair
from classwise.testing.selection import check_selection
from classwise.testing.settings import SETTINGS

CHECKS: dict[str, Callable[[Any], tuple[Finding, ...]]] = {
    "policy": check_policy,
    "objective": check_objective,
    "attack": check_attack,
    "averaging": check_averaging,
    "mixing": check_mixing,
    "perturbation": check_perturbation,
    "selection": check_selection,
    "repair": check_repair,
}
"""Kinds with a contract of their own; of others only the settings are checked."""


def check_component(component: Component | type[Component] | str) -> tuple[Finding, ...]:
    """Check a component against the contract of its kind.

    Args:
        component: An instance, or the class or registered name of one that can be made without arguments; a name that
            several kinds have is written with its kind, as in "mixing=none".

    Returns:
        One finding per check. Of data sources, models, augmentations, optimisers and schedules only the settings are
        checked.

    Raises:
        ValueError: It is no component, is unknown, or cannot be made without arguments.
    """
    kind = kind_of(component)
    if isinstance(component, str):
        component = component.rpartition("=")[2]
    if kind in CHECKS:
        return CHECKS[kind](component)
    return examine(made(component, kind), SETTINGS)


def assert_component(component: Component | type[Component] | str) -> None:
    """Fail a test where a component does not keep its contract.

    Args:
        component: See :func:`check_component`.

    Raises:
        AssertionError: A check failed; the message says of each what was expected, what was seen and how to mend it.
        ValueError: It is no component, is unknown, or cannot be made without arguments.
    """
    assert_passes(check_component(component))
