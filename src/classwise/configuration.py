"""Configuration: frozen dataclasses, and the strict plain form that is written to YAML.

A component is a frozen, keyword-only dataclass: its fields are its configuration, its ``repr``, its YAML and its
flags. In plain form a registered component is ``{"name": "kl-dro", "tau": 0.5}``, any other configuration class
is a mapping of its fields. Reading is strict: an unknown key, a missing name or a value of the wrong type is an
error that names the key, and nothing is evaluated.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin

import yaml

from classwise import registry
from classwise.radius import Radius

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Make a class a configuration: a frozen, keyword-only dataclass.

    Numbers given for fields of type :class:`Radius` may be text such as ``"8/255"``. A method ``check(self)``,
    where there is one, is called after construction and raises ``ValueError`` for values out of range.
    """
    own_check = cls.__dict__.get("__post_init__")
    assert own_check is None, "write check(), not __post_init__(), in a configuration class"

    def after_init(self: Any) -> None:
        for field_name in radius_fields:
            value = getattr(self, field_name)
            if value is not None:
                object.__setattr__(self, field_name, Radius(value))
        check = getattr(self, "check", None)
        if check is not None:
            check()

    cls.__post_init__ = after_init  # type: ignore[attr-defined]
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    radius_fields = [field.name for field in dataclasses.fields(made) if _is_radius(field.type)]  # type: ignore[arg-type]
    return made


class Component:
    """Base class of everything that can be named in a configuration."""

    kind: ClassVar[str]
    registered_name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    """Paper, equation, published code and revision, and every deliberate departure."""


def to_plain(value: Any) -> Any:
    """Turn a configuration into mappings, lists, text and numbers that YAML and JSON can hold."""
    if isinstance(value, Radius):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {"name": value.registered_name} if isinstance(value, Component) and value.registered_name else {}
        return named | {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(each) for each in value]
    assert value is None or isinstance(value, bool | int | float | str), f"{type(value)} has no plain form"
    return value


def from_plain(kind: Any, value: Any, where: str = "") -> Any:
    """Build an object of a type from its plain form.

    Args:
        kind: A configuration class, a component base class, or a plain type such as ``float``,
            ``tuple[int, ...]``, ``Literal[...]``, ``Radius`` or ``X | None``.
        value: What was read.
        where: Dotted name of the place, for messages.

    Raises:
        ValueError: The value does not fit; the message names the key and what would fit.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _from_union(kind, value, where)
    if origin is Literal:
        choices = list(get_args(kind))
        if value not in choices:
            hint = registry.did_you_mean(str(value), [str(each) for each in choices])
            raise ValueError(f"{where}: {value!r} is not one of its values{hint}")
        return value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"{where}: expected a list, got {value!r}")
        item = get_args(kind)[0]
        return tuple(from_plain(item, each, f"{where}[{i}]") for i, each in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a mapping of names to values, got {value!r}")
        return {str(key): from_plain(get_args(kind)[1], each, f"{where}.{key}") for key, each in value.items()}
    assert isinstance(kind, type), f"{where}: {kind} is no configuration type"
    if issubclass(kind, Radius):
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{where}: expected a radius such as 8/255, got {value!r}")
        return _blame(where, lambda: Radius(value))
    if issubclass(kind, Component):
        return _component(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    return _scalar(kind, value, where)


def replace(base: T, **changes: Any) -> T:
    """A copy of a configuration with some fields changed, unknown names refused with a suggestion."""
    known = [field.name for field in dataclasses.fields(base)]  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            raise ValueError(f"{type(base).__name__} has no field {name!r}{registry.did_you_mean(name, known)}")
    return dataclasses.replace(base, **changes)  # type: ignore[type-var]


def to_yaml(value: Any) -> str:
    """The configuration as YAML text, fields in their declared order."""
    return yaml.safe_dump(to_plain(value), sort_keys=False, allow_unicode=True)


def from_yaml(kind: type[T], path: str | Path) -> T:
    """Read a configuration from a YAML file.

    Raises:
        ValueError: The file is missing, is no YAML mapping, or does not fit the type.
    """
    path = Path(path)
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError:
        raise ValueError(f"configuration file {str(path)!r} does not exist") from None
    except OSError as error:
        raise ValueError(
            f"configuration file {str(path)!r} cannot be read: {(error.strerror or '').lower()}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"configuration file {str(path)!r} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(value, Mapping):
        raise ValueError(f"configuration file {str(path)!r} must hold a mapping of fields, not {type(value).__name__}")
    try:
        made: T = from_plain(kind, value)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return made


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Lines that say where two configurations differ: ``epochs: 30 → 40``."""
    first, second = (to_plain(each) if dataclasses.is_dataclass(each) else each for each in (first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        keys = [*first, *(key for key in second if key not in first)]
        inner = (differences(first.get(key), second.get(key), f"{where}.{key}".lstrip(".")) for key in keys)
        return [line for lines in inner for line in lines]
    return [] if first == second else [f"{where}: {first} → {second}"]


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that is written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See ``yaml.SafeLoader``."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for i, key in enumerate(keys) if key in keys[:i]]
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]!r} is written twice in one mapping")
        return super().construct_mapping(node, deep)


def _component(kind: type[Component], value: Any, where: str) -> Any:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or "name" not in value:
        raise ValueError(f"{where}: expected a {kind.kind} as a mapping with its 'name', got {value!r}")
    found = _blame(where, lambda: registry.get(kind.kind, str(value["name"])))
    return _dataclass(found, {key: each for key, each in value.items() if key != "name"}, where)


def _dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a mapping of fields, got {value!r}")
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key in value:
        if key not in known:
            place = f"{where}.{key}".lstrip(".")
            raise ValueError(f"unknown key {place!r}{registry.did_you_mean(str(key), known)}")
    fields = {key: from_plain(hints[key], each, f"{where}.{key}".lstrip(".")) for key, each in value.items()}
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in fields
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where or kind.__name__}: the field {missing[0]!r} is missing")
    return _blame(where, lambda: kind(**fields))


def _from_union(kind: Any, value: Any, where: str) -> Any:
    members = get_args(kind)
    if value is None and type(None) in members:
        return None
    (member,) = (each for each in members if each is not type(None))
    return from_plain(member, value, where)


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except ValueError:
            pass
    if kind is str and isinstance(value, str):
        return value
    raise ValueError(f"{where}: expected {kind.__name__}, got {value!r}")


def _is_radius(annotation: Any) -> bool:
    text = getattr(annotation, "__name__", str(annotation)).removesuffix(" | None")
    return text.rpartition(".")[2] == "Radius"


def _blame(where: str, make: typing.Callable[[], Any]) -> Any:
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error
