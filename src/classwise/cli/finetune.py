"""``classwise finetune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from classwise import api
from classwise.cli import NOT_REPAIRED, OK
from classwise.cli.flags import (
    Choice,
    Parts,
    RepairFields,
    base_config,
    chosen_parts,
    first_word,
    parse,
)
from classwise.cli.show import run_summary, start_summary
from classwise.cli.training import carry_out, with_data_dir
from classwise.configuration import differences
from classwise.runs import RunDirectory


@dataclass(frozen=True)
class Flags:
    """Repair the weakest classes of a robust model.

    What describes the problem (data, network, radius, …) comes from the run the model belongs to, what describes the
    method from the recipe; flags come last. Exit code 4 where nothing was repaired on validation images: the start itself is
    handed out (as the recipes that guard it do, --use selection=no-worse), or the weakest class is as weak as before, or
    weaker.
    """

    model: tyro.conf.Positional[Path]
    """A run directory, a checkpoint folder, or a file of weights (then name the network: --use model=resnet20)."""
    config: Annotated[RepairFields, tyro.conf.arg(name="")]
    out: Path
    """Run directory of the repair."""
    parts: Choice
    recipe: str = "faal-at"
    """Recipe or YAML file that says how to repair."""
    data_dir: Path | None = None
    """Folder of the data set's official files; the same as --data.folder."""
    dry_run: bool = False
    """Print the resolved configuration and an estimate of steps and time, and stop."""


_SHOWN = 6


@dataclass(frozen=True)
class _Named:
    recipe: str = "faal-at"


def main(arguments: list[str]) -> int:
    """Run the command."""
    model = first_word("finetune", arguments, "MODEL")
    parts = chosen_parts(arguments)
    named, _ = tyro.cli(_Named, args=arguments, return_unknown_args=True, add_help=False)
    config = base_config(named.recipe, parts)
    replaced: list[str] = []
    if model:
        method = config
        config = api.repair_config(model, method, keep=tuple(choice.partition("=")[0] for choice in parts.use))
        replaced = [
            line for line in differences(method, config) if not line.startswith(("start:", "hardware.", "data."))
        ]
    default = Flags(
        model=Path(model) if model else tyro.MISSING,
        config=RepairFields.of(config),
        parts=Parts(),
        out=Path("runs") / f"{Path(model).stem if model else 'model'}-{config.recipe or 'repair'}",
    )
    flags = parse(Flags, "finetune", arguments, default)
    if replaced and not RunDirectory(flags.out).exists:
        more = f" … and {len(replaced) - _SHOWN} more" if len(replaced) > _SHOWN else ""
        print(f"Of the start run, not of the recipe: {'; '.join(replaced[:_SHOWN])}{more}.")
    run = carry_out(with_data_dir(flags.config.plain(), flags.data_dir), flags.out, parts, flags.dry_run)
    if run is not None:
        print(start_summary(run))
        print(run_summary(run))
        if RunDirectory(flags.model).exists:
            print(f"      classwise compare {flags.model} {run.path}")
        if run.lift is not None and not run.lift.is_success:
            return NOT_REPAIRED
    return OK
