"""Rows tested against one of them, on the samples they share, corrected for how many tests there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean, stdev
from typing import Any

import numpy as np

from classwise.comparison.rows import Member, Row
from classwise.comparison.seeds import NO_SPREAD, t_p_value, t_quantile
from classwise.metrics import Estimate, PairedTable, compare_pairs
from classwise.metrics.paired import holm

NO_TEST = "no test"


@dataclass(frozen=True)
class Versus:
    """One row against the baseline, in one figure of the main column.

    Attributes:
        row: Label of the row.
        figure: "average" or "worst" (class).
        difference: Row minus baseline, with its 95 % interval; nan limits where there is no test.
        p_value: Two-sided; nan where there is no test.
        p_holm: The same adjusted over all tests of this figure (Holm).
        test: What was tested, or why nothing was.
        higher: Classes whose robust accuracy is higher, by exact McNemar tests adjusted (Holm) over all classes of all
            rows of one model each; only with the figure "average".
        lower: Classes where it is lower.
    """

    row: str
    figure: str
    difference: Estimate
    p_value: float
    p_holm: float
    test: str
    higher: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; nan becomes None."""
        numbers = {
            "difference": self.difference.value,
            "low": self.difference.low,
            "high": self.difference.high,
            "p_value": self.p_value,
            "p_holm": self.p_holm,
        }
        plain = {name: None if math.isnan(each) else each for name, each in numbers.items()}
        words = {"row": self.row, "figure": self.figure, "test": self.test}
        return {**words, **plain, "higher": list(self.higher), "lower": list(self.lower)}


def against(rows: Sequence[Row], baseline: Row, confidence: float = 0.95) -> list[Versus]:
    """Test every other row against the baseline.

    One model each: exact McNemar over samples. Several seeds in common, or several that each started from another run of the
    baseline: paired t over seeds. Several in both but none of this: Welch's t over seeds. One model against several: over
    samples, with the outcomes of the several averaged, which allows for the choice of samples but not for that of seeds. Of
    the worst class, the last and the first are not tested: which class is worst was chosen by the same samples.

    Args:
        rows: The rows; those under other conditions than the baseline's, and itself, are passed over.
        baseline: What they are tested against.
        confidence: Level of the intervals, and of the tests that name classes.
    """
    others = [row for row in rows if row is not baseline and row.letter == baseline.letter]
    pairs = {row.label: _pairs(row, baseline, confidence) for row in others if row.seeds == baseline.seeds == 1}
    named = _classes(pairs, confidence)
    found = []
    for figure in ("average", "worst"):
        tested = [_test(row, baseline, figure, pairs.get(row.label), confidence) for row in others]
        at = [i for i, each in enumerate(tested) if not math.isnan(each.p_value)]
        adjusted = holm(np.array([tested[i].p_value for i in at]))
        for i, p in zip(at, adjusted, strict=True):
            tested[i] = replace(tested[i], p_holm=float(p))
        if figure == "average":
            nothing: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
            tested = [
                replace(each, higher=higher, lower=lower)
                for each in tested
                for higher, lower in [named.get(each.row, nothing)]
            ]
        found += tested
    return found


def _test(row: Row, baseline: Row, figure: str, table: PairedTable | None, confidence: float) -> Versus:
    if table is not None:
        if figure == "average":
            whole = table.overall
            return Versus(row.label, figure, whole.difference, whole.p_value, math.nan, "exact McNemar over samples")
        return _untested(row, baseline, figure, "one model each, and the worst class is chosen by the samples")
    matched = [_figure(ours, figure) - _figure(theirs, figure) for ours, theirs in _matched(row, baseline)]
    if len(matched) > 1:
        return _paired_t(row, figure, matched, confidence)
    if min(row.seeds, baseline.seeds) > 1:
        ours, theirs = ([_figure(each, figure) for each in one.members] for one in (row, baseline))
        return _welch(row, figure, ours, theirs, confidence)
    if figure == "average":
        return _over_samples(row, baseline, confidence)
    return _untested(row, baseline, figure, "one model in one of the rows")


