"""``classwise reproduce``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise.cli import OK
from classwise.cli.flags import parse
from classwise.experiments.index import experiment
from classwise.experiments.sizes import SIZES, Budget


@dataclass(frozen=True)
class Flags:
    """Run a table of a paper: its trainings and audits one after the other, then what was measured beside what is printed.

    Call again to go on where it was interrupted; what is finished is not done again. `classwise recipes list --source` lists
    the experiments.
    """

    name: tyro.conf.Positional[str]
    """Experiment, such as faal-table2."""
    budget: Budget = "small"
    """Size: small (digits and a small network, minutes), short (the paper's data and network, at most 30 epochs), paper."""
    rows: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Rows to run, such as 'FAAL-*'; may be repeated; default: all. What they start from is trained as well."""
    seeds: int = 1
    """Runs of every training, with seeds from 0 on; a verdict needs 3."""
    out: Path | None = None
    """Folder of everything; default: reproduced/NAME-BUDGET. Experiments of one size may share it."""
    data_dir: Path | None = None
    """Folder of the data sets' official files; default: the cache filled by `classwise data fetch`."""
    start: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """TRAINING=FILE: weights in place of a training that others start from, such as wrn-trades=model.pt; may be repeated."""
    print_commands: bool = False
    """Write the configurations, print one command for each training and audit, for a scheduler, and stop."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "reproduce", arguments)
    from classwise.experiments.carry_out import carry_out
    from classwise.experiments.cost import cost
    from classwise.experiments.picture import write_picture
    from classwise.experiments.plan import commands, plan, write_configs
    from classwise.experiments.table import table_text, write_table

    made = plan(
        experiment(flags.name).only(flags.rows),
        SIZES[flags.budget],
        flags.out or Path("reproduced") / f"{flags.name}-{flags.budget}",
        flags.seeds,
        flags.data_dir,
        _files(flags.start),
    )
    if flags.print_commands:
        write_configs(made)
        for line in commands(made):
            print(line)
        return OK
    for name, reason in made.left_out.items():
        print(f"Left out: {name} ({reason}).")
    print(cost(made))
    outcome = carry_out(made)
    print(table_text(made, outcome.values))
    written = [*write_table(made, outcome.values), *write_picture(made, outcome)]
    print(f"Saved as {', '.join(str(path) for path in written)}")
    return OK


def _files(words: tuple[str, ...]) -> dict[str, str]:
    """Files by the training they stand for.

    Raises:
        ValueError: A word is of another form, or a file does not exist.
    """
    found = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not path:
            raise ValueError(f"--start {word}: write TRAINING=FILE, such as wrn-trades=model.pt")
        if not Path(path).expanduser().is_file():
            raise ValueError(f"--start {word}: there is no file {path!r}")
        found[name] = path
    return found
