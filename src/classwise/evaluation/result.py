"""What an audit found: outcomes, the tables that follow from them, and how it is kept on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classwise.configuration import from_plain, to_plain, to_yaml
from classwise.evaluation.check import Check
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import AuditPlan
from classwise.metrics import ClassMatrix, ClassTable, Estimate, attack_target_matrix, confusion_matrix
from classwise.runs.atomic import write_bytes, write_json, write_text

if TYPE_CHECKING:
    from classwise.evaluation.compare import Comparison

FORMAT = 2
SEAL = "summary.json"
"""The file of an audit's folder that is written last."""


class OtherVersionError(ValueError):
    """The folder was written by another version of classwise."""


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
        environment: Versions, device, and how the search was computed.
        checks: What speaks for or against believing the figures.
        fingerprint: What tells the model from others; see :mod:`classwise.evaluation.fingerprint`.
        folder: Where it is saved, if it is.
    """

    plan: AuditPlan
    outcomes: Outcomes
    examples: Examples
    environment: dict[str, Any]
    checks: tuple[Check, ...] = ()
    fingerprint: str = ""
    folder: Path | None = None

    def table(self, radius: int = 0) -> ClassTable:
        """Class table at one of the radii, by position."""
        return self.outcomes.table(radius, self.plan.class_names)

    @property
    def confusion(self) -> ClassMatrix:
        """Which class the clean images of each label are taken for."""
        return confusion_matrix(self.outcomes.label, self.outcomes.clean_prediction, self._label_names())

    def attack_targets(self, radius: int = 0) -> ClassMatrix:
        """Into which class the images of each label fall under attack, of those that are correct without it."""
        outcomes = self.outcomes
        names = self._label_names()
        return attack_target_matrix(outcomes.label, outcomes.clean_prediction, outcomes.prediction[radius], names)

    def _label_names(self) -> Sequence[str]:
        """Names of the labels; numbers where the classes of the tables are other groups."""
        outcomes = self.outcomes
        if np.array_equal(outcomes.group, outcomes.label):
            return self.plan.class_names
        largest = max(int(each.max()) for each in (outcomes.label, outcomes.clean_prediction, outcomes.prediction))
        return [str(label) for label in range(largest + 1)]

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
                {"threat": str(threat), **_summary(self.table(r)), "attack_targets": self.attack_targets(r).to_dict()}
                for r, threat in enumerate(self.plan.threats)
            ],
            "confusion": self.confusion.to_dict(),
            "checks": [vars(check) for check in self.checks],
            "fingerprint": self.fingerprint,
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
        return replace(self, folder=folder)

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
            if summary["format"] != FORMAT:
                other = "a later" if summary["format"] > FORMAT else "an earlier"
                raise OtherVersionError(
                    f"{str(folder)!r} was written by {other} version of classwise: read it with that one, or audit again"
                )
            plan: AuditPlan = from_plain(AuditPlan, summary["plan"], where="plan")
            digest, model = str(summary["outcomes_sha256"]), str(summary["fingerprint"])
            checks = tuple(Check(**each) for each in summary["checks"])
        except OtherVersionError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is damaged ({error}): run the audit again") from None
        outcomes = Outcomes.load(folder / "outcomes.npz", digest)
        pictures = folder / "examples.npz"
        try:
            with np.load(pictures, allow_pickle=False) as arrays:
                examples = Examples(**arrays)
        except Exception as error:  # missing, damaged or of another kind: nearly anything
            reason = "missing" if isinstance(error, FileNotFoundError) else "damaged"
            raise ValueError(f"{str(pictures)!r} is {reason}: run the audit again") from error
        return cls(plan, outcomes, examples, summary.get("environment", {}), checks, model, folder)

    def _is_in(self, folder: Path) -> bool:
        """Whether this very audit is what a folder holds."""
        try:
            earlier = AuditResult.load(folder)
        except ValueError:
            return False
        same = (np.array_equal(value, getattr(earlier.outcomes, key)) for key, value in vars(self.outcomes).items())
        return earlier.plan == self.plan and all(same)


def _summary(table: ClassTable) -> dict[str, Any]:
    robust = (
        "mean",
        "class_mean",
        "worst",
        "worst_fifth",
        "best",
        "gap",
        "standard_deviation",
        "normalised_spread",
        "gini",
    )
    return {
        "classes": table.to_dict(),
        "weakest": table.weakest,
        **{name: getattr(table, name).to_dict() for name in robust},
        **{name: table.overall(name).to_dict() for name in ("clean", "boundary")},
    }
