"""Checked inputs: every array that enters this package passes through here once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless `confidence` lies strictly between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; give a fraction between 0 and 1, such as 0.95.")


def check_counts(successes: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Broadcast and check counts.

    Args:
        successes: Whole numbers, 0 <= successes <= n, any shape.
        n: Whole numbers, n >= 0, a shape that broadcasts with `successes`.

    Returns:
        Both as float64 arrays of the broadcast shape.

    Raises:
        ValueError: If a count is negative, not whole, or successes exceed n.
    """
    hits, total = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(n, np.float64))
    if not (np.array_equal(hits, np.rint(hits)) and np.array_equal(total, np.rint(total))):
        raise ValueError("successes and n must be whole numbers; give counts, not fractions.")
    if np.any(hits < 0) or np.any(hits > total):
        raise ValueError("successes must lie in 0..n for every entry; check that the two arguments match.")
    return hits, total


def check_group(group: npt.ArrayLike, names: Sequence[str]) -> tuple[Ints, tuple[str, ...]]:
    """Check class labels against class names.

    Args:
        group: Integer class index of every sample, shape (n,), in 0..G-1.
        names: G different class names.

    Returns:
        The labels as int64, shape (n,), and the names as a tuple.

    Raises:
        ValueError: If names repeat or are missing, or a label is no index into them.
    """
    labels, known = np.asarray(group), tuple(names)
    if not known or len(set(known)) != len(known):
        raise ValueError("names must hold at least one name and no name twice; give one name per class.")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"group has shape {labels.shape} and dtype {labels.dtype}; give one integer class per sample.")
    outside = labels[(labels < 0) | (labels >= len(known))]
    if outside.size:
        raise ValueError(
            f"group holds label {int(outside[0])}, but there are {len(known)} names, for labels "
            f"0..{len(known) - 1}; name every class or map the labels to that range."
        )
    return labels.astype(np.int64), known


def check_outcome(outcome: npt.ArrayLike, size: int, name: str) -> Bools:
    """Check a per-sample outcome.

    Args:
        outcome: Booleans, shape (size,).
        size: Number of samples.
        name: Name of the argument, for the message.

    Raises:
        ValueError: If the shape or the dtype differs.
    """
    values = np.asarray(outcome)
    if values.shape != (size,):
        raise ValueError(f"{name} has shape {values.shape}; give one value for each of the {size} samples in group.")
    if values.dtype != np.bool_:
        raise ValueError(f"{name} has dtype {values.dtype}; give booleans, such as `predicted == label`.")
    return values


def find_class(group: int | str, names: Sequence[str]) -> int:
    """Index of a class given by index or by name.

    Raises:
        ValueError: If there is no such class.
    """
    if isinstance(group, str):
        if group not in names:
            raise ValueError(f"no class is named {group!r}; the names are {', '.join(names)}.")
        return tuple(names).index(group)
    if not 0 <= group < len(names):
        raise ValueError(f"no class has index {group}; give 0..{len(names) - 1} or a class name.")
    return int(group)


def count_true(outcome: Bools, labels: Ints, classes: int) -> Ints:
    """Number of true outcomes per class, shape (classes,)."""
    return np.bincount(labels[outcome], minlength=classes).astype(np.int64)


def fraction(hits: Ints, n: Ints) -> Floats:
    """Fractions of counts of the same shape; nan where n is 0."""
    return np.where(n > 0, hits / np.maximum(n, 1), np.nan)


def plain(values: npt.NDArray[np.generic]) -> list[object]:
    """Array to a list of Python numbers, with None for nan (strict JSON has no nan)."""
    return [None if value != value else value for value in values.tolist()]
