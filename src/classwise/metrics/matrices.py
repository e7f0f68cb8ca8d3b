"""Which class is taken for which: confusion matrix and attack-target matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Floats, Ints, check_group, find_class, fraction, plain
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import clopper_pearson, wilson
from classwise.metrics.symmetry import symmetric_gap


@dataclass(frozen=True, eq=False)
class ClassMatrix:
    """Counts of predictions per class.

    Rows and columns are labels, which need not be the groups that a class table is made over.

    Attributes:
        names: C class names.
        counts: Samples of class i (row) predicted as class j (column), int64, shape (C, C).
        confidence: Two-sided level of every interval.
    """

    names: tuple[str, ...]
    counts: Ints
    confidence: float = 0.95

    @property
    def n(self) -> Ints:
        """Samples per row, shape (C,)."""
        rows: Ints = self.counts.sum(axis=1)
        return rows

    @property
    def symmetric_gap(self) -> Estimate:
        """Mean over pairs of classes of |M_ij - M_ji|, M being the row fractions."""
        return symmetric_gap(self.counts, self.confidence)

    def fractions(self) -> Floats:
        """Counts divided by their row's sum, shape (C, C); nan in rows without a sample."""
        return fraction(self.counts, self.n[:, None])

    def estimate(self, row: int | str, column: int | str) -> Estimate:
        """One row fraction, with the Wilson interval of that cell alone.

        Args:
            row: Class index in 0..C-1, or class name.
            column: The same.

        Raises:
            ValueError: If there is no such class.
        """
        i, j = find_class(row, self.names), find_class(column, self.names)
        low, high = wilson(self.counts[i, j], self.n[i], self.confidence)
        return Estimate(float(self.fractions()[i, j]), float(low), float(high), "Wilson score", int(self.n[i]))

    def falls_into(self, group: int | str) -> tuple[str, Estimate] | None:
        """The class that a class is most often taken for, other than itself; the first of them if several tie.

        Args:
            group: Class index in 0..C-1, or class name.

        Returns:
            Name of the target and its share of the row; None if every sample stayed. The interval is one of C - 1 that
            hold together (Clopper-Pearson, Bonferroni), since the target was picked among so many.

        Raises:
            ValueError: If there is no such class.
        """
        i = find_class(group, self.names)
        others = self.counts[i].copy()
        others[i] = 0
        if not others.any():
            return None
        target, n = int(others.argmax()), int(self.n[i])
        alpha = (1 - self.confidence) / (len(self.names) - 1)
        low, high = clopper_pearson(others[target], n, 1 - alpha)
        method = "Clopper-Pearson over targets, selection allowed for"
        return self.names[target], Estimate(float(others[target] / n), float(low), float(high), method, n)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON; nan becomes None."""
        return {
            "names": list(self.names),
            "counts": self.counts.tolist(),
            "fractions": [plain(row) for row in self.fractions()],
            "symmetric_gap": self.symmetric_gap.to_dict(),
            "confidence": self.confidence,
        }


def confusion_matrix(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: Sequence[str] | int, confidence: float = 0.95
) -> ClassMatrix:
    """Count predictions per class; of clean or of attacked inputs.

    Args:
        labels: Integer true class of every sample, shape (n,), in 0..C-1.
        predictions: Integer predicted class of every sample, shape (n,), in 0..C-1.
        classes: C class names, or C, which names them "0", "1" ...
        confidence: Two-sided level of the intervals, in (0, 1).

    Raises:
        ValueError: If shapes or dtypes do not match, or a class has no name.
    """
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    (true, known), (predicted, _) = check_group(labels, names), check_group(predictions, names)
    if predicted.shape != true.shape:
        raise ValueError(f"predictions have shape {predicted.shape}, labels {true.shape}; give one per sample.")
    size = len(known)
    counts = np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)
    return ClassMatrix(known, counts.astype(np.int64), confidence)


def attack_target_matrix(
    labels: npt.ArrayLike,
    clean_predictions: npt.ArrayLike,
    predictions: npt.ArrayLike,
    classes: Sequence[str] | int,
    confidence: float = 0.95,
) -> ClassMatrix:
    """Into which class does each class fall: predictions under attack of the samples that are correct without it.

    The row fractions off the diagonal say where an attack takes a class, the diagonal how much of it withstood.

    Args:
        labels: Integer true class of every sample, shape (n,), in 0..C-1.
        clean_predictions: Integer predicted class of every clean input, shape (n,).
        predictions: Integer predicted class of every attacked input, shape (n,), in 0..C-1.
        classes: C class names, or C, which names them "0", "1" ...
        confidence: Two-sided level of the intervals, in (0, 1).

    Raises:
        ValueError: If shapes or dtypes do not match, or a class has no name.
    """
    true, clean, attacked = (np.asarray(part) for part in (labels, clean_predictions, predictions))
    if not true.shape == clean.shape == attacked.shape:
        raise ValueError(
            f"labels, clean predictions and predictions have shapes {true.shape}, {clean.shape} and {attacked.shape}; "
            "give one of each per sample."
        )
    kept = clean == true
    return confusion_matrix(true[kept], attacked[kept], classes, confidence)
