"""An audit: which classes an attacker breaks, with the outcomes it was computed from."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classwise.attacks import Attack, attack_list, describe
from classwise.attacks.base import Classifier
from classwise.attacks.suite import Attacks
from classwise.configuration import config, from_plain, to_plain, to_yaml
from classwise.data.dataset import ClassData, as_float
from classwise.evaluation.collect import Evaluator
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.sanity import check_mode
from classwise.metrics import ClassTable, Estimate
from classwise.models.given import weights_digest
from classwise.progress import Progress
from classwise.runs.atomic import write_bytes, write_json, write_text
from classwise.runs.environment import environment
from classwise.threat import ThreatModel

if TYPE_CHECKING:
    from classwise.evaluation.compare import Comparison

FORMAT = 1
EXAMPLES = 8
SEAL = "summary.json"
"""The file of an audit's folder that is written last."""


@config
class AuditPlan:
    """What was asked of a model, and on which samples: everything that decides the verdicts. Saved as ``audit.yaml``."""

    model: str
    """What was audited, in words: a checkpoint, or the class of a live model."""
    data: str
    """Name of the data set."""
    split: str
    """Role of the images: test, validation or train."""
    data_sha256: str
    """Checksum over images, labels, groups and index."""
    samples: int
    """Number of images."""
    class_names: tuple[str, ...]
    """Names of the classes (or groups) in the tables."""
    threats: tuple[ThreatModel, ...]
    """Norm and radius of each table, the first one being the main one."""
    attacks: tuple[Attack, ...]
    """Worst case over these, per sample."""
    seed: int
    """Seed of the random starts."""
    batch_size: int
    """Images of a micro-batch."""
    precision: str = "fp32"
    """Precision of every forward."""

    def check(self) -> None:
        """Refuse micro-batches without images."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} must be at least 1")

    @property
    def suite(self) -> str:
        """Short name of the attacks."""
        return describe(self.attacks)

    def key(self) -> str:
        """Short digest of the plan, for folder names."""
        return hashlib.sha256(json.dumps(to_plain(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Examples:
    """Images of the weakest class that an attack broke.

    Args:
        originals: (E, C, H, W) float32 in [0, 1].
        perturbed: The same images under attack.
        labels: (E,) classes.
        predictions: (E,) what the perturbed images are taken for.
    """

    originals: NDArray[np.float32]
    perturbed: NDArray[np.float32]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]


@dataclass(frozen=True)
class AuditResult:
    """Outcomes of an audit and what follows from them.

    Args:
        plan: What was asked.
        outcomes: Per-sample outcomes.
        examples: Broken images of the weakest class, for the report.
        environment: Versions and device.
        folder: Where it is saved, if it is.
    """

    plan: AuditPlan
    outcomes: Outcomes
    examples: Examples
    environment: dict[str, Any]
    folder: Path | None = None

    def table(self, radius: int = 0) -> ClassTable:
        """Class table at one of the radii, by position."""
        return self.outcomes.table(radius, self.plan.class_names)

    @property
    def worst(self) -> Estimate:
        """Robust accuracy of the weakest class at the first radius; the interval accounts for its selection."""
        return self.table().worst

    @property
    def best(self) -> Estimate:
        """Robust accuracy of the strongest class at the first radius."""
        return self.table().best

    @property
    def gap(self) -> Estimate:
        """Difference between the two."""
        return self.table().gap

    @property
    def mean(self) -> Estimate:
        """Robust accuracy over all samples at the first radius."""
        return self.table().mean

    @property
    def weakest(self) -> str:
        """Name of the weakest class at the first radius."""
        return self.table().weakest

    def __str__(self) -> str:
        from classwise.report.tables import audit_text

        return audit_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Summary in plain values: the plan, and for each radius the class table and its aggregates."""
        return {
            "format": FORMAT,
            "plan": to_plain(self.plan),
            "suite": self.plan.suite,
            "tables": [
                {"threat": str(threat), **_summary(self.table(r))} for r, threat in enumerate(self.plan.threats)
            ],
            "environment": self.environment,
        }

    def report(self, path: Path | str) -> Path:
        """Write one offline HTML file with tables and pictures; returns its path."""
        from classwise.report.html import write_report

        return write_report(Path(path), audits=[self])

    def compare(self, after: AuditResult) -> Comparison:
        """Paired comparison with a later audit of the same samples."""
        from classwise.evaluation.compare import compare_audits

        return compare_audits(self, after)

    def save(self, folder: Path | str) -> AuditResult:
        """Write ``audit.yaml``, ``outcomes.npz``, ``examples.npz`` and ``summary.json``; the last one seals the folder.

        Raises:
            ValueError: The folder holds another audit, or cannot be written.
        """
        import io

        folder = Path(folder)
        if (folder / SEAL).is_file() and not self._is_in(folder):
            raise ValueError(f"{str(folder)!r} holds another audit: give another output folder")
        write_text(folder / "audit.yaml", to_yaml(self.plan))
        digest = self.outcomes.save(folder / "outcomes.npz")
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **vars(self.examples))
        write_bytes(folder / "examples.npz", buffer.getvalue())
        write_json(folder / SEAL, self.to_dict() | {"outcomes_sha256": digest})
        return AuditResult(self.plan, self.outcomes, self.examples, self.environment, folder)

    @classmethod
    def load(cls, folder: Path | str) -> AuditResult:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: The folder holds no finished audit, or a damaged one.
        """
        folder = Path(folder)
        path = folder / SEAL
        if not path.is_file():
            raise ValueError(f"{str(folder)!r} holds no finished audit: it has no summary.json; run the audit again")
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            plan: AuditPlan = from_plain(AuditPlan, summary["plan"], where="plan")
            digest, known = str(summary["outcomes_sha256"]), summary["format"] <= FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is damaged ({error}): run the audit again") from None
        if not known:
            raise ValueError(
                f"{str(folder)!r} was written by a later version of classwise: update classwise to read it"
            )
        outcomes = Outcomes.load(folder / "outcomes.npz", digest)
        pictures = folder / "examples.npz"
        try:
            with np.load(pictures, allow_pickle=False) as arrays:
                examples = Examples(**arrays)
        except Exception as error:  # missing, damaged or of another kind: nearly anything
            reason = "missing" if isinstance(error, FileNotFoundError) else "damaged"
            raise ValueError(f"{str(pictures)!r} is {reason}: run the audit again") from error
        return cls(plan, outcomes, examples, summary.get("environment", {}), folder)

    def _is_in(self, folder: Path) -> bool:
        """Whether this very audit is what a folder holds."""
        try:
            earlier = AuditResult.load(folder)
        except ValueError:
            return False
        same = (np.array_equal(value, getattr(earlier.outcomes, key)) for key, value in vars(self.outcomes).items())
        return earlier.plan == self.plan and all(same)


def plan_audit(
    data: ClassData,
    *,
    model: str,
    threats: Sequence[ThreatModel],
    attacks: Attacks = "pgd-20",
    seed: int = 0,
    batch_size: int = 256,
    split: str = "test",
) -> AuditPlan:
    """Write down an audit before it is run; see :class:`AuditPlan` for the fields.

    Raises:
        ValueError: A class has no sample, no threat model is given, or an attack is unknown.
    """
    missing = [name for i, name in enumerate(data.group_names) if not bool((data.groups == i).any())]
    if missing:
        raise ValueError(
            f"class {missing[0]!r} has no sample in the {split} images of {data.name!r}: "
            "nothing can be said about it; give samples of every class, or name only the classes there are"
        )
    if not threats:
        raise ValueError("no threat model given: name at least one, such as linf('8/255')")
    return AuditPlan(
        model=model,
        data=data.name,
        split=split,
        data_sha256=data.checksum(),
        samples=len(data),
        class_names=data.group_names,
        threats=tuple(threats),
        attacks=attack_list(attacks),
        seed=seed,
        batch_size=batch_size,
    )


def run_audit(
    model: Classifier,
    data: ClassData,
    plan: AuditPlan,
    device: torch.device,
    progress: Progress | None = None,
) -> AuditResult:
    """Carry out a planned audit of a model that is on its device already.

    Raises:
        ValueError: The model is in train mode, or cannot be attacked in earnest; see ``evaluation.sanity``.
    """
    check_mode(model)
    evaluator = Evaluator(plan.threats, plan.attacks, plan.seed, plan.batch_size, device)
    outcomes = evaluator.collect(model, data, progress)
    return AuditResult(plan, outcomes, _examples(evaluator, model, data, outcomes), environment())


def stored_audit(
    folder: Path,
    model: nn.Module,
    data: ClassData,
    plan: AuditPlan,
    device: torch.device,
    progress: Progress | None = None,
) -> AuditResult:
    """Carry out a planned audit and keep it in a sub-folder, or read it where the same weights were audited so before."""
    threat = plan.threats[0]
    radius = str(threat.radius).replace("/", "_")
    target = folder / f"{threat.norm}-{radius}-{plan.key()}-{weights_digest(model)[:8]}"
    if (target / SEAL).is_file():
        try:
            return AuditResult.load(target)
        except ValueError as error:
            warnings.warn(f"{error}; doing that now", stacklevel=2)
            (target / SEAL).unlink()
    return run_audit(model, data, plan, device, progress).save(target)


def _examples(evaluator: Evaluator, model: Classifier, data: ClassData, outcomes: Outcomes) -> Examples:
    """Perturbed images of the weakest class at the first radius, as the audit made them."""
    table = outcomes.table(0, data.group_names)
    weakest = table.names.index(table.weakest)
    broken = outcomes.clean_correct & ~outcomes.robust_correct(0) & (outcomes.group == weakest)
    chosen = data.subset(torch.from_numpy(broken.nonzero()[0][:EXAMPLES]))
    perturbed = as_float(chosen.images)
    predictions = chosen.labels
    with torch.no_grad():
        for number, attack in enumerate(evaluator.attacks):
            left = (predictions == chosen.labels).nonzero()[:, 0]
            if len(left):
                tried = evaluator.perturb(model, chosen.subset(left), evaluator.threats[0], attack, number)
                perturbed = perturbed.index_copy(0, left, tried)
                predictions = predictions.index_copy(0, left, model(tried.to(evaluator.device)).argmax(1).cpu())
    return Examples(as_float(chosen.images).numpy(), perturbed.numpy(), chosen.labels.numpy(), predictions.numpy())


def _summary(table: ClassTable) -> dict[str, Any]:
    robust = ("mean", "class_mean", "worst", "worst_fifth", "best", "gap", "standard_deviation")
    return {
        "classes": table.to_dict(),
        "weakest": table.weakest,
        **{name: getattr(table, name).to_dict() for name in robust},
        **{name: table.overall(name).to_dict() for name in ("clean", "boundary")},
    }
