"""Carrying out an audit: the model is run, verdicts are kept as they come, the result is sealed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classwise import configuration
from classwise.attacks.base import Classifier
from classwise.configuration import to_plain
from classwise.data.dataset import ClassData
from classwise.evaluation.admission import FIRST, check_mode, check_model
from classwise.evaluation.check import Check
from classwise.evaluation.collect import Collected, Evaluator
from classwise.evaluation.fingerprint import fingerprint
from classwise.evaluation.journal import Journal
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.result import SEAL, AuditResult, Examples
from classwise.evaluation.sanity import cheap_checks
from classwise.evaluation.shapes import Memory
from classwise.evaluation.shards import part, shard_folder
from classwise.models.given import weights_digest
from classwise.progress import Progress
from classwise.runs import RunDirectory
from classwise.runs.environment import environment

EXAMPLES = 8
JOURNAL = "journal.jsonl"
"""The file of an audit's folder to which verdicts are added while it runs."""


def run_audit(
    model: Classifier,
    data: ClassData,
    plan: AuditPlan,
    device: torch.device,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> AuditResult:
    """Carry out a planned audit of a model that is on its device already.

    Args:
        model: In eval mode.
        data: The images the plan is about, all of them also where it is about a part.
        plan: What is asked.
        device: Where the model is.
        progress: Where progress is shown.
        folder: Where verdicts are kept as they come and the result is saved. An interrupted audit goes on there, and a
            finished one is read.

    Raises:
        ValueError: The model is in train mode, or cannot be audited; the folder holds another audit.
    """
    check_mode(model)
    images = part(data, plan.shard)
    few = Memory(min(FIRST, plan.batch_size, len(images)))
    few.run(lambda size: check_model(model, images.subset(torch.arange(size)), device))  # before anything is written
    identity = fingerprint(model, data, device)
    if folder is None:
        return _run(model, images, plan, device, progress, None, identity)
    with RunDirectory(folder).lock():
        if (folder / SEAL).is_file():
            return _finished(folder, plan, identity)
        journal = Journal(folder / JOURNAL, {"plan": to_plain(plan), "model": identity})
        result = _run(model, images, plan, device, progress, journal, identity).save(folder)
        (folder / JOURNAL).unlink(missing_ok=True)
        return result


def _run(
    model: Classifier,
    images: ClassData,
    plan: AuditPlan,
    device: torch.device,
    progress: Progress | None,
    journal: Journal | None,
    identity: str,
) -> AuditResult:
    weights = weights_digest(model) if isinstance(model, nn.Module) else ""
    evaluator = Evaluator(plan.threats, plan.attacks, plan.seed, plan.batch_size, device, plan.precision)
    collected = evaluator.run(model, images, progress, journal=journal)
    what_fits = replace(evaluator, batch_size=max(collected.images_at_once, 1))
    return AuditResult(
        plan,
        collected.outcomes,
        _examples(what_fits, model, images, collected.outcomes),
        environment() | {"search": collected.search, "images_at_once": collected.images_at_once},
        _checks(model, images, plan, collected, device, weights),
        identity,
    )


def stored_audit(
    folder: Path,
    model: nn.Module,
    data: ClassData,
    plan: AuditPlan,
    device: torch.device,
    progress: Progress | None = None,
) -> AuditResult:
    """Carry out a planned audit and keep it in a sub-folder, or read it where the same weights were audited so before."""
    threat, whole = plan.threats[0], configuration.replace(plan, shard="")
    radius = str(threat.radius).replace("/", "_")
    target = shard_folder(folder / f"{threat.norm}-{radius}-{whole.key()}-{weights_digest(model)[:8]}", plan.shard)
    if (target / SEAL).is_file():
        try:
            result = AuditResult.load(target)
            (target / JOURNAL).unlink(missing_ok=True)  # left by a crash between the seal and its removal
            return result
        except ValueError as error:
            warnings.warn(f"{error}; doing that now", stacklevel=2)
            (target / SEAL).unlink()
    return run_audit(model, data, plan, device, progress, target)


def _finished(folder: Path, plan: AuditPlan, identity: str) -> AuditResult:
    earlier = AuditResult.load(folder)
    if earlier.plan != plan or earlier.fingerprint != identity:
        raise ValueError(
            f"{str(folder)!r} holds another audit ({earlier.plan.model}, {earlier.plan.suite}): give another output folder"
        )
    (folder / JOURNAL).unlink(missing_ok=True)  # left by a crash between the seal and its removal
    return earlier


def _checks(
    model: Classifier, images: ClassData, plan: AuditPlan, collected: Collected, device: torch.device, weights: str
) -> tuple[Check, ...]:
    """The cheap checks; what goes wrong in them must not lose an audit."""
    try:
        return cheap_checks(model, images, plan, collected, device, weights)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        sentence = f"The checks could not be made ({reason}); `classwise check` may say more."
        return (Check("checks", "warn", sentence, "docs/believable.md"),)


def _examples(evaluator: Evaluator, model: Classifier, data: ClassData, outcomes: Outcomes) -> Examples:
    """Perturbed images of the weakest class at the first radius, made again by the attacks that broke them.

    None where they cannot be made again, which must not lose an audit.
    """
    table = outcomes.table(0, data.group_names)
    weakest = table.names.index(table.weakest)
    broken = outcomes.clean_correct & ~outcomes.robust_correct(0) & (outcomes.group == weakest)
    rows = broken.nonzero()[0][:EXAMPLES]
    chosen = data.subset(torch.from_numpy(rows))
    perturbed = chosen.batch(slice(None))[0].clone()
    by = torch.from_numpy(outcomes.broken_by[0][rows])
    for number in sorted(set(by.tolist())):
        some = (by == number).nonzero()[:, 0]
        try:
            perturbed[some] = evaluator.perturb(model, chosen.subset(some), number)
        except RuntimeError as error:
            warnings.warn(f"no pictures of broken images: {error}", stacklevel=2)
            nothing = chosen.subset(by[:0])
            return _pictures(nothing, nothing.batch(slice(None))[0], outcomes.prediction[0][:0])
    return _pictures(chosen, perturbed, outcomes.prediction[0][rows])


def _pictures(chosen: ClassData, perturbed: Tensor, predictions: NDArray[np.int64]) -> Examples:
    return Examples(chosen.batch(slice(None))[0].numpy(), perturbed.numpy(), chosen.labels.numpy(), predictions)
