"""``classwise theory``."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from classwise import registry
from classwise.cli import OK
from classwise.cli.flags import first_word, parse

SAMPLES = 200_000
"""Points per class of a simulation."""


@dataclass(frozen=True)
class List:
    """Say which models and figures of the papers there are."""


@dataclass(frozen=True)
class Show:
    """Compute a model: each quantity by the formula as printed, by the right one, and by simulation.

    `classwise theory show NAME --help` lists its parameters.
    """

    name: tyro.conf.Positional[str]
    """Model, such as frl-icml."""


@dataclass(frozen=True)
class Figure:
    """Compute a figure of a paper: SVG and CSV into a folder, what it says on the terminal.

    `classwise theory figure NAME --help` lists its parameters.
    """

    name: tyro.conf.Positional[str]
    """Figure, such as frl-icml-figure2."""


@dataclass(frozen=True)
class Explain:
    """EXPERIMENTAL: predict the class errors of an audited run by Gaussians fitted to its penultimate features.

    Test images only explain here: nothing is trained or chosen by them.
    """

    run: tyro.conf.Positional[Path]
    """Directory of a run that has an audit."""
    audit: Path | None = None
    """Folder of one of its audits; default: the newest one of the checkpoint."""
    checkpoint: str = "selected"
    """Checkpoint that the audit is of."""
    radius: int = 0
    """Which threat model of the audit, counted from 0."""
    samples: int = 20_000
    """Monte Carlo points for each class and half of its images."""
    seed: int = 0
    """Seed of the attack's random starts and of the Monte Carlo."""
    device: str = ""
    """Where to run; default: as in training."""
    out: Path | None = None
    """JSON file to write."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Figure, tyro.conf.subcommand("figure")]
    | Annotated[Explain, tyro.conf.subcommand("explain")]
)


@dataclass(frozen=True)
class Flags:
    """Compute the papers' conceptual models, exactly and by simulation."""

    command: tyro.conf.OmitSubcommandPrefixes[Command]


def main(arguments: list[str]) -> int:
    """Run the command."""
    for verb, run in (("show", show), ("figure", figure)):
        name = first_word(f"theory {verb}", arguments[1:], "NAME") if arguments[:1] == [verb] else None
        if name is not None:
            return run(name, arguments[2:])
    command = parse(Flags, "theory", arguments).command
    return explain(command) if isinstance(command, Explain) else overview()


def overview() -> int:
    """Print the models and the figures, each with its paper."""
    for kind, title in (
        ("theory", "Models: classwise theory show NAME"),
        ("theory-figure", "Figures: classwise theory figure NAME --out DIR"),
    ):
        print(title)
        for name in registry.names(kind):
            component = registry.get(kind, name)
            print(f"  {name:18} {(inspect.getdoc(component) or '').partition(chr(10))[0]}")
            print(f"  {'':18} {component.paper}")
        print()
    print("classwise theory explain RUN sets such a model against an audited run (experimental).")
    return OK


def show(name: str, arguments: list[str]) -> int:
    """Print a model's table, and write it on request."""
    from classwise.report.tables import csv_text
    from classwise.theory.shown.table import as_rows, lines, picture

    extra = [
        (
            "samples",
            _said(int, "Draws of each simulation: points per class, or draws of labels; 0 leaves simulations out."),
            SAMPLES,
        ),
        ("seed", _said(int, "Seed of the simulations."), 0),
        ("out", _said(Path | None, "Folder for the table as CSV, numbers in full, and as SVG, as printed."), None),
    ]
    flags = parse(_flags("theory", name, extra), f"theory show {name}", arguments)
    if flags.samples < 0:
        raise ValueError(f"samples {flags.samples} must be at least 1, or 0 for no simulation")
    files = [] if flags.out is None else _files(flags.out, name)
    _check_writable(files)
    rows = flags.model.rows(flags.samples, flags.seed)
    print("\n".join(lines(flags.model, rows)))
    if files:
        drawn, numbers = files
        drawn.write_text(picture(flags.model, rows, f"classwise theory show {name}"), encoding="utf-8")
        numbers.write_text(csv_text(as_rows(rows)), encoding="utf-8")
        print(f"\n{drawn}\n{numbers}")
    return OK


def figure(name: str, arguments: list[str]) -> int:
    """Write a figure and its numbers, and print what it says."""
    from classwise.report.svg import drawing, standalone
    from classwise.report.tables import csv_text
    from classwise.theory.shown.table import parameters

    flags = parse(
        _flags(
            "theory-figure", name, [("out", _said(Path, "Folder for the SVG and the CSV file."), dataclasses.MISSING)]
        ),
        f"theory figure {name}",
        arguments,
    )
    made, (drawn, numbers) = flags.model, _files(flags.out, name)
    _check_writable([drawn, numbers])
    said = made.summary()
    with drawing():
        picture = standalone(made.draw(), " ".join(said))
    drawn.write_text(picture, encoding="utf-8")
    columns, rows = made.table()
    numbers.write_text(csv_text([dict(zip(columns, row, strict=True)) for row in rows]), encoding="utf-8")
    print("\n".join([made.paper, *parameters(made), "", *said, "", str(drawn), str(numbers)]))
    return OK


def explain(command: Explain) -> int:
    """Print how far Gaussians explain an audited run."""
    from classwise.theory.explain import as_json, explained, lines

    _check_writable([] if command.out is None else [command.out])
    found = explained(
        command.run,
        audit=command.audit,
        radius=command.radius,
        checkpoint=command.checkpoint,
        seed=command.seed,
        samples=command.samples,
        device=command.device,
    )
    print("\n".join(lines(found)))
    if command.out is not None:
        command.out.write_text(json.dumps(as_json(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\nNumbers in full: {command.out}")
    return OK


def _files(folder: Path, name: str) -> list[Path]:
    """The picture and the numbers of a model or figure."""
    return [folder / f"{name}.svg", folder / f"{name}.csv"]


def _check_writable(files: list[Path]) -> None:
    """Make the folders of files and see that they can be written, before anything is computed.

    Raises:
        OSError: One cannot, with its name.
    """
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        with file.open("ab") if file.exists() else tempfile.TemporaryFile(dir=file.parent):
            pass


def _said(kind: Any, text: str) -> Any:
    return Annotated[kind, tyro.conf.arg(help=text)]


def _flags(kind: str, name: str, extra: list[tuple[str, Any, Any]]) -> type[Any]:
    """Flags of one model or figure: its parameters, and what the verb adds."""
    component = registry.get(kind, name)
    fields: list[Any] = [
        (
            "model",
            Annotated[component, tyro.conf.arg(name="", help="The parameters.")],
            dataclasses.field(default_factory=component),
        )
    ]
    fields += [
        (
            field,
            annotation,
            dataclasses.field(default=default) if default is not dataclasses.MISSING else dataclasses.field(),
        )
        for field, annotation, default in extra
    ]
    made = dataclasses.make_dataclass("TheoryFlags", fields, frozen=True, kw_only=True)
    made.__doc__ = inspect.getdoc(component)
    return made
