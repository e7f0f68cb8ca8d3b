"""What published code reports when it chooses a checkpoint on test images: computed afterwards, and called that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from classwise.evaluation import AuditResult
from classwise.run import Run
from classwise.runs.checkpoints import read_meta
from classwise.selection import BestSum, Last, NoWorse, Selection

AVERAGED = "-averaged"


def picked_on_test(run: Run, rule: Selection | None = None, **how: Any) -> AuditResult:
    """Audit every kept checkpoint of a run on its test images, and return the audit of the one that does best there.

    Published code of CFA and FAAL picks the checkpoint it reports in this way. Such figures are too high, since the test
    images took part in the choice, and their intervals do not hold; the model's name in the result, and with it the first
    line of every table, says so. For comparisons with published rows only. Nothing about the run changes.

    Args:
        run: A run that kept several checkpoints (``keep_every``, ``keep_epochs``).
        rule: How checkpoints are ranked, here by their table on test images; default: the run's own rule, without its guard
            if it has one, or where that is "last" the sum of average and worst-class accuracy.
        **how: As for :meth:`classwise.Run.audit`, which also keeps the audit of every checkpoint.

    Raises:
        ValueError: The run kept fewer than two checkpoints, or the rule looks at no accuracy.
    """
    if rule is None:
        own = run.config.selection.rule if isinstance(run.config.selection, NoWorse) else run.config.selection
        rule = BestSum() if isinstance(own, Last) else own
    if not run.config.keep_every and not run.config.keep_epochs:
        raise ValueError(
            f"{str(run.path)!r} kept only its last and its selected checkpoints: there is nothing to pick from; train with "
            "keep_every 1 to keep them all"
        )
    names = candidates(run)
    if len(names) < 2:
        raise ValueError(
            f"{str(run.path)!r} has kept {len(names)} trained checkpoint: there is nothing to pick from; train with "
            "keep_every 1 to keep them all"
        )
    if isinstance(rule, Last):
        raise ValueError("the rule 'last' picks nothing by accuracy: give best-average, best-worst or best-sum")
    audits = {name: run.audit(checkpoint=name, **how) for name in names}
    best = max(enumerate(names), key=lambda each: (rule.score(audits[each[1]].table(), 0), each[0]))[1]
    found = audits[best]
    told = (
        f"PICKED ON TEST IMAGES ({rule.registered_name} of {len(names)} checkpoints), so its figures are too high and its "
        f"intervals do not hold: {found.plan.model}"
    )
    assert found.folder is not None
    folder = found.folder.with_name(f"picked-on-test-{rule.registered_name}-{len(names)}-{found.folder.name}")
    return replace(found, plan=replace(found.plan, model=told)).save(folder)


def candidates(run: Run) -> list[str]:
    """Names of the kept checkpoints after the start, as :meth:`classwise.Run.checkpoint` takes them."""
    shelf = run.directory.checkpoints
    names = []
    for number in shelf.numbers():
        if number == 0:
            continue
        files = read_meta(shelf.path(number))["sha256"]
        names += [str(number), *([f"{number}{AVERAGED}"] if "averaged.safetensors" in files else [])]
    return names
