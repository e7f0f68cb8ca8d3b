"""What has to be equal before two figures may stand side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from classwise.attacks import Attack
from classwise.attacks.suite import describe
from classwise.comparison.find import Audited
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.result import AuditResult
from classwise.threat import ThreatModel


@dataclass(frozen=True)
class Frame:
    """What all figures of a table share, whatever the attack.

    Attributes:
        data_sha256: Checksum of the images, their labels and groups.
        class_names: Names of the classes (or groups).
        shard: The part of the images, if it is one.
        precision: Of the search.
        seed: Of the random starts.
    """

    data_sha256: str
    class_names: tuple[str, ...]
    shard: str
    precision: str
    seed: int


@dataclass(frozen=True)
class Column:
    """One threat model under one list of attacks.

    Attributes:
        threat: With the channels' factors and the box.
        attacks: Worst case over these.
    """

    threat: ThreatModel
    attacks: tuple[Attack, ...]

    def __str__(self) -> str:
        return f"{self.threat}, {describe(self.attacks)}"


@dataclass(frozen=True)
class Measured:
    """An audit at one of its radii."""

    audit: AuditResult
    radius: int


Measurements = dict[Column, Measured]


def frame_of(plan: AuditPlan) -> Frame:
    """The frame of an audit."""
    return Frame(plan.data_sha256, plan.class_names, plan.shard, plan.precision, plan.seed)


def measurements(model: Audited) -> dict[Frame, Measurements]:
    """What was measured on a model; of two audits of the same thing the first counts."""
    found: dict[Frame, Measurements] = {}
    for audit in model.audits:
        for radius, threat in enumerate(audit.plan.threats):
            column = Column(threat, audit.plan.attacks)
            found.setdefault(frame_of(audit.plan), {}).setdefault(column, Measured(audit, radius))
    return found


def shared_frame(models: Sequence[dict[Frame, Measurements]]) -> Frame | None:
    """The frame in which all models have a column in common: that with most such columns, then of most samples."""
    candidates: dict[Frame, tuple[int, int]] = {}
    for frame in models[0]:
        if all(frame in model for model in models):
            common = shared_columns([model[frame] for model in models])
            if common:
                candidates[frame] = (len(common), next(iter(models[0][frame].values())).audit.plan.samples)
    return max(candidates, key=candidates.__getitem__) if candidates else None


def shared_columns(models: Sequence[Measurements]) -> list[Column]:
    """Columns that all models have."""
    return [column for column in models[0] if all(column in model for model in models)]


def frames_apart(models: Sequence[dict[Frame, Measurements]]) -> list[Frame]:
    """For every model the frame that it has in common with most others."""
    count = {frame: sum(frame in model for model in models) for each in models for frame in each}
    return [max(model, key=count.__getitem__) for model in models]


_FIELDS: dict[str, Callable[[AuditPlan, ThreatModel], str]] = {
    "test set": lambda plan, _: (
        f"{plan.data}/{plan.split}, n = {plan.samples}{f', shard {plan.shard}' if plan.shard else ''}, "
        f"{len(plan.class_names)} classes, checksum {plan.data_sha256[:8]}"
    ),
    "threat model": lambda _, threat: str(threat),
    "suite": lambda plan, _: plan.suite,
    "precision": lambda plan, _: plan.precision,
    "seed of the attacks": lambda plan, _: str(plan.seed),
}


def disagreements(models: Sequence[Audited]) -> list[str]:
    """Where no one value is shared by all models: the field, its values and how many models have each."""
    found = []
    for field, value in _FIELDS.items():
        have = [
            {value(audit.plan, threat) for audit in model.audits for threat in audit.plan.threats} for model in models
        ]
        if set.intersection(*have):
            continue
        values = list(dict.fromkeys(each for one in have for each in sorted(one)))
        counted = [f"{each} ({sum(each in one for one in have)} of {len(have)})" for each in values[:4]]
        found.append(f"{field}: {'; '.join(counted)}{' …' if len(values) > 4 else ''}")
    return found or [
        "combinations of test set, threat model, suite, precision and seed, of which none is shared by all"
    ]
