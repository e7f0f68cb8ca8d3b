"""Clean accuracy, robust accuracy and boundary error of every class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classwise.metrics import aggregates, spread
from classwise.metrics.counts import Floats, Ints, check_group, check_outcome, count_true, find_class, fraction, plain
from classwise.metrics.equalised import EqualisedTable, equalised
from classwise.metrics.estimate import Estimate
from classwise.metrics.intervals import wilson

COLUMNS = ("clean", "robust", "boundary")


@dataclass(frozen=True, eq=False)
class ClassTable:
    """One row per class; every interval is a Wilson interval of that class alone.

    A class without a sample has n = 0, nan fractions and the interval (0, 1); summaries leave it out.

    Attributes:
        names: G class names.
        n: Samples per class, int64, shape (G,).
        clean: Fraction classified correctly without attack, float64, shape (G,).
        robust: Fraction correct both without and under attack, float64, shape (G,).
        boundary: Fraction correct without attack and wrong under attack, float64, shape (G,); clean - robust.
        clean_low: Lower limits of `clean`, shape (G,).
        clean_high: Upper limits of `clean`, shape (G,).
        robust_low: Lower limits of `robust`, shape (G,).
        robust_high: Upper limits of `robust`, shape (G,).
        boundary_low: Lower limits of `boundary`, shape (G,).
        boundary_high: Upper limits of `boundary`, shape (G,).
        confidence: Two-sided level of every interval.
    """

    names: tuple[str, ...]
    n: Ints
    clean: Floats
    robust: Floats
    boundary: Floats
    clean_low: Floats
    clean_high: Floats
    robust_low: Floats
    robust_high: Floats
    boundary_low: Floats
    boundary_high: Floats
    confidence: float

    @property
    def worst(self) -> Estimate:
        """Lowest robust accuracy of a class."""
        return aggregates.worst_class(self._counts("robust"), self.n, self.confidence)

    @property
    def best(self) -> Estimate:
        """Highest robust accuracy of a class."""
        return aggregates.best_class(self._counts("robust"), self.n, self.confidence)

    @property
    def gap(self) -> Estimate:
        """Best minus worst robust accuracy of a class."""
        return aggregates.gap(self._counts("robust"), self.n, self.confidence)

    @property
    def mean(self) -> Estimate:
        """Robust accuracy over all samples."""
        return self.overall("robust")

    @property
    def class_mean(self) -> Estimate:
        """Mean of the robust accuracies of the classes."""
        return aggregates.mean_over_classes(self._counts("robust"), self.n, self.confidence)

    @property
    def worst_fifth(self) -> Estimate:
        """Mean robust accuracy of the weakest fifth of the classes (rounded up)."""
        return aggregates.worst_share(self._counts("robust"), self.n, 0.2, self.confidence)

    @property
    def standard_deviation(self) -> Estimate:
        """Standard deviation of robust accuracy over the classes (ddof 0)."""
        return spread.standard_deviation(self._counts("robust"), self.n, self.confidence)

    @property
    def gini(self) -> Estimate:
        """Gini coefficient of robust accuracy over the classes."""
        return spread.gini(self._counts("robust"), self.n, self.confidence)

    @property
    def normalised_spread(self) -> Estimate:
        """Standard deviation of robust accuracy over the classes, divided by its mean over the classes."""
        return spread.normalised_spread(self._counts("robust"), self.n, self.confidence)

    @property
    def weakest(self) -> str:
        """Name of the class with the lowest robust accuracy; the first of them if several share it."""
        if not self.n.any():
            raise ValueError("no class has a sample, so none is the weakest; check the data given.")
        return self.names[int(np.nanargmin(self.robust))]

    def overall(self, column: str) -> Estimate:
        """Fraction over all samples.

        Args:
            column: "clean", "robust" or "boundary".

        Raises:
            ValueError: If there is no such column, or no sample.
        """
        return aggregates.mean_over_samples(self._counts(column), self.n, self.confidence)

    def worst_share(self, share: float) -> Estimate:
        """Mean robust accuracy of the weakest share of the classes (rounded up).

        Args:
            share: Fraction of the classes, above 0 and at most 1.

        Raises:
            ValueError: If the share is out of range, or no class has a sample.
        """
        return aggregates.worst_share(self._counts("robust"), self.n, share, self.confidence)

    def equalised(self, column: str, tolerance: float) -> EqualisedTable:
        """Whether the error of every class stays within a tolerance of the average error.

        Args:
            column: "clean" for equalised accuracy, "robust" for equalised robustness, "boundary" for boundary error.
            tolerance: Allowed excess over the average error, a fraction in [0, 1).

        Raises:
            ValueError: If there is no such column, the tolerance is out of range, or no class has a sample.
        """
        right = self._counts(column)
        errors = right if column == "boundary" else self.n - right
        return equalised(errors, self.n, self.names, tolerance, self.confidence)

    def estimate(self, column: str, group: int | str) -> Estimate:
        """One cell with its interval.

        Args:
            column: "clean", "robust" or "boundary".
            group: Class index in 0..G-1, or class name.

        Raises:
            ValueError: If there is no such column or class.
        """
        value = self._column(column)
        index = find_class(group, self.names)
        low, high = getattr(self, f"{column}_low"), getattr(self, f"{column}_high")
        return Estimate(float(value[index]), float(low[index]), float(high[index]), "Wilson score", int(self.n[index]))

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per class: name, n, and the nine fractions; nan stays nan."""
        fields = ["n", *(column + end for column in COLUMNS for end in ("", "_low", "_high"))]
        columns = [getattr(self, field).tolist() for field in fields]
        return [
            {"name": name, **dict(zip(fields, row, strict=True))}
            for name, row in zip(self.names, zip(*columns, strict=True), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary of lists for JSON; nan becomes None."""
        arrays = {key: plain(value) for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        return {"names": list(self.names), **arrays, "confidence": self.confidence}

    def _column(self, column: str) -> Floats:
        if column not in COLUMNS:
            raise ValueError(f"no column is named {column!r}; the columns are {', '.join(COLUMNS)}.")
        values: Floats = getattr(self, column)
        return values

    def _counts(self, column: str) -> Ints:
        return np.rint(np.nan_to_num(self._column(column)) * self.n).astype(np.int64)


def class_table(
    group: npt.ArrayLike,
    clean_correct: npt.ArrayLike,
    robust_correct: npt.ArrayLike,
    names: Sequence[str],
    confidence: float = 0.95,
) -> ClassTable:
    """Count outcomes per class.

    A sample is robust if it is correct without attack *and* under attack, so an attack that repairs a clean
    error earns nothing, and clean = robust + boundary holds in every class.

    Args:
        group: Integer class of every sample, shape (n,), in 0..G-1.
        clean_correct: Whether the clean input is classified correctly, bool, shape (n,).
        robust_correct: Whether the attacked input is classified correctly, bool, shape (n,).
        names: G class names.
        confidence: Two-sided level of the intervals, in (0, 1).

    Returns:
        The table, rows in the order of `names`.

    Raises:
        ValueError: If shapes or dtypes do not match, a label has no name, or confidence is out of range.
    """
    labels, known = check_group(group, names)
    clean = check_outcome(clean_correct, len(labels), "clean_correct")
    attacked = check_outcome(robust_correct, len(labels), "robust_correct")
    n = np.bincount(labels, minlength=len(known)).astype(np.int64)
    outcomes = zip(COLUMNS, (clean, clean & attacked, clean & ~attacked), strict=True)
    return _counted(known, n, {column: count_true(each, labels, len(known)) for column, each in outcomes}, confidence)


def table_of_fractions(fractions: Mapping[str, Sequence[float | None]], names: Sequence[str]) -> ClassTable:
    """The table whose "n", "clean" and "robust" were written down, as a run's history has them.

    Args:
        fractions: Samples and fractions of every class, G numbers each; None where a class has no sample.
        names: G class names.
    """
    n = np.array(fractions["n"], dtype=np.int64)
    clean, robust = (
        np.rint(np.nan_to_num(np.array(fractions[column], dtype=np.float64)) * n).astype(np.int64)
        for column in ("clean", "robust")
    )
    return _counted(tuple(names), n, {"clean": clean, "robust": robust, "boundary": clean - robust}, 0.95)


def _counted(names: tuple[str, ...], n: Ints, hits: Mapping[str, Ints], confidence: float) -> ClassTable:
    """The table of counts of every column."""
    fractions, limits = {}, {}
    for column in COLUMNS:
        fractions[column] = fraction(hits[column], n)
        limits[f"{column}_low"], limits[f"{column}_high"] = wilson(hits[column], n, confidence)
    return ClassTable(names=names, n=n, **fractions, **limits, confidence=confidence)
