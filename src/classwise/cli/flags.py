"""Flags from dataclasses, with radii such as 8/255, plug-ins and the choice of components."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import tyro
import yaml

from classwise import configuration, registry
from classwise.configuration import from_plain, from_yaml
from classwise.data import Dataset, load
from classwise.models.named import split_fields
from classwise.radius import Radius
from classwise.recipes import recipe
from classwise.runs import RunDirectory
from classwise.runs.directory import CONFIG
from classwise.training import TrainConfig

T = TypeVar("T")

_constructors = tyro.constructors.ConstructorRegistry()


@_constructors.primitive_rule
def _radius(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Radius] | None:
    if info.type is not Radius:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="RADIUS",
        instance_from_str=lambda words: Radius(words[0]),
        is_instance=lambda value: isinstance(value, Radius),
        str_from_instance=lambda value: [str(value)],
    )


@_constructors.primitive_rule
def _radii(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[tuple[Radius, ...]] | None:
    """Several radii; tyro's own rule for tuples would not say what is wrong with one of them."""
    if info.type != tuple[Radius, ...]:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[RADIUS ...]",
        instance_from_str=lambda words: tuple(Radius(word) for word in words),
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(each, Radius) for each in value),
        str_from_instance=lambda value: [str(each) for each in value],
    )


def parse(kind: type[T], verb: str, arguments: list[str], default: T | None = None) -> T:
    """Build a dataclass of flags from words; leaves the program after --help and after a wrong flag.

    Args:
        kind: A dataclass; its docstring is the help text.
        verb: For the usage line.
        arguments: Words after the verb.
        default: Values of flags that are not given.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    with _constructors:
        made: T = tyro.cli(kind, prog=f"classwise {verb}", args=arguments, **options)
    return made


@dataclass(frozen=True)
class Parts:
    """Which components a configuration has; chosen before their own flags are known."""

    use: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Put a component on an axis, such as policy=kl-dro or policy=calibrated-radius+kl-dro; may be repeated."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components of your own; may be repeated. Its code is run."""


def chosen_parts(arguments: list[str]) -> Parts:
    """The parts named among the words, plug-ins loaded; all other words are left for later."""
    parts, _ = tyro.cli(Parts, args=arguments, return_unknown_args=True, add_help=False)
    for path in parts.plugin:
        registry.load_plugin(path)
    return parts


def named_data(text: str | None, folder: Path | None) -> Dataset | None:
    """The data set that --data names, from the files in --data-dir where that is given; None where none is named.

    Args:
        text: A name, followed by ``,FIELD=VALUE`` as often as needed, such as ``folder,size=32,groups=site``.
        folder: The data source's field ``folder``.

    Raises:
        ValueError: The name or a field is unknown, or the data cannot be loaded.
    """
    if text is None:
        return None
    name, *pairs = split_fields(text)
    fields: dict[str, Any] = {} if folder is None else {"folder": folder}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals or field in fields:
            raise ValueError(f"--data {text}: {pair!r} is no further field: write {name},FIELD=VALUE")
        try:
            fields[field] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--data {text}: the value in {pair!r} cannot be read: write it as in YAML") from error
    return load(name, **fields)


def base_config(name: str, parts: Parts) -> TrainConfig:
    """The configuration of a recipe or a YAML file, with the chosen parts in place.

    Raises:
        ValueError: The recipe, the file, an axis or a component is unknown.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        config = recipe(name)
    elif path.name == CONFIG and RunDirectory(path.parent).exists:
        config = RunDirectory(path.parent).read_config(TrainConfig)
    else:
        config = from_yaml(TrainConfig, path)
    for choice in parts.use:
        axis, equals, component = choice.partition("=")
        if not equals:
            raise ValueError(f"--use {choice}: write AXIS=NAME, such as policy=kl-dro")
        current = getattr(config, axis, None)
        if not isinstance(current, configuration.Component):
            axes = [key for key, value in vars(config).items() if isinstance(value, configuration.Component)]
            raise ValueError(f"--use {choice}: there is no axis {axis!r}{registry.did_you_mean(axis, axes)}")
        members = [{"name": each} for each in component.split("+")]
        plain = members[0] if len(members) == 1 else {"name": "combined", "members": members}
        config = configuration.replace(config, **{axis: _built(current, plain, choice)})
    return config


def _built(current: configuration.Component, plain: dict[str, Any], choice: str) -> Any:
    base = next(each for each in type(current).__mro__ if "kind" in vars(each))
    return from_plain(base, plain, where=f"--use {choice}")


@dataclass(frozen=True, kw_only=True)
class TrainFields(TrainConfig):
    """A configuration whose fields are flags, except for the name of the recipe, which no flag may belie."""

    recipe: tyro.conf.Suppress[str] = ""

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        """The flags' default values."""
        return cls(**vars(config))

    def plain(self) -> TrainConfig:
        """The configuration that the flags say."""
        return TrainConfig(**vars(self))


@dataclass(frozen=True, kw_only=True)
class RepairFields(TrainFields):
    """The same without the start, which is an argument of its own."""

    start: tyro.conf.Suppress[str] = ""


Choice = Annotated[Parts, tyro.conf.arg(name="")]
"""The parts, as flags without a prefix."""


def first_word(verb: str, arguments: list[str], what: str) -> str | None:
    """The word that decides which flags there are; None where only help can follow.

    Raises:
        ValueError: A flag stands before it.
    """
    if arguments and not arguments[0].startswith("-"):
        return arguments[0]
    if not arguments or {"-h", "--help"} & set(arguments):
        return None
    raise ValueError(f"the flag {arguments[0]} stands before {what}: write `classwise {verb} {what} FLAGS`")
