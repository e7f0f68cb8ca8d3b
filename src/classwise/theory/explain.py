"""Experimental: how far a Gaussian model of the penultimate features explains the class-wise errors of an audited run.

A bridge that none of the papers has. They prove what linear classifiers do on Gaussian classes and then show experiments
with networks; here the Gaussians are fitted to what the network's own last linear layer is given, and the errors they
predict (:mod:`classwise.theory.feature_fit`) stand beside those the audit counted, with their intervals.

Test images only explain here: nothing is trained, tuned or chosen by them. Each half of the images of a class is predicted
from the other half. The audit keeps verdicts and no perturbed images, so the attacked features are made again, by PGD of
20 steps on every image; how many images it breaks is told beside what the audit's own attacks broke.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classwise import configuration
from classwise.attacks import PGD, describe
from classwise.evaluation import AuditResult
from classwise.evaluation.result import SEAL
from classwise.metrics import ClassTable, class_table
from classwise.models.given import weights_digest
from classwise.progress import Progress, default_progress
from classwise.run import Run
from classwise.theory.explain_text import lines
from classwise.theory.explanation import Compared, Explanation, as_json
from classwise.theory.feature_fit import fit
from classwise.theory.features import Features, Floats, capture
from classwise.theory.normality import departure
from classwise.training import Runtime

__all__ = ["ATTACK", "Compared", "Explanation", "as_json", "explain", "explained", "lines"]

ATTACK = PGD(steps=20)
"""Makes the attacked features."""


def explained(
    run: Run | Path | str,
    *,
    audit: Path | str | None = None,
    radius: int = 0,
    checkpoint: str = "selected",
    seed: int = 0,
    samples: int = 20000,
    batch_size: int = 256,
    device: str = "",
    progress: Progress | None = None,
) -> Explanation:
    """Explain the audited class-wise errors of a run. Experimental.

    Args:
        run: A run, or its directory.
        audit: Folder of one of its audits; default: the newest one of the checkpoint.
        radius: Which threat model of the audit, by position.
        checkpoint: See :meth:`Run.checkpoint`; the one the audit is of.
        seed: Of the attack's random starts and of the Monte Carlo.
        samples: Monte Carlo points for each class and half.
        batch_size: Images at a time.
        device: Where to run; default: as in training.
        progress: Where progress is shown.

    Raises:
        ValueError: The checkpoint has no audit, the audit is of other weights or images, a class has too few images, the
            network does not end in a linear layer, or the radius or a count is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} must be at least 1")
    run = run if isinstance(run, Run) else Run(run)
    hardware = run.config.hardware
    runtime = Runtime(configuration.replace(hardware, device=device) if device else hardware)
    network = run.model(checkpoint)
    found = _audit(run, checkpoint, weights_digest(network), audit)
    plan = found.plan
    if not 0 <= radius < len(plan.threats):
        raise ValueError(f"radius {radius} is not there: the audit has {len(plan.threats)}, counted from 0")
    data = run.dataset.test.at(found.outcomes.index.tolist())
    if data.checksum() != plan.data_sha256:
        raise ValueError("the audit is of other images than this run's test set: audit the run again")
    with runtime.session():
        features = capture(
            runtime.place(network).eval(),
            data,
            plan.threats[radius],
            ATTACK,
            seed=seed,
            batch_size=batch_size,
            device=runtime.device,
            progress=progress or default_progress(),
        )
    assert found.folder is not None
    return explain(features, found, radius, seed=seed, samples=samples)


def explain(
    features: Features, audit: AuditResult, radius: int = 0, *, seed: int = 0, samples: int = 20000
) -> Explanation:
    """Compare what Gaussians fitted to features predict with an audit of the same images.

    Args:
        features: Of the audit's images, in its order.
        audit: What was measured. Its errors are counted per label here, also where its tables are about other groups.
        radius: Which of its threat models, by position.
        seed: Of the Monte Carlo; told as that of the attack too.
        samples: Monte Carlo points for each class and half.

    Raises:
        ValueError: The images differ, or see :func:`classwise.theory.feature_fit.fit`.
    """
    outcomes, plan = audit.outcomes, audit.plan
    if not np.array_equal(outcomes.label, features.labels):
        raise ValueError("features and audit are of other images: their labels differ")
    fitted = fit(features, seed, samples)
    correct = outcomes.robust_correct(radius)
    table = class_table(outcomes.label, outcomes.clean_correct, correct, features.names)
    distance, departs = _normality(features)
    clean_pair, robust_pair = fitted.along.at_least()
    wrong = [features.logits(attacked).argmax(1) != features.labels for attacked in (False, True)]
    return Explanation(
        model=plan.model,
        audit=audit.folder.name if audit.folder is not None else "",
        held=f"{plan.data}/{plan.split}, n = {plan.samples}, {plan.suite}, {plan.precision}",
        threat=str(plan.threats[radius]),
        attack=describe([ATTACK]),
        attack_broke=float((wrong[0] | wrong[1]).mean()),
        audit_broke=float(1 - correct.mean()),
        images=len(features.labels),
        dimensions=features.weight.shape[1],
        seed=seed,
        samples=samples,
        clean=_compared(table, "clean", fitted.along.clean, fitted.isotropic.clean, clean_pair),
        robust=_compared(table, "robust", fitted.along.robust, fitted.isotropic.robust, robust_pair),
        fitted=fitted,
        distance=distance,
        departs=departs,
    )


def _audit(run: Run, checkpoint: str, digest: str, chosen: Path | str | None) -> AuditResult:
    """The audit to explain; the names of a run's audit folders end on the digest of the weights."""
    ending = f"-{digest[:8]}"
    if chosen is not None:
        if not Path(chosen).name.endswith(ending):
            raise ValueError(
                f"{str(chosen)!r} is no audit of the {checkpoint} checkpoint of {str(run.path)!r}: name the checkpoint it is of"
            )
        return AuditResult.load(chosen)
    seals = [each for each in run.path.glob(f"audits/*{ending}/{SEAL}") if not each.parent.name.startswith("picked-")]
    if not seals:
        raise ValueError(
            f"{str(run.path)!r} has no finished audit of its {checkpoint} checkpoint to explain: classwise audit {run.path}"
        )
    return AuditResult.load(max(seals, key=lambda each: (each.stat().st_mtime_ns, each.parent.name)).parent)


def _normality(features: Features) -> tuple[Floats, NDArray[np.bool_]]:
    """Distances from normal along every direction, and which are departures, (K, K)."""
    logits, classes = features.logits(), len(features.names)
    distance, departs = np.full((classes, classes), np.nan), np.zeros((classes, classes), dtype=bool)
    for label in range(classes):
        own = logits[features.labels == label]
        others = np.flatnonzero(np.arange(classes) != label)
        found = departure(own[:, [label]] - own[:, others])
        distance[label, others], departs[label, others] = found.distance, found.departs
    return distance, departs


def _compared(
    table: ClassTable, column: Literal["clean", "robust"], predicted: Floats, isotropic: Floats, pair: Floats
) -> Compared:
    """Errors of a column of accuracies: limits change places."""
    measured, low, high = (1 - getattr(table, column + end) for end in ("", "_high", "_low"))
    return Compared(table.names, measured, low, high, predicted, isotropic, pair)
