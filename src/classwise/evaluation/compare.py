"""Two audits of the same samples, compared sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.result import AuditResult
from classwise.metrics import PairedTable, compare_pairs


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two audits at their first radius.

    Args:
        before: The first audit.
        after: The second one.
        robust: Class by class, robust accuracy.
        clean: Class by class, clean accuracy.
    """

    before: AuditResult
    after: AuditResult
    robust: PairedTable
    clean: PairedTable

    def __str__(self) -> str:
        from classwise.report.tables import comparison_text

        return comparison_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: both tables and both weakest classes."""
        return {
            "robust": self.robust.to_dict(),
            "clean": self.clean.to_dict(),
            "worst_before": self.before.worst.to_dict(),
            "worst_after": self.after.worst.to_dict(),
        }

    def findings(self) -> list[str]:
        """What the intervals and tests allow to be claimed, in sentences; exactly that, and no more.

        Classes are tested by exact McNemar tests, Holm-corrected over the classes of a table (robust and clean apart);
        the change over all samples by one such test. Two intervals that do not overlap show a change of the weakest
        class; two that do, show nothing either way.
        """
        sentences = [
            _change("Robust accuracy over all samples", self.robust),
            _change("Clean accuracy over all samples", self.clean),
        ]
        for table, what in ((self.robust, "robust"), (self.clean, "clean")):
            for direction, names in (("Higher", table.improved), ("Lower", table.worsened)):
                if names:
                    sentences.append(
                        f"{direction} {what} accuracy than before (exact McNemar, Holm-corrected): {', '.join(names)}."
                    )
        before, after = self.before.worst, self.after.worst
        moved = f"Weakest class: {self.before.weakest} at {before} before, {self.after.weakest} at {after} after"
        if after.low > before.high:
            sentences.append(f"{moved}: the intervals do not overlap, so the weakest class is stronger than before.")
        elif after.high < before.low:
            sentences.append(f"{moved}: the intervals do not overlap, so the weakest class is weaker than before.")
        else:
            sentences.append(f"{moved}: the intervals overlap, so a change of the weakest class is not shown.")
        if not (self.robust.improved or self.robust.worsened):
            sentences.append("No single class changed its robust accuracy beyond the noise of this sample.")
        return sentences


def compare_audits(before: AuditResult, after: AuditResult) -> Comparison:
    """Compare two audits, paired per sample.

    Raises:
        ValueError: They differ in samples, threat model, attacks, seed or precision, so that a difference would not be
            one of the models.
    """
    different = [
        field
        for field in ("data_sha256", "class_names", "threats", "attacks", "seed", "precision")
        if getattr(before.plan, field) != getattr(after.plan, field)
    ]
    if different:
        raise ValueError(
            f"these audits differ in {', '.join(_spoken(field) for field in different)} "
            f"({_short(before.plan)} against {_short(after.plan)}): audit both models the same way first"
        )
    assert np.array_equal(before.outcomes.index, after.outcomes.index)
    group, names = before.outcomes.group, before.plan.class_names
    return Comparison(
        before,
        after,
        robust=compare_pairs(group, before.outcomes.robust_correct(0), after.outcomes.robust_correct(0), names),
        clean=compare_pairs(group, before.outcomes.clean_correct, after.outcomes.clean_correct, names),
    )


def _change(what: str, table: PairedTable) -> str:
    overall, difference = table.overall, table.overall.difference
    shown = overall.p_value < 1 - table.confidence
    return (
        f"{what}: {100 * overall.before:.1f} % → {100 * overall.after:.1f} %, difference {100 * difference.value:+.1f} points "
        f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]: "
        f"{'a change is shown' if shown else 'no change is shown'} (exact McNemar p = {overall.p_value:.3g})."
    )


def _short(plan: AuditPlan) -> str:
    return f"{plan.data}/{plan.split}, n={plan.samples}, {plan.threats[0]}, {plan.suite}, seed {plan.seed}"


def _spoken(field: str) -> str:
    return {"data_sha256": "the samples", "class_names": "the classes", "threats": "the threat model"}.get(field, field)
