"""Class-wise certification by randomised smoothing: the share of each class that no l_2 change below a radius breaks."""

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
import torch
from torch import nn

from classwise.attacks.base import Classifier
from classwise.configuration import config, differences, from_plain, to_plain, to_yaml
from classwise.data.dataset import ClassData, rows_by_group
from classwise.evaluation.admission import check_mode, check_model
from classwise.evaluation.result import SEAL
from classwise.evaluation.smoothing import ABSTAIN, Bools, Floats, Found, Ints, Sampling, Smoothed, Stop
from classwise.metrics import ClassTable, Estimate, class_table, wilson
from classwise.models.given import weights_digest
from classwise.models.modes import mode
from classwise.progress import Progress, Silent
from classwise.radius import Radius
from classwise.runs import RunDirectory
from classwise.runs.atomic import write_bytes, write_json, write_text
from classwise.runs.environment import environment
from classwise.runs.events import EventLog

FORMAT = 1
EVERY = 20
"""Every how many-th image of each class is certified, unless said otherwise."""
TOGETHER = 16
"""Images, at most, whose votes are counted together and written to the journal together."""
RADII = (0.0, 0.5, 1.0, 2.0)
"""Radii of tables, unless said otherwise, in standard deviations of the noise."""
JOURNAL = "journal.jsonl"
"""The file of a certification's folder to which finished samples are added."""
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
        weights: Checksum of the model's weights; empty for a function.
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
        """The result for people to read: a class table in Markdown, and the summaries at each radius.

        Args:
            radii: Radii of its columns; default: :attr:`radii`.
        """
        from classwise.report.phrasing import level, limits, percent, summary
        from classwise.report.tables import markdown

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
        lines = [f"{self.plan.model}: {self.plan}", "", markdown(rows), ""]
        lines += [f"In brackets: {level(tables[marked].confidence)} Wilson interval of the class over images."]
        for radius, table in tables.items():
            lines += [
                f"Certified accuracy at {radius}, mean over samples: {summary(table.mean)}",
                f"Certified accuracy at {radius}, worst class: {table.weakest}, {summary(table.worst)}",
            ]
        return "\n".join(lines)

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
        _require_same(self.folder, to_plain(self.plan), self.weights, plan, weights)


class Journal:
    """Finished samples on disk, so that a run that was killed goes on where it was.

    Args:
        folder: Output folder; empty, or with the journal of the same plan and weights.
        plan: What was asked.
        weights: Checksum of the model's weights.

    Raises:
        ValueError: The folder holds something else.
    """

    def __init__(self, folder: Path, plan: CertifyPlan, weights: str) -> None:
        self.log = EventLog(folder / JOURNAL)
        others = [each.name for each in folder.iterdir() if each.name != "run.lock"]
        if others and JOURNAL not in others:
            raise ValueError(f"{str(folder)!r} holds other files ({min(others)}): give another output folder")
        if others:
            self.log.cut(self.log.path.read_bytes().rfind(b"\n") + 1)  # a line that a kill cut short
        for begun in self.log.read("begin"):
            _require_same(folder, begun["plan"], begun["weights"], plan, weights)
        self.log.append("begin", plan=to_plain(plan), weights=weights, environment=environment())

    def read(self) -> dict[int, Found]:
        """What is known, by index of the sample."""
        return {int(index): (*row,) for event in self.log.read("found") for index, *row in event["samples"]}

    def add(self, found: dict[int, Found]) -> None:
        """Write down finished samples."""
        self.log.append("found", samples=[[index, *row] for index, row in found.items()])


def plan_certify(
    data: ClassData,
    *,
    model: str,
    sampling: Sampling,
    seed: int = 0,
    batch_size: int = 1000,
    split: str = "test",
) -> CertifyPlan:
    """Write down a certification before it is run; see :class:`CertifyPlan` for the fields.

    Raises:
        ValueError: A class has no sample.
    """
    for name, rows in zip(data.group_names, rows_by_group(data.groups, data.num_groups), strict=True):
        if not len(rows):
            raise ValueError(
                f"class {name!r} has no sample in the {split} images of {data.name!r}: "
                "give samples of every class, or name only the classes there are"
            )
    return CertifyPlan(
        model=model,
        data=data.name,
        split=split,
        data_sha256=data.checksum(),
        samples=len(data),
        class_names=data.group_names,
        sampling=sampling,
        seed=seed,
        batch_size=batch_size,
    )


