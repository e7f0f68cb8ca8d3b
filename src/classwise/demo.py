"""The whole job on bundled images: train, audit, repair, audit again, compare, report."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from classwise import api
from classwise.configuration import replace
from classwise.evaluation import AuditResult, Comparison
from classwise.policies import KLDRO
from classwise.progress import Progress, default_progress
from classwise.recipes import recipe
from classwise.run import Run
from classwise.training.optimizer import SGD

REPAIRS = ((0.1, 0.01), (0.1, 0.03), (0.5, 0.01), (0.5, 0.03))
"""Settings of the repair that are tried: strength of the class weights (tau, nats) and learning rate."""


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Args:
        trained: The adversarially trained run.
        repaired: The repair whose setting the validation images support best.
        tried: For each setting (tau, learning rate) its validation score: average plus worst-class robust accuracy.
        comparison: Paired comparison of their audits on test images.
        report: The HTML file.
    """

    trained: Run
    repaired: Run
    tried: dict[tuple[float, float], float]
    comparison: Comparison
    report: Path


def run_demo(out: Path | str, say: Callable[[str], None], progress: Progress | None = None) -> Demo:
    """Carry out the demo; what is finished already is read, not done again.

    Args:
        out: Folder for its runs and the report.
        say: Called with each piece of text to show.
        progress: Where progress is shown; default: the terminal.
    """
    from classwise.report.html import write_report

    out, progress = Path(out), progress or default_progress()
    config = recipe("digits-pgd-at")
    say(f"1. Train a small CNN on 8x8 digits by PGD adversarial training, {config.threat}.")
    trained = api.train(config, out / "train", progress=progress)
    before = trained.audit(progress=progress)
    say("2. Audit it, class by class, on test images.\n")
    say(str(before))
    say("3. Repair its weakest classes by KL-DRO class weights; the setting is chosen on validation images.")
    runs: dict[tuple[float, float], Run] = {}
    for tau, rate in REPAIRS:
        folder = out / f"repair-tau{tau:g}-lr{rate:g}"
        repair = replace(recipe("digits-faal"), policy=KLDRO(tau=tau), optimizer=SGD(lr=rate, weight_decay=5e-4))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the repair did not succeed")  # said below, for all settings together
            runs[tau, rate] = api.finetune(trained, recipe=repair, out=folder, progress=progress)
    tried = {setting: run.score() for setting, run in runs.items()}
    start = trained.score()
    for (tau, rate), score in tried.items():
        say(f"   tau {tau:g}, learning rate {rate:g}: validation score {score:.3f} (before repair: {start:.3f})")
    chosen = max(tried, key=lambda setting: tried[setting])
    repaired = runs[chosen]
    say(f"   Chosen: tau {chosen[0]:g}, learning rate {chosen[1]:g} (score: average + worst-class robust accuracy).")
    if tried[chosen] <= start:
        say("   No setting scores above the start model: the validation images support none of these repairs.")
    say("4. Audit it again on the same test images, and compare image by image.\n")
    after: AuditResult = repaired.audit(like=before, progress=progress)
    comparison = api.compare(before, after)
    say(str(comparison))
    report = write_report(
        out / "report.html",
        audits=[before, after],
        comparison=comparison,
        runs=[trained.directory, repaired.directory],
        title="classwise demo: handwritten digits",
    )
    return Demo(trained, repaired, tried, comparison, report)
