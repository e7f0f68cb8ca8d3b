"""Carrying out a plan, one network after the other, and reading what it has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan, nan

from classwise import api
from classwise.data import ClassData
from classwise.evaluation import AuditResult
from classwise.experiments.base import Column, Row
from classwise.experiments.measures import Audited
from classwise.experiments.plan import Asked, Plan, Planned, asked, audit_folder, write_configs
from classwise.progress import Progress
from classwise.run import Run
from classwise.runs import RunDirectory

Values = Mapping[tuple[Row, Column], list[float]]
"""Measured values of each cell, one per seed."""


@dataclass(frozen=True)
class Outcome:
    """What a plan has led to.

    Args:
        values: Of every cell.
        audits: By the name of the network and what was asked.
    """

    values: Values
    audits: Mapping[tuple[str, Asked], AuditResult]


def carry_out(made: Plan, say: Callable[[str], None] = print, progress: Progress | None = None) -> Outcome:
    """Train and audit what is not there yet, and measure every cell.

    What is finished is read; what was interrupted goes on from its last checkpoint or verdict.

    Args:
        made: The plan.
        say: Is told what begins.
        progress: Where progress is shown; default: the terminal.

    Raises:
        ValueError: A folder holds another run, such as one of another size: give another output folder.
    """
    write_configs(made)
    audits: dict[tuple[str, Asked], AuditResult] = {}
    for number, network in enumerate(made.networks, 1):
        place = f"[{number}/{len(made.networks)}] {network.name}"
        if not network.file and RunDirectory(made.folder(network.name)).status["state"] != "finished":
            say(f"{place}: train")
        run = None if network.file else api.train(made.config(network), made.folder(network.name), progress=progress)
        for each in network.audits:
            say(f"{place}: audit {each.checkpoint}, {each.attacks}, {each.threat}")
            audits[network.name, each] = _audit(made, network, run, each, progress)
    return Outcome(measured(made, audits), audits)


def measured(made: Plan, audits: Mapping[tuple[str, Asked], AuditResult]) -> dict[tuple[Row, Column], list[float]]:
    """The values of every cell of a plan.

    Args:
        made: The plan, all of whose runs are there.
        audits: By the name of the network and what was asked.
    """
    values: dict[tuple[Row, Column], list[float]] = {}
    for row, column in made.experiment.cells():
        if row.name in made.left_out:
            continue
        after = [_value(made, audits, row, column, network) for network in made.networks_of(row.training)]
        if row.minus is not None:
            before = [_value(made, audits, row, column, network) for network in made.networks_of(row.minus)]
            # One file stands for every seed.
            before = before * len(after) if len(before) == 1 else before
            after = [one - other for one, other in zip(after, before, strict=True)]
        values[row, column] = [value for value in after if not isnan(value)]
    return values


def _value(
    made: Plan, audits: Mapping[tuple[str, Asked], AuditResult], row: Row, column: Column, network: Planned
) -> float:
    """What a column measures of one network; nan where that is not known, such as the history of a file."""
    measure = column.measure
    if isinstance(measure, Audited):
        return measure.value(audits[network.name, asked(made.size, row, measure)].table())
    return nan if network.file else measure.value(Run(made.folder(network.name)).history)


def _audit(made: Plan, network: Planned, run: Run | None, each: Asked, progress: Progress | None) -> AuditResult:
    per_class = made.size.per_class
    if run is not None:
        return run.audit(
            threat=each.threat, attacks=each.attacks, checkpoint=each.checkpoint, per_class=per_class, progress=progress
        )
    config = network.config
    test: ClassData = config.data.load().test
    return api.audit(
        network.file,
        test.first_per_class(per_class) if per_class else test,
        threat=each.threat,
        attacks=each.attacks,
        network=config.model,
        split="test",
        out=audit_folder(made, network, each),
        progress=progress,
    )
