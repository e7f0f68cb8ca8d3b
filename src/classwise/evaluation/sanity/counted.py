"""Checks of what was counted; they look at outcomes only, never at a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from classwise.evaluation.check import Check
from classwise.evaluation.judge import TOLERANCE
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.sanity.verdicts import found
from classwise.metrics.intervals import wilson

TOO_FEW = 10
"""Images of a class below which nothing can be said: 0 of 9 correct does not even exclude an accuracy of 29 %."""
WIDE = 0.15
"""Half-width of a class's 95 % interval above which its figure is only a hint: two classes with such intervals are not
told apart where they differ by 30 points, which is what published gaps between best and worst class amount to. Reached
with fewer than 40 images of a class at an accuracy near 50 %."""
NEAR_TIE = 1e-3
"""Margin, relative to the largest logit, below which rounding may decide a prediction."""


def few_samples(names: Sequence[str], n: NDArray[np.int64], correct: Sequence[NDArray[np.int64]]) -> Check:
    """Whether classes have enough images for a claim about each.

    Args:
        names: Classes.
        n: (G,) images of each.
        correct: For each column of the tables the number of correct images (G,); none: accuracies are not known
            yet, and those with the widest interval are assumed.
    """
    least = int(n.argmin())
    columns = list(correct) or [n // 2]
    limits = [wilson(column, n) for column in columns]
    half = np.max([(high - low) / 2 for low, high in limits], axis=0)
    widest = int(half.argmax())
    if n[least] < TOO_FEW:
        short = int((n < TOO_FEW).sum())
        return found(
            "few-samples",
            "fail",
            f"{short} of {len(n)} classes have fewer than {TOO_FEW} images ({names[least]}: {int(n[least])}): figures of "
            "single classes say next to nothing; take more images, or report the mean only.",
        )
    if half[widest] > WIDE:
        wide = int((half > WIDE).sum())
        return found(
            "few-samples",
            "warn",
            f"The interval of {wide} of {len(n)} classes is wider than ±{100 * WIDE:.0f} points ({names[widest]}: "
            f"±{100 * half[widest]:.0f} points from {int(n[widest])} images): differences between classes of 30 points "
            "may be chance; take more images of each class, or claim nothing about single ones.",
        )
    return found(
        "few-samples",
        "pass",
        f"Every class has at least {int(n[least])} images; the widest interval is ±{100 * half[widest]:.0f} points "
        f"({names[widest]}).",
    )


def outside_the_ball(excess: float) -> Check:
    """Whether an attack left the ball or the box, from the largest excess over all batches, measured in float64."""
    if excess <= TOLERANCE:
        size = f"at most {excess:.1g}, which is rounding" if excess > 0 else "none"
        return found("outside-the-ball", "pass", f"Excess over the ball or the box, in float64 on every batch: {size}.")
    return found(
        "outside-the-ball",
        "fail",
        f"A perturbed image was {excess:.2g} outside the ball or the box: it was put back before it was judged, so no "
        "image was counted as broken from outside, but the attack searches elsewhere than it says and robust accuracy "
        "is too high; project onto ball and box in every step of the attack.",
    )


def clean_accuracy(outcomes: Outcomes, rows: Tensor, logits: Tensor, labels: Tensor) -> Check:
    """Whether the counts of clean images follow from the model's answers.

    Args:
        outcomes: What was counted, over all N samples.
        rows: (m,) positions of the samples that were run again.
        logits: (m, K) their logits now.
        labels: (N,) labels of the data set.
    """
    again, known = rows.cpu().numpy(), labels.cpu().numpy()
    now = logits.argmax(1).cpu().numpy()
    top = logits.topk(2, dim=1).values
    tied = ((top[:, 0] - top[:, 1]) <= NEAR_TIE * logits.abs().amax()).cpu().numpy()
    other = int(((now != outcomes.clean_prediction[again]) & ~tied).sum())
    mislabelled = int((outcomes.label != known).sum())
    if not (other or mislabelled):
        return found(
            "clean-accuracy",
            "pass",
            f"{len(rows)} clean images run again get the predictions that the class table counts.",
        )
    counted = 100 * outcomes.clean_correct[again].mean()
    measured = 100 * (now == known[again]).mean()
    return found(
        "clean-accuracy",
        "fail",
        f"Of {len(rows)} clean images run again {other} get another prediction than the class table counts (accuracy "
        f"{measured:.1f} % instead of {counted:.1f} %), and {mislabelled} of {len(labels)} labels differ from those of the "
        "data: the table belongs to another model or to other images; audit this model on these images again.",
    )
