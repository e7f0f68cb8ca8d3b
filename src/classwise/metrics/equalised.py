"""Equalised accuracy and equalised robustness: no class's error far above the average error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Floats, Ints, check_confidence, check_counts, find_class, plain
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import clopper_pearson_bounds, simultaneous

METHOD = "simultaneous Clopper-Pearson of each class against the rest"
HOLDS, VIOLATED, OPEN = "holds", "violated", "cannot be told"


@dataclass(frozen=True, eq=False)
class EqualisedTable:
    """One constraint per class: its error may exceed the average error by at most the tolerance.

    The intervals hold the true excess of all classes at once, so all verdicts together are right with the stated
    confidence. A class without a sample has nan fractions and the interval (-1, 1), and is left out of what is said
    about all classes.

    Attributes:
        names: G class names.
        n: Samples per class, int64, shape (G,).
        error: Error of each class, float64, shape (G,).
        average: Error over all samples.
        excess: error - average, in [-1, 1], shape (G,).
        low: Lower limits of `excess`, shape (G,).
        high: Upper limits of `excess`, shape (G,).
        tolerance: Allowed excess, a fraction.
        confidence: Joint two-sided level of the intervals.
    """

    names: tuple[str, ...]
    n: Ints
    error: Floats
    average: float
    excess: Floats
    low: Floats
    high: Floats
    tolerance: float
    confidence: float

    @property
    def violation(self) -> Floats:
        """Measured excess beyond the tolerance, (excess - tolerance)+, shape (G,)."""
        return np.maximum(self.excess - self.tolerance, 0.0)

    @property
    def slack(self) -> Floats:
        """What is left of the tolerance, shape (G,): tolerance - excess, negative where the measured error violates."""
        return self.tolerance - self.excess

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Per class what the interval allows to say: "holds", "violated" or "cannot be told"."""
        return tuple(
            VIOLATED if low > self.tolerance else HOLDS if high <= self.tolerance else OPEN
            for low, high in zip(self.low, self.high, strict=True)
        )

    @property
    def verdict(self) -> str:
        """What can be said of all constraints together: "violated" as soon as one of them is."""
        said = {verdict for verdict, n in zip(self.verdicts, self.n, strict=True) if n}
        return VIOLATED if VIOLATED in said else OPEN if OPEN in said else HOLDS

    @property
    def holds(self) -> bool:
        """Whether the *measured* errors satisfy every constraint; see `verdict` for what is known of the true ones."""
        # An excess that equals the tolerance may miss it by a rounding error.
        return bool((self.slack[self.n > 0] >= -1e-12).all())

    @property
    def largest(self) -> Estimate:
        """Largest violation of a class; the interval holds the largest true one."""
        return self._violation(self.excess[self.n > 0].max(), self.low.max(), self.high[self.n > 0].max(), self.n.sum())

    def estimate(self, group: int | str) -> Estimate:
        """Violation of one class, with limits that hold for all classes at once.

        Args:
            group: Class index in 0..G-1, or class name.

        Raises:
            ValueError: If there is no such class.
        """
        c = find_class(group, self.names)
        return self._violation(self.excess[c], self.low[c], self.high[c], self.n[c])

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per class; nan stays nan."""
        fields = ("n", "error", "excess", "low", "high", "violation", "slack")
        columns = [getattr(self, field).tolist() for field in fields]
        return [
            {"name": name, **dict(zip(fields, row, strict=True)), "verdict": verdict}
            for name, verdict, row in zip(self.names, self.verdicts, zip(*columns, strict=True), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary of lists for JSON; nan becomes None."""
        arrays = {key: plain(value) for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        return {
            "names": list(self.names),
            **arrays,
            "violation": plain(self.violation),
            "verdicts": list(self.verdicts),
            "verdict": self.verdict,
            "average": self.average,
            "tolerance": self.tolerance,
            "confidence": self.confidence,
        }

    def _violation(self, *parts_and_n: float) -> Estimate:
        value, low, high = (float(np.maximum(part - self.tolerance, 0.0)) for part in parts_and_n[:3])
        return Estimate(value, low, high, METHOD, int(parts_and_n[3]))


def equalised(
    errors: npt.ArrayLike,
    n: npt.ArrayLike,
    names: Sequence[str],
    tolerance: float,
    confidence: float = 0.95,
) -> EqualisedTable:
    """Compare the error of every class with the average error at a tolerance.

    With clean errors this is equalised accuracy, with robust errors equalised robustness. The average is over samples,
    as in the source: the mean of the class errors weighted by the classes' shares w of the samples.

    The excess of class c over the average is (1 - w_c) (its error - error of all other samples). Half of the miss
    probability goes to the class errors (Clopper-Pearson at the Šidák level), half to the errors of the others
    (Clopper-Pearson of the pooled count, Bonferroni). Samples of different classes fail with different
    probabilities, which makes the pooled count less variable than a binomial one, so that these limits hold too.

    Args:
        errors: Wrong samples per class, whole counts, shape (G,).
        n: Samples per class, whole counts, shape (G,).
        names: G class names.
        tolerance: Allowed excess over the average error, a fraction in [0, 1); FRL uses 0.05 and 0.07.
        confidence: Joint two-sided level of the intervals, in (0, 1).

    Raises:
        ValueError: If counts, names, tolerance or confidence are out of range, or no class has a sample.

    Source: H. Xu et al., To be robust or to be fair, ICML 2021, section 4.1, equation 6. Pooled counts: W. Hoeffding,
    On the distribution of the number of successes in independent trials, Annals of Mathematical Statistics 1956.
    """
    check_confidence(confidence)
    wrong, total = check_counts(errors, n)
    known = tuple(names)
    if wrong.shape != (len(known),) or len(set(known)) != len(known):
        raise ValueError(
            f"counts have shape {wrong.shape} for {len(known)} names; give one count and one name per class."
        )
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; give a fraction of at least 0 and below 1, such as 0.05.")
    if not total.any():
        raise ValueError("no class has a sample, so there is no average error; check the data given.")
    average = wrong.sum() / total.sum()
    error = np.where(total > 0, wrong / np.maximum(total, 1), np.nan)
    low, high = excess_limits(wrong, total, confidence)
    return EqualisedTable(
        names=known,
        n=total.astype(np.int64),
        error=error,
        average=float(average),
        excess=error - average,
        low=low,
        high=high,
        tolerance=float(tolerance),
        confidence=confidence,
    )


def excess_limits(wrong: Floats, total: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Joint limits of the excess of each class's error over the average; counts of shape (..., G), as the results.

    A class without a sample gets (-1, 1). At least one total must be positive.
    """
    alpha = 1 - confidence
    classes = np.count_nonzero(total, axis=-1, keepdims=True)
    low, high = simultaneous(wrong, total, 1 - alpha / 2)
    others, others_total = (counts.sum(axis=-1, keepdims=True) - counts for counts in (wrong, total))
    each = np.broadcast_to(alpha / (4 * classes), others.shape)
    others_low, others_high = clopper_pearson_bounds(others, others_total, each, each)
    share = total / total.sum(axis=-1, keepdims=True)
    least, most = (1 - share) * (low - others_high), (1 - share) * (high - others_low)
    return np.where(total > 0, least, -1.0), np.where(total > 0, most, 1.0)
