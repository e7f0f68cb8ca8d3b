"""What policies may observe of a training step: per-sample measures, averaged over groups."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from classwise.attacks.losses import probability_margin
from classwise.objectives.base import Outputs
from classwise.widest import widest


def _adversarial(outputs: Outputs) -> Tensor:
    assert outputs.adversarial is not None
    return outputs.adversarial


def _clean(outputs: Outputs) -> Tensor:
    assert outputs.clean is not None
    return outputs.clean


MEASURES: dict[str, Callable[[Outputs, Tensor], Tensor]] = {
    "clean": lambda outputs, y: (_clean(outputs).argmax(1) == y).float(),
    "robust": lambda outputs, y: (_adversarial(outputs).argmax(1) == y).float(),
    "error": lambda outputs, y: (_adversarial(outputs).argmax(1) != y).float(),
    "margin": lambda outputs, y: probability_margin(_adversarial(outputs), y),
    "cross_entropy": lambda outputs, y: F.cross_entropy(_adversarial(outputs), y, reduction="none"),
    "clean_cross_entropy": lambda outputs, y: F.cross_entropy(_clean(outputs), y, reduction="none"),
    "label_loss": lambda outputs, y: outputs.terms["label"],
    "robust_loss": lambda outputs, y: outputs.terms["robust"],
    "probabilities": lambda outputs, y: _adversarial(outputs).softmax(1),
}
"""Measure → per-sample values (N,), or (N, K) for "probabilities" under attack."""

VALIDATION = ("clean", "robust", "label_loss", "robust_loss")
"""Measures on validation images, of the raw weights: clean accuracy, accuracy clean and under the validation attack, and
the objective's own terms under the training attack, in eval mode."""

LOSSES = frozenset({"label_loss", "robust_loss"})
"""Those of them that need a pass of the training attack over the validation images."""


def check_names(needs: Collection[str]) -> None:
    """Refuse statistics that do not exist.

    Args:
        needs: Names such as "train_robust".

    Raises:
        ValueError: One of them is unknown.
    """
    allowed = {
        "validation": [*VALIDATION, "count"],
        "train": [*MEASURES, "count"],
        "batch": [*MEASURES, "count"],
    }
    for need in needs:
        when, _, measure = need.partition("_")
        if measure not in allowed.get(when, []):
            raise ValueError(
                f"unknown statistic {need!r}: write train_, batch_ or validation_ and one of {', '.join(MEASURES)}, count "
                f"(validation: {', '.join(VALIDATION)}, count)"
            )


def uncomputed(needs: Collection[str], outputs: Collection[str], terms: Collection[str]) -> list[str]:
    """Statistics, sorted, that an objective does not compute.

    Args:
        needs: Names such as "train_robust", all of them known.
        outputs: Which logits the objective computes: "clean", "adversarial".
        terms: Its terms.
    """
    missing = []
    for need in sorted(needs):
        when, _, measure = need.partition("_")
        if measure == "count" or (when == "validation" and measure not in LOSSES):
            continue
        if measure in LOSSES:
            there = measure.removesuffix("_loss") in terms
        else:
            there = ("clean" if measure in ("clean", "clean_cross_entropy") else "adversarial") in outputs
        missing += [] if there else [need]
    return missing


def measured(needs: Collection[str], when: str) -> list[str]:
    """Measures that are needed at one time ("train", "batch" or "validation"), without their prefix, sorted."""
    return sorted(need.removeprefix(f"{when}_") for need in needs if need.startswith(f"{when}_"))


def group_sums(values: Tensor, member: Tensor) -> Tensor:
    """Sum per-sample values (N,) or (N, K) over groups; ``member`` is (N, G), one-hot float64. Result (G,) or (G, K)."""
    return member.T @ values.detach().to(member.dtype)


def membership(group: Tensor, groups: int) -> Tensor:
    """One-hot membership (N, G), in float64 where the device has it."""
    return widest(group[:, None] == torch.arange(groups, device=group.device))