def _matched(row: Row, baseline: Row) -> list[tuple[Member, Member]]:
    """Members of the same seeds; of a row that goes back to the baseline, each with the very run that it started from.

    None where several members have the same partner: they would not be independent pairs.
    """
    based = baseline.members[0].model.training
    partners = {each.repetition: each for each in baseline.members}
    seeds = [
        dict(each.model.training.starts).get(based.key, each.repetition) if each.model.training and based else ()
        for each in row.members
    ]
    if len(set(seeds)) < len(seeds):
        return []
    return [(each, partners[key]) for each, key in zip(row.members, seeds, strict=True) if key and key in partners]


def _paired_t(row: Row, figure: str, differences: Sequence[float], confidence: float) -> Versus:
    n, mean = len(differences), fmean(differences)
    error = stdev(differences) / math.sqrt(n)
    test = f"paired t over {n} seeds"
    return _by_t(row, figure, mean, error, n - 1, n, test, confidence)


def _welch(row: Row, figure: str, ours: Sequence[float], theirs: Sequence[float], confidence: float) -> Versus:
    mean = fmean(ours) - fmean(theirs)
    parts = [(stdev(each) ** 2 / len(each), len(each) - 1) for each in (ours, theirs)]
    error = math.sqrt(sum(variance for variance, _ in parts))
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    freedom = error**4 / spread if spread else 1.0  # unused where nothing spreads
    test = f"Welch's t over {len(ours)} and {len(theirs)} seeds"
    return _by_t(row, figure, mean, error, freedom, len(ours) + len(theirs), test, confidence)


def _by_t(
    row: Row, figure: str, mean: float, error: float, freedom: float, n: int, test: str, confidence: float
) -> Versus:
    """Where the seeds do not spread at all there is nothing to test a difference against, nor an interval."""
    if error < NO_SPREAD:
        nothing = Estimate(mean, math.nan, math.nan, NO_TEST, n)
        return Versus(row.label, figure, nothing, math.nan, math.nan, f"{NO_TEST}: no spread over seeds")
    half = t_quantile(freedom, confidence) * error
    interval = Estimate(mean, mean - half, mean + half, test, n)
    return Versus(row.label, figure, interval, t_p_value(mean / error, freedom), math.nan, test)


def _over_samples(row: Row, baseline: Row, confidence: float) -> Versus:
    ours, theirs = (np.mean([_outcome(each) for each in one.members], axis=0) for one in (row, baseline))
    each = ours - theirs
    mean, error = float(each.mean()), float(each.std(ddof=1)) / math.sqrt(len(each))
    test = "over samples, seeds averaged (normal)"
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    p = 2 * NormalDist().cdf(-abs(mean) / error) if error else (math.nan if mean else 1.0)
    return Versus(row.label, "average", Estimate(mean, mean - half, mean + half, test, len(each)), p, math.nan, test)


def _untested(row: Row, baseline: Row, figure: str, reason: str) -> Versus:
    mean = fmean(_figure(each, figure) for each in row.members) - fmean(
        _figure(each, figure) for each in baseline.members
    )
    nothing = Estimate(mean, math.nan, math.nan, NO_TEST, row.seeds)
    return Versus(row.label, figure, nothing, math.nan, math.nan, f"{NO_TEST}: {reason}")


def _classes(pairs: dict[str, PairedTable], confidence: float) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Classes that are higher and lower, by row; one family over all classes with samples of all rows."""
    if not pairs:
        return {}
    there = {label: np.flatnonzero(table.n > 0) for label, table in pairs.items()}
    adjusted = iter(holm(np.concatenate([pairs[label].p_value[at] for label, at in there.items()])).tolist())
    found = {}
    for label, at in there.items():
        table = pairs[label]
        changed = [int(c) for c in at if next(adjusted) < 1 - confidence]
        found[label] = (
            tuple(table.names[c] for c in changed if table.difference[c] > 0),
            tuple(table.names[c] for c in changed if table.difference[c] < 0),
        )
    return found


def _pairs(row: Row, baseline: Row, confidence: float) -> PairedTable:
    ours, theirs = row.members[0], baseline.members[0]
    outcomes = ours.shown.audit.outcomes
    assert np.array_equal(outcomes.index, theirs.shown.audit.outcomes.index)
    return compare_pairs(outcomes.group, _outcome(theirs), _outcome(ours), ours.table.names, confidence)


def _outcome(member: Member) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return member.shown.audit.outcomes.robust_correct(member.shown.radius)


def _figure(member: Member, figure: str) -> float:
    return member.robust[member.main][figure].value
