"""What every component must be, whatever its kind: a configuration that has a name and survives its file."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import yaml

from classwise import registry
from classwise.configuration import Component, from_plain, to_yaml
from classwise.testing.demand import Demand, S, demand, examine, require
from classwise.testing.finding import Finding


def base_of(component: type[Component]) -> type[Component]:
    """The base class of a component's kind, such as ``ClassPolicy``."""
    return next(each for each in component.__mro__ if "kind" in vars(each))


def copied(component: Any) -> Any:
    """A component made anew from its YAML, as a resumed run makes it."""
    return from_plain(base_of(type(component)), yaml.safe_load(to_yaml(component)))


@demand(
    "configured",
    expected="the class is a frozen dataclass of its own, so that its fields are its settings, its flags and its YAML",
    mend="write @config above the class, below @register, and give every field a type and a default",
)
def configured(component: Component) -> None:
    """Whether the class went through @config."""
    name = type(component).__name__
    require("__dataclass_fields__" in vars(type(component)), f"{name} is not decorated")
    frozen = type(component).__dataclass_params__.frozen  # type: ignore[attr-defined]
    keywords = all(field.kw_only for field in dataclasses.fields(component))  # type: ignore[arg-type]
    require(frozen and keywords, f"{name} is a dataclass that is not frozen and keyword-only")


@demand(
    "complete",
    expected="every method that the base class leaves open is written",
    mend="",
)
def complete(component: Component) -> None:
    """Whether a method is missing; nothing else is looked at then."""
    own = type(component)
    for name in dir(own):
        method = getattr(own, name)
        if getattr(method, "__isabstractmethod__", False):
            words = ", ".join(inspect.signature(method).parameters)
            require(False, f"{own.__name__} has no {name} of its own", f"write def {name}({words})")


@demand(
    "registered",
    expected="the class is registered under a name of its own, which configurations and the command line use",
    mend="",
)
def registered(component: Component) -> None:
    """Whether the registry finds the class by its name."""
    own, kind = type(component), component.kind
    mend = f'write @register("{kind}", "my-name") above the class'
    name = vars(own).get("registered_name", "")
    require(bool(name), f"{own.__name__} has no name of its own", mend)
    require(name in registry.names(kind), f"{name!r} is registered, but not as {kind}", mend)
    require(registry.get(kind, name) is own, f"the name {name!r} finds {registry.get(kind, name).__name__}", mend)


@demand(
    "yaml",
    expected="the settings survive the YAML that a run keeps: read back, they make an equal component",
    mend="use fields of type bool, int, float, str, Radius, Literal, tuple[…, ...] of them, components, or … | None",
    after=("configured", "registered"),
)
def survives_yaml(component: Component) -> None:
    """Whether writing and reading gives an equal component."""
    made = copied(component)
    changed = [
        field.name
        for field in dataclasses.fields(component)  # type: ignore[arg-type]
        if getattr(made, field.name) != getattr(component, field.name)
    ]
    require(not changed, f"{', '.join(changed)} came back changed" if changed else "")


SETTINGS: tuple[Demand[Component], ...] = (complete, configured, registered, survives_yaml)
"""Demands on every component."""


def examine_contract(component: Component, subject: S, demands: Sequence[Demand[S]]) -> tuple[Finding, ...]:
    """Go through the demands on every component, then through those of its kind.

    Args:
        component: The component.
        subject: What the demands of its kind look at.
        demands: They.

    Returns:
        One finding per demand; those of its kind are left out where the component is not complete.
    """
    settings = examine(component, SETTINGS)
    return settings if not settings[0].passed else (*settings, *examine(subject, demands))
