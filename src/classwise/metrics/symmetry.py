"""Whether class i falls into class j as often as j into i: the symmetric gap of a matrix of row fractions."""

import numpy as np
import numpy.typing as npt

from classwise.metrics.counts import Floats, Ints, check_confidence
from classwise.metrics.estimate import Estimate

METHOD = "bounded differences (McDiarmid), bias allowed for"


def symmetric_gap(counts: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean over pairs of classes of |M_ij - M_ji|, M being the row fractions of a matrix of counts.

    0 if class i falls into j as often as j into i for all pairs. Rows without a sample are left out, with their
    pairs; with fewer than two rows left the value is nan.

    The measured gap is larger on average than the true one, since the noise of a pair never cancels: where M is
    symmetric it is positive all the same. The interval allows for that, so the value lies nearer its upper end.

    Args:
        counts: Rows are the class, columns what it is taken for; whole counts, shape (C, C).
        confidence: Two-sided level in (0, 1).

    Raises:
        ValueError: If counts or confidence are out of range.
    """
    matrix = check_square(counts)
    value, low, high = symmetric_gap_limits(matrix[None], confidence)
    return Estimate(float(value[0]), float(low[0]), float(high[0]), METHOD, int(matrix.sum()))


def check_square(counts: npt.ArrayLike) -> Ints:
    """Whole counts of shape (C, C) as int64.

    Raises:
        ValueError: If the shape differs, or a count is negative or not whole.
    """
    given = np.asarray(counts)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ValueError(f"counts have shape {given.shape}; give a row and a column per class, shape (C, C).")
    if not np.issubdtype(given.dtype, np.integer) or (given < 0).any():
        raise ValueError("counts must be whole numbers of at least 0; give counts, not fractions.")
    return given.astype(np.int64)


def symmetric_gap_limits(counts: Ints, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Value and limits of `symmetric_gap` for matrices of shape (..., C, C) with the same rows empty in all.

    Let g be the true gap, G the measured one, P the number of pairs, n_i the samples of row i and f_i the true
    share of row i off the diagonal. Three statements, each missed with at most a third of the miss probability:

    * G - E G <= e and E G - G <= e: one sample of row i changes G by at most 2 / (n_i P), as it moves 1 / n_i
      between two cells (with two classes one of them is on the diagonal: 1 / (n_i P)). McDiarmid's inequality.
    * sum f_i / n_i is at most its measured value plus a margin (Hoeffding's inequality).

    Then g <= E G <= G + e, as |.| is convex; and E G - g is at most the mean standard deviation of the measured
    differences, at most the root of their mean variance, at most sqrt(sum f_i / n_i / P).

    Source: C. McDiarmid, On the method of bounded differences, 1989; the bound on the bias is ours.
    """
    check_confidence(confidence)
    n = counts.sum(axis=-1)
    kept = np.flatnonzero(n.reshape(-1, n.shape[-1])[0] > 0)
    classes = len(kept)
    if classes < 2:
        nothing = np.zeros(counts.shape[:-2])
        return nothing + np.nan, nothing, nothing + 1.0
    n = n[..., kept].astype(np.float64)
    fractions = counts[..., kept, :][..., kept] / n[..., None]
    fallen = fractions.sum(axis=-1) - np.diagonal(fractions, axis1=-2, axis2=-1)
    pairs = classes * (classes - 1) / 2
    value = np.abs(fractions - np.swapaxes(fractions, -2, -1)).sum(axis=(-2, -1)) / 2 / pairs

    def margin(squares: Floats) -> Floats:
        root: Floats = np.sqrt(np.log(3 / (1 - confidence)) / 2 * squares)
        return root

    error = margin(min(2, classes - 1) ** 2 * (1 / n).sum(axis=-1)) / pairs
    noise = (fallen / n).sum(axis=-1) + margin((1 / n**3).sum(axis=-1))
    bias = np.sqrt(noise / pairs)
    # No row has more than 1 off its diagonal, so neither has the sum over pairs more than C.
    return value, np.maximum(value - error - bias, 0.0), np.minimum(value + error, min(1.0, classes / pairs))