def run_certify(
    model: Classifier,
    data: ClassData,
    plan: CertifyPlan,
    device: torch.device,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> CertifyResult:
    """Carry out a planned certification of a model that is on its device already.

    Args:
        model: The base classifier.
        data: The images of the plan, no more and no less.
        plan: What is asked.
        device: Where the model is.
        progress: Where progress is shown; default: nowhere.
        folder: Where the result is saved. Finished samples are written there as they are found: after an interruption
            the same call goes on from there, and a finished result is returned as it is.

    Raises:
        ValueError: The model is in train mode or its output cannot be used, or the folder holds something else.
    """
    check_mode(model)
    weights = weights_digest(model) if isinstance(model, nn.Module) else ""
    if folder is None:
        check_model(model, data, device)
        return CertifyResult(plan, _collect(model, data, plan, device, progress, None), weights, environment())
    with RunDirectory(folder).lock():
        if (folder / SEAL).is_file():
            earlier = CertifyResult.load(folder)
            earlier.require_same(plan, weights)
            return earlier
        check_model(model, data, device)  # before anything is written
        certificates = _collect(model, data, plan, device, progress, Journal(folder, plan, weights))
        return CertifyResult(plan, certificates, weights, environment()).save(folder)


def certify(
    model: Classifier,
    data: ClassData,
    *,
    sigma: float | str,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    stop: Stop = "never",
    looks: int = 5,
    enough: float | str = 0,
    every: int = EVERY,
    seed: int = 0,
    batch_size: int = 1000,
    split: str = "given",
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> CertifyResult:
    """Certify a live classifier where it is, class by class.

    Args:
        model: Module in eval mode, or function, from images to logits; best trained under noise of the same sigma.
        data: Images with labels.
        sigma: Standard deviation of the noise, in units of the pixel range.
        n0: Votes that choose the class.
        n: Votes, at most, that bound its probability.
        alpha: Greatest probability that a certificate is wrong.
        stop: When voting ends early; see :class:`Sampling`, also for the two that follow.
        looks: Looks of the stopping rules.
        enough: Certified radius at which "split-alpha" ends.
        every: Every how many-th image of each class is certified; 1: all.
        seed: Seed of the noise, which is keyed by sample.
        batch_size: Noisy copies of a micro-batch.
        split: Role of the images, for the record.
        out: Folder of the result; see :func:`run_certify`.
        progress: Where progress is shown; default: nowhere.

    Raises:
        ValueError: The model or the data cannot be used, or the folder holds something else.
    """
    sampling = Sampling(sigma=Radius(sigma), n0=n0, n=n, alpha=alpha, stop=stop, looks=looks, enough=Radius(enough))
    chosen = every_kth(data, every)
    plan = plan_certify(
        chosen, model=type(model).__name__, sampling=sampling, seed=seed, batch_size=batch_size, split=split
    )
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    device = tensors[0].device if tensors else torch.device("cpu")
    return run_certify(model, chosen, plan, device, progress, Path(out) if out is not None else None)


def every_kth(data: ClassData, k: int = EVERY) -> ClassData:
    """Every ``k``-th sample of each class, beginning with its first one, in the order of the data.

    Every class keeps its share and none is lost, which every ``k``-th sample of the whole does not promise.

    Raises:
        ValueError: ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"every {k}th image of each class was asked for: ask for at least every 1st")
    return data.subset(torch.cat([rows[::k] for rows in rows_by_group(data.groups, data.num_groups)]).sort().values)


def _collect(
    model: Classifier,
    data: ClassData,
    plan: CertifyPlan,
    device: torch.device,
    progress: Progress | None,
    journal: Journal | None,
) -> Certificates:
    """Certificates of every sample, those of the journal not made again."""
    from classwise.training.runtime import full_fp32  # training imports evaluation

    rule, index = plan.sampling, data.index.tolist()
    known = journal.read() if journal is not None else {}
    todo = torch.tensor([row for row, each in enumerate(index) if each not in known], dtype=torch.int64)
    smoothed = Smoothed(model, data.num_classes, float(rule.sigma), plan.seed, plan.batch_size, device)
    together = max(1, min(plan.batch_size // rule.n0, TOGETHER))
    with (
        mode(model, training=False),
        full_fp32(),
        (progress or Silent()).task(f"certify, sigma {rule.sigma}", len(todo) * (rule.n0 + rule.n)) as advance,
    ):
        for start in range(0, len(todo), together):
            some = data.subset(todo[start : start + together])
            bounded = smoothed.certify(some.batch(slice(None), device)[0], some.index.to(device), rule, advance)
            found = dict(zip(some.index.tolist(), bounded.rows(), strict=True))
            if journal is not None:
                journal.add(found)
            known |= found
            advance(0, note=f"claims: {sum(each[0] != ABSTAIN for each in known.values())} of {len(known)} images")
    prediction, radius, votes, hits = zip(*(known[each] for each in index), strict=True)
    return Certificates(
        index=data.index.numpy().astype(np.int64),
        label=data.labels.numpy().astype(np.int64),
        group=data.groups.numpy().astype(np.int64),
        prediction=np.array(prediction, np.int64),
        radius=np.array(radius, np.float64),
        votes=np.array(votes, np.int64),
        hits=np.array(hits, np.int64),
    )


def _require_same(folder: Path | None, plan: Any, weights: str, new_plan: CertifyPlan, new_weights: str) -> None:
    changed = differences(plan, to_plain(new_plan))
    changed += ["other weights"] if weights != new_weights else []
    if changed:
        raise ValueError(
            f"{str(folder)!r} holds another certification ({'; '.join(changed[:4])}): give another output folder, or "
            "repeat what it was begun with"
        )
