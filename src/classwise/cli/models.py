"""``classwise models``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from dataclasses import dataclass
from typing import Annotated

import tyro

from classwise import registry
from classwise.cli.flags import parse
from classwise.models import ModelBuilder, network_named
from classwise.models.facts import CLASSES, SHAPE, ZOO, count_parameters, facts_of


@dataclass(frozen=True)
class List:
    """Say which networks there are, with source, usual image size and number of parameters."""


@dataclass(frozen=True)
class Show:
    """Say what is known of one network: what it is, its fields, its parameters and multiplications."""

    name: tyro.conf.Positional[str]
    """Network, such as resnet18 or wide-resnet,depth=28."""
    classes: int = CLASSES
    """Number of classes."""
    shape: tuple[int, int, int] = SHAPE
    """Channels, height and width of its images."""


Command = Annotated[List, tyro.conf.subcommand("list")] | Annotated[Show, tyro.conf.subcommand("show")]


@dataclass(frozen=True)
class Flags:
    """List the networks, with source and size, or show one."""

    command: tyro.conf.OmitSubcommandPrefixes[Command]


def main(arguments: list[str]) -> int:
    """Run the command."""
    command = parse(Flags, "models", arguments).command
    print("\n".join(overview() if isinstance(command, List) else described(command)))
    return 0


def overview() -> list[str]:
    """Lines of the list: the zoo, then what else is registered."""
    shape = "x".join(map(str, SHAPE))
    head = ("network", "parameters", "pixels", "source")
    rows = [head, *((each.word, f"{each.parameters:,}", each.pixels, each.source) for each in ZOO)]
    zoo = {network_named(each.word).registered_name for each in ZOO}
    others = [name for name in registry.names("model") if name not in zoo and name != "given"]
    return [
        *(f"{word:36} {parameters:>11}  {pixels:8}  {source}" for word, parameters, pixels, source in rows),
        "",
        f"Parameters are those for {CLASSES} classes and images of {shape}; any other number of classes and channels goes.",
        "",
        *(f"{name:12} {_first_line(name)}" for name in others),
        "",
        "classwise models show NAME says more.",
    ]


def described(command: Show) -> list[str]:
    """Lines about one network."""
    known = command.name in registry.names("model")
    needs = known and any(_is_required(each) for each in _fields(command.name))
    builder = None if needs else network_named(command.name, where="network")
    name = builder.registered_name if builder is not None else command.name
    also = registry.aliases("model", name)
    lines = [name + (f" (also {', '.join(also)})" if also else ""), "", *_documentation(name).splitlines(), ""]
    for field in _fields(name):
        given = f"={getattr(builder, field.name)}" if builder is not None else ""
        text = f"{field.name}{given}: {_description(name, field.name)}"
        lines += textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="    ")
    return lines + (_size(builder, command) if builder is not None and _is_ours(name) else [])


def _size(builder: ModelBuilder, command: Show) -> list[str]:
    """What is counted, beside what others state."""
    import torch

    from classwise.models.cost import multiplications

    shape = "x".join(map(str, command.shape))
    with torch.device("meta"):
        network, images = builder.build(command.classes, command.shape), torch.empty(1, *command.shape)
    counted = f"{count_parameters(builder, command.classes, command.shape):,} parameters"
    products = f"{multiplications(network, images):,} multiplications per image"
    lines = ["", f"{counted} and {products}, for {command.classes} classes and images of {shape}."]
    facts = facts_of(builder)
    if facts is not None:
        lines.append(f"Usual side of its images: {facts.pixels} pixels. Source: {facts.source}.")
    if facts is not None and facts.published:
        lines.append(
            f"Stated by {facts.stated_by}: {facts.published} million parameters; counted here for {CLASSES} classes and "
            f"images of {'x'.join(map(str, SHAPE))}: {facts.parameters:,}."
        )
    return lines


def _is_ours(name: str) -> bool:
    """Whether a network is made by this package alone, so that making it neither downloads nor runs other code."""
    return name in {network_named(each.word).registered_name for each in ZOO}


def _fields(name: str) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(registry.get("model", name))


def _is_required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _documentation(name: str) -> str:
    return inspect.getdoc(registry.get("model", name)) or ""


def _first_line(name: str) -> str:
    return _documentation(name).partition("\n")[0]


def _description(name: str, field: str) -> str:
    """The text under a field, in its own class or the one it is inherited from."""
    for kind in registry.get("model", name).__mro__:
        if field in vars(kind).get("__annotations__", {}):
            body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
            assert isinstance(body, ast.ClassDef)
            for one, following in zip(body.body, body.body[1:], strict=False):
                if isinstance(one, ast.AnnAssign) and ast.unparse(one.target) == field:
                    text = getattr(getattr(following, "value", None), "value", "")
                    return " ".join(str(text).split())
    return ""
