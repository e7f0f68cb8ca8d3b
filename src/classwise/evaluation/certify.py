"""Class-wise certification by randomised smoothing: the share of each class that no l_2 change below a radius breaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from classwise.attacks.base import Classifier
from classwise.configuration import to_plain
from classwise.data.dataset import ClassData, rows_by_group
from classwise.evaluation.admission import check_mode, check_model
from classwise.evaluation.certificates import Certificates, CertifyPlan, CertifyResult, require_same
from classwise.evaluation.fingerprint import fingerprint
from classwise.evaluation.plan import check_classes
from classwise.evaluation.result import SEAL
from classwise.evaluation.smoothing import ABSTAIN, Found, Sampling, Smoothed
from classwise.models.modes import mode
from classwise.progress import Progress, Silent
from classwise.runs import RunDirectory
from classwise.runs.environment import environment
from classwise.runs.events import EventLog

EVERY = 20
"""Every how many-th image of each class is certified, unless said otherwise."""
TOGETHER = 16
"""Images, at most, whose votes are counted together and written to the journal together."""
JOURNAL = "journal.jsonl"
"""The file of a certification's folder to which finished samples are added."""


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
            self.log.mend()
        for begun in self.log.read("begin"):
            require_same(folder, begun["plan"], begun["weights"], plan, weights)
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
    check_classes(data, split)
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
    check_model(model, data, device)  # before anything is written
    weights = fingerprint(model, data, device)
    if folder is None:
        return CertifyResult(plan, _collect(model, data, plan, device, progress, None), weights, environment())
    with RunDirectory(folder).lock():
        if (folder / SEAL).is_file():
            earlier = CertifyResult.load(folder)
            earlier.require_same(plan, weights)
            return earlier
        certificates = _collect(model, data, plan, device, progress, Journal(folder, plan, weights))
        return CertifyResult(plan, certificates, weights, environment()).save(folder)


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
