"""Components from whatever names them: an instance, a class, a registered name."""

from __future__ import annotations

import dataclasses
from typing import Any

from classwise import registry
from classwise.configuration import Component


def made(given: Any, kind: str) -> Any:
    """The component of a kind that is meant.

    Args:
        given: An instance, or a class or a registered name that can be made without arguments.
        kind: The kind it must be of, such as "policy".

    Raises:
        ValueError: It is of another kind, unknown, or needs arguments.
    """
    component = registry.get(kind, given) if isinstance(given, str) else given
    own = component if isinstance(component, type) else type(component)
    if getattr(own, "kind", None) != kind:
        raise ValueError(f"{_named(given)} is no {kind}: derive it from the base class in {registry.HOMES[kind]}")
    if not isinstance(component, type):
        return component
    missing = required(component)
    if missing:
        raise ValueError(
            f"{component.__name__} cannot be made without {', '.join(missing)}: "
            f"check an instance, check_component({component.__name__}({missing[0]}=…))"
        )
    return component()


def kind_of(given: Any) -> str:
    """The kind of an instance, a class or a registered name.

    Args:
        given: A name may say its kind, as in "policy=kl-dro".

    Raises:
        ValueError: It is no component, or a name that is unknown or that several kinds have.
    """
    if not isinstance(given, str):
        kind = getattr(given, "kind", None)
        if not isinstance(given, Component) and not (isinstance(given, type) and issubclass(given, Component)):
            raise ValueError(
                f"{_named(given)} is no component: give an instance or a class of a policy, an objective, …"
            )
        return str(kind)
    kind, equals, _ = given.partition("=")
    if equals:
        return kind
    kinds = [each for each in registry.HOMES if each != "recipe" and _knows(each, given)]
    if len(kinds) != 1:
        known = sorted({name for each in registry.HOMES if each != "recipe" for name in registry.names(each)})
        hint = (
            f": write {' or '.join(f'{each}={given}' for each in kinds)}"
            if kinds
            else registry.did_you_mean(given, known)
        )
        raise ValueError(f"{'several kinds have' if kinds else 'there is no component of'} the name {given!r}{hint}")
    return kinds[0]


def required(component: type) -> list[str]:
    """Names of the fields that have no default."""
    return [
        field.name
        for field in dataclasses.fields(component)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _knows(kind: str, name: str) -> bool:
    return name in registry.names(kind) or any(name in registry.aliases(kind, each) for each in registry.names(kind))


def _named(given: Any) -> str:
    return given.__name__ if isinstance(given, type) else repr(given)
