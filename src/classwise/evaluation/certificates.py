"""What is certified of every sample by randomised smoothing, and the class tables that follow."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from classwise.configuration import config, differences, from_plain, to_plain, to_yaml
from classwise.evaluation.result import SEAL
from classwise.evaluation.smoothing import ABSTAIN, Bools, Floats, Ints, Sampling
from classwise.metrics import ClassTable, Estimate, class_table, wilson
from classwise.runs.atomic import write_bytes, write_json, write_text

FORMAT = 1
RADII = (0.0, 0.5, 1.0, 2.0)
"""Radii of tables, unless said otherwise, in standard deviations of the noise."""
AGGREGATES = ("mean", "class_mean", "worst", "worst_fifth", "best", "gap", "standard_deviation")


@config
class CertifyPlan:
    """What was asked of a model, and on which samples: everything that decides the certificates; see ``certify.yaml``."""

    model: str
    """What was certified, in words: a checkpoint, or the class of a live model."""
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
    sampling: Sampling
    """Noise, numbers of votes, level, and when voting ends."""
    seed: int
    """Seed of the noise."""
    batch_size: int
    """Noisy copies of a micro-batch."""
    precision: str = "fp32"
    """Precision of every forward."""

    def check(self) -> None:
        """Refuse micro-batches without images."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} must be at least 1")

    def key(self) -> str:
        """Short digest of the plan, for folder names."""
        return hashlib.sha256(json.dumps(to_plain(self), sort_keys=True).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        rule = self.sampling
        end = f", stop {rule.stop}" if rule.stop != "never" else ""
        return (
            f"{self.data}/{self.split}, n = {self.samples}, smoothing with sigma {rule.sigma}, {rule.n0} + {rule.n} votes"
            f"{end}, alpha {rule.alpha:g}, seed {self.seed}, {self.precision}"
        )


@dataclass(frozen=True)
class Certificates:
    """What is certified of each sample.

    Args:
        index: (N,) position of each sample in its data set.
        label: (N,) class.
        group: (N,) what tables are made over; the label unless groups were named.
        prediction: (N,) class that is certified; -1: abstained.
        radius: (N,) certified l_2 radius in units of the pixel range, float64; 0 where abstained.
        votes: (N,) votes for the bound, those that chose the class not counted.
        hits: (N,) how many of them were for the chosen class.
    """

    index: Ints
    label: Ints
    group: Ints
    prediction: Ints
    radius: Floats
    votes: Ints
    hits: Ints

    @property
    def abstained(self) -> Bools:
        """(N,) whether nothing is claimed about the sample."""
        without: Bools = self.prediction == ABSTAIN
        return without

    def certified(self, radius: float = 0.0) -> Bools:
        """(N,) whether the label is certified at a radius; an abstention never is."""
        inside: Bools = (self.prediction == self.label) & (self.radius >= radius)
        return inside

    def save(self, path: Path) -> str:
        """Write an ``.npz`` file in one step; returns its SHA-256."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, format=np.int64(FORMAT), **vars(self))
        write_bytes(path, buffer.getvalue())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    @classmethod
    def load(cls, path: Path, sha256: str) -> Certificates:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: The file is missing or damaged: its checksum is not ``sha256``.
        """
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(
                f"certificates {str(path)!r} are missing or damaged (their SHA-256 differs): certify again"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class CertifyResult:
    """Certificates of a data set and what follows from them, class by class.

    Args:
        plan: What was asked.
        certificates: Per-sample certificates.
        weights: What tells the model from others; see :mod:`classwise.evaluation.fingerprint`.
        environment: Versions and device.
        folder: Where it is saved, if it is.
    """

    plan: CertifyPlan
    certificates: Certificates
    weights: str
    environment: dict[str, Any]
    folder: Path | None = None

    def certified(self, radius: float = 0.0) -> ClassTable:
        """Class table at a radius: "robust" is the share of a class that is certified there, "clean" at any radius.

        Intervals are about the images that were drawn; that each certificate may be wrong with probability alpha comes
        on top.

        Raises:
            ValueError: The radius is negative, or beyond :attr:`reach`.
        """
        if not radius >= 0:
            raise ValueError(f"radius {radius} must be at least 0")
        if radius > self.reach:
            raise ValueError(
                f"voting ended where the certified radius reached {self.plan.sampling.enough}, so nothing is known about "
                f"radius {radius:g}: certify again with enough={radius:g}"
            )
        known = self.certificates
        return class_table(known.group, known.certified(), known.certified(radius), self.plan.class_names)

    def curve(self, radii: Sequence[float]) -> tuple[ClassTable, ...]:
        """Class tables at several radii; see :meth:`certified`."""
        return tuple(self.certified(radius) for radius in radii)

    @property
    def abstention(self) -> tuple[Estimate, ...]:
        """Share of each class about which nothing is claimed, with Wilson intervals, in the order of the names."""
        group, names = self.certificates.group, self.plan.class_names
        n = np.bincount(group, minlength=len(names))
        without = np.bincount(group[self.certificates.abstained], minlength=len(names))
        low, high = wilson(without, n)
        return tuple(
            Estimate(without[i] / n[i] if n[i] else np.nan, float(low[i]), float(high[i]), "Wilson score", int(n[i]))
            for i in range(len(names))
        )

    @property
    def radii(self) -> tuple[float, ...]:
        """Radii of tables, unless said otherwise: 0, 1/2, 1 and 2 standard deviations of the noise, up to :attr:`reach`."""
        radii = [share * float(self.plan.sampling.sigma) for share in RADII]
        return tuple(sorted({min(radius, self.reach) for radius in radii}))

    @property
    def reach(self) -> float:
        """Greatest radius about which the certificates speak; finite where voting ended as soon as they reached it."""
        return float(self.plan.sampling.enough) or math.inf

    def text(self, radii: Sequence[float] = ()) -> str:
        """The result for people to read: a class table, and the summaries at each radius.

        Args:
            radii: Radii of its columns; default: :attr:`radii`.
        """
        from classwise.report.phrasing import level, limits, percent, summary
        from classwise.report.tables import Block
        from classwise.report.tables import text as written

        tables = {f"{radius:g}": self.certified(radius) for radius in tuple(radii) or self.radii}
        marked = next((name for name in tables if float(name) > 0), next(iter(tables)))
        rows: list[dict[str, Any]] = []
        for i, (name, abstained) in enumerate(zip(self.plan.class_names, self.abstention, strict=True)):
            cells = {f"certified % at {radius}": table.rows()[i] for radius, table in tables.items()}
            rows.append(
                {"class": name, "n": abstained.n, "abstained %": percent(abstained.value)}
                | {
                    head: f"{percent(cell['robust'])} {limits(cell['robust_low'], cell['robust_high'])}"
                    for head, cell in cells.items()
                }
                | {"": f"weakest at {marked}" if name == tables[marked].weakest else ""}
            )
        lines = [f"In brackets: {level(tables[marked].confidence)} Wilson interval of the class over images."]
        for radius, table in tables.items():
            lines += [
                f"Certified accuracy at {radius}, mean over samples: {summary(table.mean)}",
                f"Certified accuracy at {radius}, worst class: {table.weakest}, {summary(table.worst)}",
            ]
        blocks: list[Block] = [f"{self.plan.model}: {self.plan}", rows, "\n".join(lines)]
        return written(blocks)

    def __str__(self) -> str:
        return self.text()

    def to_dict(self, radii: Sequence[float] = ()) -> dict[str, Any]:
        """Summary in plain values: the plan, abstentions per class, and at each radius the class table and aggregates.

        Args:
            radii: Default: :attr:`radii`.
        """
        radii = tuple(radii) or self.radii
        return {
            "format": FORMAT,
            "plan": to_plain(self.plan),
            "abstained": {
                name: estimate.to_dict() for name, estimate in zip(self.plan.class_names, self.abstention, strict=True)
            },
            "tables": [
                {
                    "radius": radius,
                    "classes": table.to_dict(),
                    "weakest": table.weakest,
                    **{name: getattr(table, name).to_dict() for name in AGGREGATES},
                }
                for radius, table in zip(radii, self.curve(radii), strict=True)
            ],
            "weights_sha256": self.weights,
            "environment": self.environment,
        }

    def save(self, folder: Path | str) -> CertifyResult:
        """Write ``certify.yaml``, ``certificates.npz`` and ``summary.json``; the last one seals the folder.

        Raises:
            ValueError: The folder is sealed with something else, or cannot be written.
        """
        folder = Path(folder)
        if (folder / SEAL).is_file():
            CertifyResult.load(folder).require_same(self.plan, self.weights)
        write_text(folder / "certify.yaml", to_yaml(self.plan))
        digest = self.certificates.save(folder / "certificates.npz")
        write_json(folder / SEAL, self.to_dict() | {"certificates_sha256": digest})
        return CertifyResult(self.plan, self.certificates, self.weights, self.environment, folder)

    @classmethod
    def load(cls, folder: Path | str) -> CertifyResult:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: The folder holds no finished certification, or a damaged one.
        """
        folder = Path(folder)
        path = folder / SEAL
        if not path.is_file():
            raise ValueError(f"{str(folder)!r} holds no finished certification: it has no {SEAL}; certify again")
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            digest, known = str(summary["certificates_sha256"]), summary["format"] <= FORMAT
            plan: CertifyPlan = from_plain(CertifyPlan, summary["plan"], where="plan")
            weights, made_on = str(summary["weights_sha256"]), dict(summary["environment"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is damaged or no certification ({error}): certify again") from None
        if not known:
            raise ValueError(
                f"{str(folder)!r} was written by a later version of classwise: update classwise to read it"
            )
        return cls(plan, Certificates.load(folder / "certificates.npz", digest), weights, made_on, folder)

    def require_same(self, plan: CertifyPlan, weights: str) -> None:
        """Raise ``ValueError`` unless this is the result of a plan for a model with these weights."""
        require_same(self.folder, to_plain(self.plan), self.weights, plan, weights)


def require_same(folder: Path | None, plan: Any, weights: str, new_plan: CertifyPlan, new_weights: str) -> None:
    """Raise ``ValueError`` unless a stored plan and weights are those at hand."""
    changed = differences(plan, to_plain(new_plan))
    changed += ["another model"] if weights != new_weights else []
    if changed:
        raise ValueError(
            f"{str(folder)!r} holds another certification ({'; '.join(changed[:4])}): give another output folder, or "
            "repeat what it was begun with"
        )
