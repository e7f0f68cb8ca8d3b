"""Carrying out an audit: the model is run, verdicts are kept as they come, the result is sealed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from classwise import configuration
from classwise.attacks.base import Classifier
from classwise.configuration import to_plain
from classwise.data.dataset import ClassData, as_float
from classwise.evaluation.admission import check_mode
from classwise.evaluation.collect import Collected, Evaluator
from classwise.evaluation.journal import Journal
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.result import SEAL, AuditResult, Examples
from classwise.evaluation.sanity import cheap_checks
from classwise.evaluation.shards import part, shard_folder
from classwise.models.given import weights_digest
from classwise.progress import Progress
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
    weights = weights_digest(model) if isinstance(model, nn.Module) else ""
    if folder is not None and (folder / SEAL).is_file():
        return _finished(folder, plan, weights)
    evaluator = Evaluator(plan.threats, plan.attacks, plan.seed, plan.batch_size, device, plan.precision)
    images = part(data, plan.shard)
    path = folder / JOURNAL if folder is not None else None
    journal = Journal(path, {"plan": to_plain(plan), "weights": weights}) if path is not None else None
    collected = evaluator.run(model, images, progress, journal=journal)
    what_fits = replace(evaluator, batch_size=max(collected.images_at_once, 1))
    examples = _examples(what_fits, model, images, collected.outcomes)
    checks = cheap_checks(model, images, plan, collected, device, weights)
    result = AuditResult(plan, collected.outcomes, examples, _circumstances(collected), checks, weights)
    if folder is None or path is None:
        return result
    result = result.save(folder)
    path.unlink()
    return result


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


def _finished(folder: Path, plan: AuditPlan, weights: str) -> AuditResult:
    earlier = AuditResult.load(folder)
    if earlier.plan != plan or earlier.weights != weights or not weights:
        raise ValueError(
            f"{str(folder)!r} holds another audit ({earlier.plan.model}, {earlier.plan.suite}): give another output folder"
        )
    (folder / JOURNAL).unlink(missing_ok=True)  # left by a crash between the seal and its removal
    return earlier


def _circumstances(collected: Collected) -> dict[str, object]:
    """Versions and device, and what the search ran on."""
    return environment() | {"search": collected.search, "images_at_once": collected.images_at_once}


def _examples(evaluator: Evaluator, model: Classifier, data: ClassData, outcomes: Outcomes) -> Examples:
    """Perturbed images of the weakest class at the first radius, made again by the attacks that broke them."""
    table = outcomes.table(0, data.group_names)
    weakest = table.names.index(table.weakest)
    broken = outcomes.clean_correct & ~outcomes.robust_correct(0) & (outcomes.group == weakest)
    rows = broken.nonzero()[0][:EXAMPLES]
    chosen = data.subset(torch.from_numpy(rows))
    originals = as_float(chosen.images)
    perturbed = originals.clone()
    by = torch.from_numpy(outcomes.broken_by[0][rows])
    for number in sorted(set(by.tolist())):
        some = (by == number).nonzero()[:, 0]
        perturbed[some] = evaluator.perturb(model, chosen.subset(some), number)
    return Examples(originals.numpy(), perturbed.numpy(), chosen.labels.numpy(), outcomes.prediction[0][rows])
