"""``classwise recipes``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import tyro

from classwise import registry
from classwise.cli.flags import parse
from classwise.configuration import to_yaml
from classwise.recipes import recipe

LIST = "list"


@dataclass(frozen=True)
class Flags:
    """List the named experiments, or show one: its source and its whole configuration as YAML."""

    name: tyro.conf.Positional[str] = ""
    """Recipe to show; nothing, or the word list, lists them all."""
    source: bool = False
    """List the tables and figures of the papers instead: what each shows, where its settings come from, what is assumed."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "recipes", arguments)
    if flags.source:
        if flags.name not in ("", LIST):
            raise ValueError(
                f"--source lists experiments, not the recipe {flags.name!r}: write classwise recipes list --source"
            )
        return experiments()
    if flags.name not in ("", LIST):
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
    print("classwise recipes list --source lists the tables and figures of the papers; classwise reproduce runs one.")
    return 0


def experiments() -> int:
    """Print every experiment of the papers: its table, what it shows, its sources, what is assumed."""
    from classwise.experiments.index import experiment, names

    for name in names():
        found = experiment(name)
        where = found.table.replace("table", "table ").replace("figure", "figure ")
        trainings = len(found.trainings())
        print(f"{name}  ({found.paper}, {where}; {len(found.cells())} cells, {trainings} trainings)")
        print(f"  {found.shows}")
        print(f"  Settings: {found.source}")
        for sentence in found.assumed:
            print(f"  Assumed: {sentence}")
    print("\nclasswise reproduce NAME --budget small|short|paper runs one.")
    return 0
