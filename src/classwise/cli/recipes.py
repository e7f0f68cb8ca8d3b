"""``classwise recipes``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import tyro

from classwise import registry
from classwise.cli.flags import parse
from classwise.configuration import to_yaml
from classwise.recipes import recipe


@dataclass(frozen=True)
class Flags:
    """List the named experiments, or show one: its source and its whole configuration as YAML."""

    name: tyro.conf.Positional[str] = ""
    """Recipe to show; nothing lists them all."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "recipes", arguments)
    if flags.name:
        config = recipe(flags.name)
        for line in (inspect.getdoc(registry.get("recipe", flags.name)) or "").splitlines():
            print(f"# {line}".rstrip())
        print(to_yaml(config), end="")
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it is")
    for name in registry.names("recipe"):
        table.add_row(name, (inspect.getdoc(registry.get("recipe", name)) or "").partition("\n")[0])
    Console().print(table)
    print("\nclasswise recipes NAME shows one; classwise train NAME runs it.")
    return 0
