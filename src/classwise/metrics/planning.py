"""How many samples per class an interval of a wanted width needs, and how wide a given number makes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from classwise.metrics.counts import Floats, check_confidence
from classwise.metrics.intervals import beta_limits, sidak, wilson_limits

Limits = Callable[[Floats, Floats], tuple[Floats, Floats]]
BLOCK = 4096
METHODS: dict[str, str] = {
    "wilson": "one class on its own",
    "simultaneous": "all classes at once",
    "worst": "the weakest class, selection allowed for",
}


@dataclass(frozen=True)
class SamplePlan:
    """Samples per class so that intervals are at most so wide.

    Attributes:
        classes: Number of classes.
        accuracy: Expected accuracy of a class, a fraction.
        width: Greatest width (upper minus lower limit), a fraction.
        confidence: Two-sided level of the intervals.
        wilson: Samples per class for the interval of one class on its own (Wilson score).
        simultaneous: The same for intervals that cover all classes at once (Clopper-Pearson, Šidák).
        worst: The same for the interval of the weakest class, selection allowed for.
    """

    classes: int
    accuracy: float
    width: float
    confidence: float
    wilson: int
    simultaneous: int
    worst: int

    def __str__(self) -> str:
        text = (
            f"Samples needed for {100 * self.confidence:g} % intervals at most {100 * self.width:g} points wide, "
            f"at an accuracy of {100 * self.accuracy:g} % in each class ({self.classes} classes):\n"
            f"  {'interval of':<42}{'per class':>12}{'in all':>14}"
        )
        for method, meaning in METHODS.items():
            n = getattr(self, method)
            text += f"\n  {meaning:<42}{n:>12,}{n * self.classes:>14,}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON."""
        return dict(vars(self))


def sample_plan(classes: int, accuracy: float, width: float, confidence: float = 0.95) -> SamplePlan:
    """Samples per class that each kind of interval needs.

    Args:
        classes: Number of classes, at least 1.
        accuracy: Expected accuracy of a class, in [0, 1]; 0.5 asks for the most samples.
        width: Wanted width (upper minus lower limit), a fraction in [0.0001, 1).
        confidence: Two-sided level in (0, 1).

    Raises:
        ValueError: If an argument is out of range.
    """
    wilson_n, simultaneous_n, worst_n = (
        samples_for_width(width, accuracy, confidence, classes, method)
        for method in ("wilson", "simultaneous", "worst")
    )
    return SamplePlan(classes, accuracy, width, confidence, wilson_n, simultaneous_n, worst_n)


def width_for_samples(
    n: int, accuracy: float, confidence: float = 0.95, classes: int = 1, method: str = "simultaneous"
) -> float:
    """Width of an interval when every class has n samples and comes out at its expected accuracy.

    n * accuracy is rarely whole; the wider of the intervals at the two nearest whole counts is taken.

    Args:
        n: Samples per class, at least 1.
        accuracy: Expected accuracy of a class, in [0, 1].
        confidence: Two-sided level in (0, 1).
        classes: Number of classes, which "wilson" does not depend on.
        method: "wilson" (one class on its own), "simultaneous" (all classes at once) or "worst" (weakest class).

    Returns:
        Upper minus lower limit, a fraction.

    Raises:
        ValueError: If an argument is out of range.
    """
    limits = _limits(accuracy, confidence, classes, method)
    if n < 1:
        raise ValueError(f"n is {n}; give at least one sample per class.")
    return float(_width(limits, np.array([float(n)]), accuracy)[0])


def samples_for_width(
    width: float, accuracy: float, confidence: float = 0.95, classes: int = 1, method: str = "simultaneous"
) -> int:
    """Least number of samples per class from which on an interval is at most so wide; see `width_for_samples`.

    As whole counts are rounded, a width may rise a little from one n to the next; the answer is the n after which it
    never rises above the wanted width again.

    Args:
        width: Wanted width (upper minus lower limit), a fraction in [0.0001, 1).
        accuracy: Expected accuracy of a class, in [0, 1].
        confidence: Two-sided level in (0, 1).
        classes: Number of classes, which "wilson" does not depend on.
        method: "wilson" (one class on its own), "simultaneous" (all classes at once) or "worst" (weakest class).

    Returns:
        Samples per class, at least 1.

    Raises:
        ValueError: If an argument is out of range.
    """
    limits = _limits(accuracy, confidence, classes, method)
    if not 1e-4 <= width < 1:
        raise ValueError(
            f"width is {width}; give a fraction of at least 0.0001 and below 1, such as 0.05 for 5 points."
        )

    # Above `enough` no width is too large; the answer lies at or a little below it.
    enough = 1
    while _ceiling(limits, enough, accuracy) > width:
        enough *= 2
    short = enough // 2
    while enough - short > 1:
        middle = (enough + short) // 2
        if _ceiling(limits, middle, accuracy) > width:
            short = middle
        else:
            enough = middle
    while enough > 1:
        below = np.arange(max(enough - BLOCK, 1), enough)
        too_wide = np.flatnonzero(_width(limits, below.astype(np.float64), accuracy) > width)
        if too_wide.size:
            return int(below[too_wide[-1]]) + 1
        enough = int(below[0])
    return 1


def _limits(accuracy: float, confidence: float, classes: int, method: str) -> Limits:
    # Limits of one of `classes` classes that all come out alike, from counts and n of one shape.
    check_confidence(confidence)
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}; give the expected fraction of a class, between 0 and 1.")
    if classes < 1:
        raise ValueError(f"classes is {classes}; give at least one.")
    if method not in METHODS:
        raise ValueError(f"no method is named {method!r}; the methods are {', '.join(METHODS)}.")
    half = (1 - confidence) / 2
    every = sidak(2 * half, classes) / 2
    missed = {"simultaneous": (every, every), "worst": (half, sidak(half, classes))}
    if method == "wilson":
        return lambda x, n: wilson_limits(x, n, confidence)
    return lambda x, n: beta_limits(x, n, *missed[method])


def _width(limits: Limits, n: Floats, accuracy: float) -> Floats:
    # A product such as 0.07 * 100 must count as whole in spite of rounding.
    counts = (np.floor(n * accuracy + 1e-9), np.ceil(n * accuracy - 1e-9))
    below, above = (limits(np.clip(x, 0, n), n) for x in counts)
    return np.maximum(below[1] - below[0], above[1] - above[0])


def _ceiling(limits: Limits, n: int, accuracy: float) -> float:
    # Both whole counts lie within 1 of n * accuracy, and limits rise with the count: so this bounds the width at n.
    # Unlike the width it falls as n grows, so it bounds the width at every larger n too.
    size = np.array([float(n)])
    low = limits(np.maximum(size * accuracy - 1, 0.0), size)[0]
    high = limits(np.minimum(size * accuracy + 1, size), size)[1]
    return float(high[0] - low[0])
