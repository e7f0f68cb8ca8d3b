"""Boundary error of every class, counted in the two ways in use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Floats, Ints, check_group, check_outcome, count_true, find_class, fraction, plain
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import wilson
from classwise.metrics.paired import PAIRED, paired_difference_limits


@dataclass(frozen=True, eq=False)
class BoundaryTable:
    """One row per class; every interval is of that class alone.

    The two ways differ by the samples that the attack repairs: wrong without attack, correct under it. Where an attack
    leaves samples alone that are wrong already, nothing is repaired and both agree.

    A class without a sample has n = 0, nan fractions and the widest intervals there are.

    Attributes:
        names: G class names.
        n: Samples per class, int64, shape (G,).
        broken: Samples correct without attack and wrong under it, int64, shape (G,).
        repaired: Samples wrong without attack and correct under it, int64, shape (G,).
        error: broken / n, the probability that a sample is correct and can be broken, float64, shape (G,).
        low: Lower limits of `error` (Wilson), shape (G,).
        high: Upper limits of `error`, shape (G,).
        difference: Clean accuracy minus accuracy under attack, (broken - repaired) / n, in [-1, 1], shape (G,). This
            is what FRL's public code calls the boundary error.
        difference_low: Lower limits of `difference` (adjusted Wald, paired), shape (G,).
        difference_high: Upper limits of `difference`, shape (G,).
        confidence: Two-sided level of every interval.
    """

    names: tuple[str, ...]
    n: Ints
    broken: Ints
    repaired: Ints
    error: Floats
    low: Floats
    high: Floats
    difference: Floats
    difference_low: Floats
    difference_high: Floats
    confidence: float

    @property
    def agree(self) -> bool:
        """Whether both ways give the same numbers: the attack repaired no sample."""
        return not self.repaired.any()

    def estimate(self, group: int | str) -> Estimate:
        """Boundary error of one class: correct without attack and wrong under it.

        Args:
            group: Class index in 0..G-1, or class name.

        Raises:
            ValueError: If there is no such class.
        """
        c = find_class(group, self.names)
        return Estimate(float(self.error[c]), float(self.low[c]), float(self.high[c]), "Wilson score", int(self.n[c]))

    def estimate_difference(self, group: int | str) -> Estimate:
        """Clean accuracy minus accuracy under attack of one class.

        Args:
            group: Class index in 0..G-1, or class name.

        Raises:
            ValueError: If there is no such class.
        """
        c = find_class(group, self.names)
        value, low, high = (float(p[c]) for p in (self.difference, self.difference_low, self.difference_high))
        return Estimate(value, low, high, PAIRED, int(self.n[c]))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary of lists for JSON; nan becomes None."""
        arrays = {key: plain(value) for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        return {"names": list(self.names), **arrays, "confidence": self.confidence}


def boundary_error(
    group: npt.ArrayLike,
    clean_correct: npt.ArrayLike,
    adversarial_correct: npt.ArrayLike,
    names: Sequence[str],
    confidence: float = 0.95,
) -> BoundaryTable:
    """Count the boundary error of every class both ways.

    The formula printed in FRL (equation 7) also counts clean errors that lie near the boundary, which outcomes cannot
    show; its identity robust error = clean error + boundary error holds here for `error`, with the robust error
    1 - P(correct without and under attack).

    Args:
        group: Integer class of every sample, shape (n,), in 0..G-1.
        clean_correct: Whether the clean input is classified correctly, bool, shape (n,).
        adversarial_correct: Whether the attacked input is classified correctly, bool, shape (n,); whatever the clean
            input was.
        names: G class names.
        confidence: Two-sided level of the intervals, in (0, 1).

    Raises:
        ValueError: If shapes or dtypes do not match, a label has no name, or confidence is out of range.

    Source: H. Xu et al., To be robust or to be fair, ICML 2021, equation 7 and its public code.
    """
    labels, known = check_group(group, names)
    clean = check_outcome(clean_correct, len(labels), "clean_correct")
    attacked = check_outcome(adversarial_correct, len(labels), "adversarial_correct")
    n = np.bincount(labels, minlength=len(known)).astype(np.int64)
    broken, repaired = (count_true(outcome, labels, len(known)) for outcome in (clean & ~attacked, ~clean & attacked))
    low, high = wilson(broken, n, confidence)
    difference_low, difference_high = paired_difference_limits(broken, repaired, n, confidence)
    return BoundaryTable(
        names=known,
        n=n,
        broken=broken,
        repaired=repaired,
        error=fraction(broken, n),
        low=low,
        high=high,
        difference=fraction(broken - repaired, n),
        difference_low=difference_low,
        difference_high=difference_high,
        confidence=confidence,
    )
