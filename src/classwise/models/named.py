"""Networks in one word, as written on a command line."""

from __future__ import annotations

import dataclasses

import yaml

from classwise import registry
from classwise.configuration import from_plain
from classwise.models.builder import ModelBuilder

SHORT = {
    "resnet32": "resnet-cifar,depth=32",
    "resnet56": "resnet-cifar,depth=56",
    "resnet110": "resnet-cifar,depth=110",
    "wide-resnet-28-10": "wide-resnet,depth=28",
    "wide-resnet-32-10": "wide-resnet,depth=32",
    "wide-resnet-34-20": "wide-resnet,depth=34,widen=20",
}
"""Sizes that papers call by a name of their own."""


def network_named(text: str, where: str = "network") -> ModelBuilder:
    """Build a model configuration from text.

    The forms are ``NAME``, ``NAME:ARGUMENT`` where a network needs to be told which (the argument fills its one field
    without a default), and either one followed by ``,FIELD=VALUE`` as often as needed, values being read as YAML::

        resnet20
        resnet-cifar,depth=32
        wide-resnet-28-10,sub_block=true
        torchvision:resnet18
        timm:resnet18,pretrained=true
        import:mypkg.nets:make_net(depth=28),mean=[0.49,0.48,0.45],std=[0.25,0.24,0.26]

    Nothing is imported or loaded until the configuration's ``build`` is called.

    Args:
        text: One of these forms; commas inside brackets belong to the value.
        where: What to call the text in messages.

    Raises:
        ValueError: The name is unknown, needs or takes no argument, or a field does not fit.
    """
    head, *pairs = split_fields(text)
    name, colon, argument = head.partition(":")
    if name in SHORT:
        name, *size = split_fields(SHORT[name])
        pairs = size + pairs
    try:
        found = registry.get("model", name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    needed = [
        field.name
        for field in dataclasses.fields(found)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    plain: dict[str, object] = {"name": name}
    if colon and len(needed) != 1:
        raise ValueError(f"{where}: {name!r} takes nothing after a colon: write {name} or {name},FIELD=VALUE")
    if colon:
        plain[needed[0]] = argument
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals or field in plain:
            raise ValueError(f"{where}: {pair!r} in {text!r} is no further field: write {head},FIELD=VALUE")
        try:
            plain[field] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{where}: the value in {pair!r} cannot be read: write it as in YAML") from error
    if len(needed) == 1 and needed[0] not in plain:
        raise ValueError(f"{where}: {name!r} has to be told its {needed[0]}: write {name}:{needed[0].upper()}")
    made: ModelBuilder = from_plain(ModelBuilder, plain, where=where)
    return made


def split_fields(text: str) -> list[str]:
    """Parts of a text between the commas that are not inside brackets."""
    parts, depth = [""], 0
    for each in text:
        depth += (each in "([{") - (each in ")]}")
        if each == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += each
    return parts
