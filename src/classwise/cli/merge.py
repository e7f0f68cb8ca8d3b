"""``classwise merge``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import api
from classwise.cli.flags import parse


@dataclass(frozen=True)
class Flags:
    """Put the parts of an audit together that were made with `classwise audit … --out FOLDER --shard 1/8` and so on.

    Checks that they belong together and cover every image once.
    """

    folder: tyro.conf.Positional[Path]
    """What --out was for every part; it holds shard-1-of-8 and the others. The whole is saved there."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "merge", arguments)
    result = api.merge(flags.folder)
    print(result)
    print(f"Saved in {result.folder}")
    return 0
