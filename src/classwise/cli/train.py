"""``classwise train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from classwise.cli.flags import (
    Choice,
    Parts,
    TrainFields,
    base_config,
    chosen_parts,
    first_word,
    parse,
)
from classwise.cli.show import run_summary
from classwise.cli.training import carry_out, with_data_dir


@dataclass(frozen=True)
class Flags:
    """Train a model by a named recipe or a configuration file; call again to resume, finished runs are kept."""

    recipe_or_file: tyro.conf.Positional[str]
    """A recipe (`classwise recipes` lists them) or a YAML file, such as a run's config.yaml."""
    config: Annotated[TrainFields, tyro.conf.arg(name="")]
    out: Path
    """Run directory."""
    parts: Choice
    data_dir: Path | None = None
    """Folder of the data set's official files; the same as --data.folder."""
    dry_run: bool = False
    """Print the resolved configuration and an estimate of steps and time, and stop."""
    track: tuple[str, ...] = ()
    """Trackers that the log is sent to meanwhile: tensorboard, tensorboard:FOLDER, mlflow, mlflow:URI."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    name = first_word("train", arguments, "RECIPE")
    parts = chosen_parts(arguments)
    config = base_config(name or "digits-pgd-at", parts)
    default = Flags(
        recipe_or_file=name or tyro.MISSING,
        config=TrainFields.of(config),
        parts=Parts(),
        out=Path("runs") / (config.recipe or "run"),
    )
    flags = parse(Flags, "train", arguments, default)
    config = with_data_dir(flags.config.plain(), flags.data_dir)
    run = carry_out(config, flags.out, parts, flags.dry_run, flags.track)
    if run is not None:
        print(run_summary(run))
    return 0
