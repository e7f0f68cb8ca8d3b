"""Any number of runs and audits in one comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from classwise.comparison.conditions import (
    Column,
    Frame,
    Measurements,
    disagreements,
    frames_apart,
    measurements,
    shared_columns,
    shared_frame,
)
from classwise.comparison.find import Audited, find
from classwise.comparison.front import front
from classwise.comparison.rows import Member, Row, gather
from classwise.comparison.versus import Versus, against
from classwise.evaluation.plan import AuditPlan
from classwise.registry import did_you_mean


@dataclass(frozen=True, eq=False)
class Overview:
    """Recipes side by side.

    Attributes:
        rows: One per recipe; rows that started from another row follow it.
        columns: Threat models and attacks; only those of one frame (see :class:`classwise.comparison.conditions.Frame`).
        conditions: Plan of an audit for every letter; one letter where all is comparable.
        differences: In what the rows are not comparable; empty unless it was forced.
        versus: Every row against the baseline, average and worst class.
        baseline: Label of the baseline.
        left_out: Sentences on what was found but is not shown.
    """

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    conditions: dict[str, AuditPlan]
    differences: tuple[str, ...]
    versus: tuple[Versus, ...]
    baseline: str
    left_out: tuple[str, ...]

    @property
    def members(self) -> list[Member]:
        """The models of all rows."""
        return [member for row in self.rows for member in row.members]

    @property
    def comparable(self) -> bool:
        """Whether all rows share test set, threat model, suite, precision and seed of the attacks."""
        return not self.differences

    def on_front(self) -> tuple[str, ...]:
        """Labels of the rows that no row under the same conditions beats in average and worst-class robust accuracy.

        By the means as they are, without regard to their intervals.
        """
        kept = set()
        for letter in self.conditions:
            rows = [row for row in self.rows if row.letter == letter]
            chosen = front([row.average.mean for row in rows], [row.worst.mean for row in rows])
            kept |= {row.label for row, is_kept in zip(rows, chosen, strict=True) if is_kept}
        return tuple(row.label for row in self.rows if row.label in kept)

    def __str__(self) -> str:
        from classwise.report.overview_tables import overview_text

        return overview_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        from classwise.report.phrasing import conditions

        return {
            "comparable": self.comparable,
            "differences": list(self.differences),
            "conditions": {letter: conditions(plan) for letter, plan in self.conditions.items()},
            "columns": [str(column) for column in self.columns],
            "rows": [row.to_dict() for row in self.rows],
            "baseline": self.baseline,
            "versus": [each.to_dict() for each in self.versus],
            "front": list(self.on_front()),
            "left_out": list(self.left_out),
        }

    def save(self, folder: Path | str) -> list[Path]:
        """Write the tables (text formats), the figures (SVG) and ``comparison.json`` into a folder; returns their paths."""
        from classwise.report.overview_files import write_overview

        return write_overview(self, Path(folder))

    def site(self, folder: Path | str) -> Path:
        """Write a static site, a page per model; returns the path of its first page.

        Raises:
            ValueError: The folder holds something else.
        """
        from classwise.report.site import write_site

        return write_site(self, Path(folder))


def overview(paths: Sequence[Path | str], *, baseline: str = "", force: bool = False) -> Overview:
    """Compare runs and audits.

    Args:
        paths: Run directories, audit folders, and folders that are searched for both.
        baseline: Label of the row that the others are tested against; default: the one that most rows started from, else
            the first one.
        force: Whether models that are not comparable are shown together all the same, and marked as such.

    Raises:
        ValueError: Nothing is there, what was named itself cannot be read, the baseline is unknown, or models have no test
            set, threat model, suite, precision and seed in common.
    """
    models, left_out = find([Path(path) for path in paths])
    measured = [measurements(model) for model in models]
    shared = shared_frame(measured)
    differences = [] if shared is not None else disagreements(models)
    if differences and not force:
        raise ValueError(
            f"these audits are not comparable. Different {'. Different '.join(differences)}. Audit all models the same way, name "
            "only those that belong together, or show them side by side all the same with --force (in Python force=True)"
        )
    frames = [shared] * len(models) if shared is not None else frames_apart(measured)
    chosen = [found[frame] for found, frame in zip(measured, frames, strict=True)]
    rows = gather(_members(models, frames, chosen), left_out)
    columns = tuple(dict.fromkeys(column for each in chosen for column in each))
    conditions = {row.letter: row.members[0].shown.audit.plan for row in sorted(rows, key=lambda row: row.letter)}
    based = _baseline(rows, baseline)
    return Overview(
        tuple(rows),
        columns,
        conditions,
        tuple(differences),
        tuple(against(rows, based)),
        based.label,
        tuple(left_out),
    )


def _members(models: Sequence[Audited], frames: Sequence[Frame], chosen: Sequence[Measurements]) -> list[Member]:
    """Every model with its main column, and a letter for frame and main column: A for those of most models."""
    common = shared_columns(chosen)
    mains = [_main(common, chosen)] * len(models) if common else [_main(list(each), [each]) for each in chosen]
    held = list(zip(frames, mains, strict=True))
    letters = dict(zip((each for each, _ in Counter(held).most_common()), _letters(), strict=False))
    return [
        Member(model, measured, main, letters[frame, main])
        for model, measured, (frame, main) in zip(models, chosen, held, strict=True)
    ]


def _main(columns: Sequence[Column], chosen: Sequence[Measurements]) -> Column:
    """The strongest attack: of the columns whose threat model is the first of every plan, if any, the lowest on average."""
    first = [column for column in columns if all(each[column].radius == 0 for each in chosen)]
    return min(
        first or columns,
        key=lambda column: sum(
            float(each[column].audit.outcomes.robust_correct(each[column].radius).mean()) for each in chosen
        ),
    )


def _letters() -> Sequence[str]:
    return [*ascii_uppercase, *("".join(pair) for pair in product(ascii_uppercase, repeat=2))]


def _baseline(rows: Sequence[Row], label: str) -> Row:
    labels = [row.label for row in rows]
    if label:
        if label not in labels:
            raise ValueError(f"there is no row {label!r} to be the baseline{did_you_mean(label, labels)}")
        return rows[labels.index(label)]
    starts = Counter(row.start for row in rows if row.start)
    return rows[labels.index(starts.most_common(1)[0][0])] if starts else rows[0]
