"""``classwise data``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from classwise import registry
from classwise.cli.flags import parse


@dataclass(frozen=True)
class Fetch:
    """Download a data set from its official site, verify its checksum and keep it in the cache."""

    name: tyro.conf.Positional[str]
    """Data set, such as cifar10."""
    folder: Path | None = None
    """Where to keep it; default: the cache."""


@dataclass(frozen=True)
class List:
    """Say which data sets there are."""


Command = Annotated[Fetch, tyro.conf.subcommand("fetch")] | Annotated[List, tyro.conf.subcommand("list")]


@dataclass(frozen=True)
class Flags:
    """Fetch data sets, or say which there are."""

    command: tyro.conf.OmitSubcommandPrefixes[Command]


def main(arguments: list[str]) -> int:
    """Run the command."""
    command = parse(Flags, "data", arguments).command
    if isinstance(command, Fetch):
        from classwise.data.fetch import fetch

        print(f"{command.name} is in {fetch(command.name, command.folder)}")
        return 0
    for name in registry.names("data"):
        if name != "given":
            print(f"{name:10} {(inspect.getdoc(registry.get('data', name)) or '').partition(chr(10))[0]}")
    return 0
