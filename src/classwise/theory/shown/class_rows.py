"""Rows of a table for the two class errors of a linear classifier."""

from __future__ import annotations

from classwise.theory.gaussian_mixture import ClassErrors, GaussianPair, Linear
from classwise.theory.shown.base import Row
from classwise.theory.simulate import simulate_pair


def class_rows(
    quantity: str,
    classes: GaussianPair,
    classifier: Linear,
    radius: float,
    samples: int,
    seed: int,
    printed: tuple[float | None, float | None] = (None, None),
    remarks: tuple[str, str] = ("", ""),
) -> list[Row]:
    """The errors of class +1 and of class -1, exact, printed and simulated.

    Args:
        quantity: What they are, in words; the class is added.
        classes: The two classes, one set of parameters.
        classifier: A linear classifier for them.
        radius: l_inf radius of the test.
        samples: Points drawn per class; 0 leaves the simulation out.
        seed: Seed of the simulation.
        printed: What the paper prints for class +1 and class -1; None where it prints nothing.
        remarks: Where the print is and what is wrong with it, for class +1 and class -1.
    """
    exact = classes.errors(classifier, radius)
    drawn = simulate_pair(classes, classifier, radius, samples, seed) if samples else (None, None)
    return [
        Row(f"{quantity}, class {label}", float(right), print_, simulated, remark)
        for label, right, print_, simulated, remark in zip(("+1", "-1"), exact, printed, drawn, remarks, strict=True)
    ]


def as_numbers(errors: ClassErrors) -> tuple[float, float]:
    """Both errors as plain numbers, for one set of parameters."""
    return float(errors.plus), float(errors.minus)
