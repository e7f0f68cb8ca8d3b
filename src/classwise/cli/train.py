"""``classwise train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import api
from classwise.cli.flags import Choice, Nested, Parts, base_config, chosen_parts, describe_config, parse
from classwise.cli.show import run_summary


@dataclass(frozen=True)
class Flags:
    """Train a model by a named recipe or a configuration file; call again to resume, finished runs are kept."""

    recipe_or_file: tyro.conf.Positional[str]
    """A recipe (`classwise recipes` lists them) or a YAML file, such as a run's config.yaml."""
    config: Nested
    out: Path
    """Run directory."""
    parts: Choice
    dry_run: bool = False
    """Print the resolved configuration and an estimate of steps and time, and stop."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    named = bool(arguments) and not arguments[0].startswith("-")
    name = arguments[0] if named else "digits-pgd-at"
    parts = chosen_parts(arguments)
    config = base_config(name, parts)
    default = Flags(
        recipe_or_file=name if named else tyro.MISSING,
        config=config,
        parts=Parts(),
        out=Path("runs") / (config.recipe or "run"),
    )
    flags = parse(Flags, "train", arguments, default)
    if flags.dry_run:
        from classwise.training.estimate import estimate

        print(describe_config(flags.config))
        print(estimate(flags.config))
        return 0
    run = api.train(flags.config, flags.out, plugins=parts.plugin)
    print(run_summary(run))
    return 0
