"""Carrying out a plan, one network after the other, and reading what it has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path

from classwise import api
from classwise.data import ClassData
from classwise.evaluation import AuditResult
from classwise.evaluation.certificates import CertifyResult
from classwise.experiments.base import Column, Row
from classwise.experiments.measures import Audited, Certified, HardHit
from classwise.experiments.plan import (
    Asked,
    AskedCertificates,
    Plan,
    Planned,
    asked,
    asked_certificates,
    audit_folder,
    certificates_folder,
    write_configs,
)
from classwise.progress import Progress
from classwise.run import Run
from classwise.runs import RunDirectory

Values = Mapping[tuple[Row, Column], list[float]]
"""Measured values of each cell, one per seed."""
Audits = Mapping[tuple[str, Asked], AuditResult]
"""Audits by the name of the network and what was asked."""
Certifications = Mapping[tuple[str, AskedCertificates], CertifyResult]
"""Certifications by the name of the network and what was asked."""


@dataclass(frozen=True)
class Outcome:
    """What a plan has led to.

    Args:
        values: Of every cell.
        audits: Of every network.
        certificates: Of every network.
    """

    values: Values
    audits: Audits
    certificates: Certifications = field(default_factory=dict)


def carry_out(made: Plan, say: Callable[[str], None] = print, progress: Progress | None = None) -> Outcome:
    """Train, audit and certify what is not there yet, and measure every cell.

    What is finished is read; what was interrupted goes on from its last checkpoint, verdict or certificate.

    Args:
        made: The plan.
        say: Is told what begins.
        progress: Where progress is shown; default: the terminal.

    Raises:
        ValueError: A folder holds another run, such as one of another size: give another output folder.
    """
    write_configs(made)
    audits: dict[tuple[str, Asked], AuditResult] = {}
    certificates: dict[tuple[str, AskedCertificates], CertifyResult] = {}
    for number, network in enumerate(made.networks, 1):
        place = f"[{number}/{len(made.networks)}] {network.name}"
        if not network.file and RunDirectory(made.folder(network.name)).status["state"] != "finished":
            say(f"{place}: train")
        run = None if network.file else api.train(made.config(network), made.folder(network.name), progress=progress)
        for each in network.audits:
            say(f"{place}: audit {each.checkpoint}, {each.attacks}, {each.threat}")
            audits[network.name, each] = _audit(made, network, run, each, progress)
        for wanted in network.certificates:
            say(f"{place}: certify {wanted.checkpoint}, sigma {wanted.sigma:g}")
            certificates[network.name, wanted] = _certify(made, network, run, wanted, progress)
    return Outcome(measured(made, audits, certificates), audits, certificates)


def measured(
    made: Plan, audits: Audits, certificates: Certifications | None = None
) -> dict[tuple[Row, Column], list[float]]:
    """The values of every cell of a plan.

    Args:
        made: The plan, all of whose runs are there.
        audits: Of every network.
        certificates: Of every network that is certified.
    """
    found = Outcome({}, audits, certificates or {})
    values: dict[tuple[Row, Column], list[float]] = {}
    for row, column in made.experiment.cells():
        if row.name in made.left_out:
            continue
        after = made.networks_of(row.training)
        before: tuple[Planned, ...] | None = None
        if row.minus is not None:
            before = made.networks_of(row.minus)
            # One file stands for every seed.
            before = before * len(after) if len(before) == 1 else before
        per_run = [
            _value(made, found, row, column, network, before[i] if before is not None else None)
            for i, network in enumerate(after)
        ]
        values[row, column] = [value for value in per_run if not isnan(value)]
    return values


def _value(
    made: Plan, found: Outcome, row: Row, column: Column, network: Planned, minus: Planned | None = None
) -> float:
    """What a column measures of one network, or of two; nan where that is not known, such as the history of a file."""
    measure = column.measure
    if isinstance(measure, HardHit):
        assert minus is not None, f"{row.name}: hard classes are hit between two trainings"
        before, after = (found.audits[each.name, asked(made.size, row, measure)] for each in (minus, network))
        return measure.value(before, after)
    if minus is not None:
        return _value(made, found, row, column, network) - _value(made, found, row, column, minus)
    if isinstance(measure, Audited):
        return measure.value(found.audits[network.name, asked(made.size, row, measure)].table())
    if isinstance(measure, Certified):
        return measure.value(found.certificates[network.name, asked_certificates(row, measure)])
    return nan if network.file else measure.value(Run(made.folder(network.name)).history)


def _audit(made: Plan, network: Planned, run: Run | None, each: Asked, progress: Progress | None) -> AuditResult:
    per_class = made.size.per_class
    if run is not None:
        return run.audit(
            threat=each.threat,
            attacks=each.attack_list(),
            checkpoint=each.checkpoint,
            per_class=per_class,
            progress=progress,
        )
    config = network.config
    test: ClassData = config.data.load().test
    return api.audit(
        network.file,
        test.first_per_class(per_class) if per_class else test,
        threat=each.threat,
        attacks=each.attack_list(),
        network=config.model,
        split="test",
        out=audit_folder(made, network, each),
        progress=progress,
    )


def _certify(
    made: Plan, network: Planned, run: Run | None, each: AskedCertificates, progress: Progress | None
) -> CertifyResult:
    subject = Path(network.file)
    if run is not None:  # by its path, as the command does, so that either goes on with what the other began
        subject = run.path if each.checkpoint == "selected" else run.checkpoint(each.checkpoint)[0]
    return api.certify(
        subject,
        network.config.data.load() if run is None else None,
        sigma=each.sigma,
        n=made.size.votes,
        every=made.size.every,
        network=network.config.model if run is None else None,
        split="test",
        out=certificates_folder(made, network, each),
        progress=progress,
    )
