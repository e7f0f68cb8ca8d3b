"""Two outcomes of the same samples: what changed in every class, and whether that is more than noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Floats, Ints, check_group, check_outcome, count_true, find_class, fraction, plain
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import normal_quantile

PAIRED = "adjusted Wald, paired (Bonett-Price)"


@dataclass(frozen=True)
class PairedMean:
    """Change over all samples.

    Attributes:
        n: Number of samples.
        before: Fraction true before.
        after: Fraction true after.
        difference: after - before, with its interval.
        p_value: Exact McNemar p value.
    """

    n: int
    before: float
    after: float
    difference: Estimate
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON; nan becomes None."""
        before, after = plain(np.array([self.before, self.after]))
        return {
            "n": self.n,
            "before": before,
            "after": after,
            "difference": self.difference.to_dict(),
            "p_value": self.p_value,
        }


@dataclass(frozen=True, eq=False)
class PairedTable:
    """One row per class, on the same samples before and after.

    A class without a sample has n = 0, nan fractions, the interval (-1, 1) and p values of 1.

    Attributes:
        names: G class names.
        n: Samples per class, int64, shape (G,).
        before: Fraction true before, float64, shape (G,).
        after: Fraction true after, float64, shape (G,).
        difference: after - before, float64 in [-1, 1], shape (G,).
        low: Lower limits of the difference, each class on its own, shape (G,).
        high: Upper limits of the difference, shape (G,).
        p_value: Exact two-sided McNemar p values, shape (G,).
        p_holm: The p values adjusted over the classes with samples (Holm), shape (G,).
        overall: The same over all samples.
        confidence: Two-sided level of the intervals; `improved` and `worsened` test at 1 - confidence.
    """

    names: tuple[str, ...]
    n: Ints
    before: Floats
    after: Floats
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats
    p_holm: Floats
    overall: PairedMean
    confidence: float

    @property
    def improved(self) -> tuple[str, ...]:
        """Classes whose gain is significant after Holm's adjustment."""
        return self._significant(+1)

    @property
    def worsened(self) -> tuple[str, ...]:
        """Classes whose loss is significant after Holm's adjustment."""
        return self._significant(-1)

    def estimate(self, group: int | str) -> Estimate:
        """The difference of one class with its interval.

        Args:
            group: Class index in 0..G-1, or class name.

        Raises:
            ValueError: If there is no such class.
        """
        c = find_class(group, self.names)
        value, low, high = (float(part[c]) for part in (self.difference, self.low, self.high))
        return Estimate(value, low, high, PAIRED, int(self.n[c]))

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per class: its name and an entry for every array; nan stays nan."""
        fields = ("n", "before", "after", "difference", "low", "high", "p_value", "p_holm")
        columns = [getattr(self, field).tolist() for field in fields]
        return [
            {"name": name, **dict(zip(fields, row, strict=True))}
            for name, row in zip(self.names, zip(*columns, strict=True), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary of lists for JSON, with `overall` nested; nan becomes None."""
        arrays = {key: plain(value) for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        return {
            "names": list(self.names),
            **arrays,
            "overall": self.overall.to_dict(),
            "confidence": self.confidence,
        }

    def _significant(self, sign: int) -> tuple[str, ...]:
        chosen = (self.p_holm < 1 - self.confidence) & (sign * self.difference > 0)
        return tuple(name for name, kept in zip(self.names, chosen, strict=True) if kept)


def compare_pairs(
    group: npt.ArrayLike,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    names: Sequence[str],
    confidence: float = 0.95,
) -> PairedTable:
    """Compare two outcomes of the same samples, class by class.

    Args:
        group: Integer class of every sample, shape (n,), in 0..G-1.
        before: Outcome of every sample before, bool, shape (n,).
        after: Outcome of the same sample after, bool, shape (n,).
        names: G class names.
        confidence: Two-sided level in (0, 1).

    Returns:
        The table, rows in the order of `names`.

    Raises:
        ValueError: If shapes or dtypes do not match, a label has no name, or confidence is out of range.
    """
    labels, known = check_group(group, names)
    old = check_outcome(before, len(labels), "before")
    new = check_outcome(after, len(labels), "after")
    n = np.bincount(labels, minlength=len(known)).astype(np.int64)
    gained, lost, was, now = (count_true(outcome, labels, len(known)) for outcome in (~old & new, old & ~new, old, new))
    low, high = paired_difference_limits(gained, lost, n, confidence)
    p_value = mcnemar(gained, lost)
    p_holm = np.ones(len(known))
    p_holm[n > 0] = holm(p_value[n > 0])
    return PairedTable(
        names=known,
        n=n,
        before=fraction(was, n),
        after=fraction(now, n),
        difference=fraction(gained - lost, n),
        low=low,
        high=high,
        p_value=p_value,
        p_holm=p_holm,
        overall=_overall(was, now, gained, lost, n, confidence),
        confidence=confidence,
    )


def paired_difference_limits(gained: Ints, lost: Ints, n: Ints, confidence: float) -> tuple[Floats, Floats]:
    """Adjusted Wald interval for the difference of two paired proportions.

    Args:
        gained: Samples that turned true, any shape.
        lost: Samples that turned false, same shape.
        n: Samples, same shape; n = 0 gives (-1, 1).
        confidence: Two-sided level in (0, 1).

    Returns:
        Lower and upper limits in [-1, 1], same shape.

    Source: D. Bonett and R. Price, Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data, Journal of Educational and Behavioral Statistics 2012.
    """
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = normal_quantile(confidence) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = np.maximum(up - down - half, -1.0), np.minimum(up - down + half, 1.0)
    return np.where(n > 0, low, -1.0), np.where(n > 0, high, 1.0)


def mcnemar(gained: Ints, lost: Ints) -> Floats:
    """Exact two-sided McNemar p values.

    Under no change, each sample that changed is as likely gained as lost: a binomial test at 1/2.

    Args:
        gained: Samples that turned true, any shape.
        lost: Samples that turned false, same shape.

    Returns:
        p values in (0, 1], same shape; 1 where nothing changed.

    Source: Q. McNemar, Psychometrika 1947, in its exact form.
    """
    from scipy.special import betainc

    fewer, more = np.minimum(gained, lost), np.maximum(gained, lost)
    # P(X <= fewer) for X ~ Binomial(fewer + more, 1/2), written as a regularised incomplete beta function.
    # Nothing changed enters as (1, 1), which gives the tail 1/2 and so the p value 1.
    tail = betainc(np.maximum(more, 1), fewer + 1, 0.5)
    return np.minimum(2 * tail, 1.0)


def holm(p_value: Floats) -> Floats:
    """Holm's step-down adjustment of the p values of one family.

    Args:
        p_value: p values, shape (m,).

    Returns:
        Adjusted p values in the same order, shape (m,); rejecting those below a level makes any false
        rejection at most that probable.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 1979.
    """
    order = np.argsort(p_value, kind="stable")
    stepped = np.maximum.accumulate(p_value[order] * np.arange(len(p_value), 0, -1))
    adjusted = np.empty_like(p_value)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _overall(was: Ints, now: Ints, gained: Ints, lost: Ints, n: Ints, confidence: float) -> PairedMean:
    sums = [np.atleast_1d(counts.sum()) for counts in (was, now, gained, lost, n)]
    before, after, difference = (float(fraction(hits, sums[4])[0]) for hits in (sums[0], sums[1], sums[2] - sums[3]))
    low, high = paired_difference_limits(sums[2], sums[3], sums[4], confidence)
    total = int(sums[4][0])
    interval = Estimate(difference, float(low[0]), float(high[0]), PAIRED, total)
    return PairedMean(total, before, after, interval, float(mcnemar(sums[2], sums[3])[0]))
