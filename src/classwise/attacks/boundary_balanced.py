"""Images near the decision boundary that favour no particular wrong class."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from classwise.attacks.base import Attack, Classifier, Inner, Start
from classwise.attacks.friendly import FriendlyPGD
from classwise.attacks.losses import kl_from_uniform_over_others
from classwise.attacks.pgd import first_point
from classwise.configuration import config
from classwise.radius import Radius
from classwise.randomness import Noise
from classwise.registry import register
from classwise.threat import ThreatModel


@register("attack", "boundary-balanced-pgd", "bat")
@config
class BoundaryBalancedPGD(Attack):
    """Experimental: stop at the decision boundary, and pull towards all wrong classes alike on the way there.

    A step follows the gradient of CE(x', y) - gamma KL(U || q), where q is the prediction renormalised over the K - 1
    wrong classes and U is uniform over them; a sample stops as :class:`FriendlyPGD` stops it. The first part keeps hard
    classes from being driven deep into others, the second keeps the attack from favouring a few target classes.

    Source: our proposal after what others say of balance adversarial training (BAT, Sun et al. 2022, arXiv 2209.07534),
    of which there is no public code and which we have not read: attack strength is adapted so that images lie near the
    boundary, and a uniform constraint balances target classes. Loss, stopping rule and gamma are ours: this reproduces
    no result of BAT.
    With :class:`BoundaryBudget` classes that are fooled often also get fewer steps.
    Departures: none that could be named.
    Costs: as much as PGD of as many steps.
    """

    heeds: ClassVar[frozenset[str]] = frozenset({"radius", "step", "steps"})

    steps: int = 10
    """Largest number of gradient steps."""
    relative_step: float = 0.25
    """Length of a step as a share of the threat's radius; 0.25 of 8/255 is the usual 2/255."""
    step_size: Radius | None = None
    """Length of a step in units of the pixel range; when given it replaces the relative step."""
    start: Literal["matched", "uniform", "gauss", "none"] = "matched"
    """First point; "gauss": 0.001 times a standard normal, clipped to the box; "matched": as the objective asks."""
    gamma: float = 1.0
    """Weight of the divergence from uniform over the wrong classes, dimensionless, at least 0; at 0 plain cross-entropy."""
    budget: int = 0
    """Steps that a sample may make while misclassified, at least 0; 0 stops at the first misclassified point."""

    def check(self) -> None:
        """Refuse a negative weight, and what :class:`FriendlyPGD` refuses."""
        if not self.gamma >= 0:
            raise ValueError(f"gamma {self.gamma} must be at least 0")
        self._friendly()

    def forwards(self) -> int:
        """See :class:`Attack`."""
        return self.steps

    def run(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        radius: Tensor,
        step_scale: Tensor,
        steps_scale: Tensor,
        noise: Noise,
        inner: Inner,
    ) -> Tensor:
        """See :class:`Attack`."""
        start: Start = inner.start if self.start == "matched" else self.start
        first = first_point(start, x, threat, radius, noise)
        return self._friendly().walk(
            model,
            x,
            y,
            threat,
            radius,
            step_scale,
            steps_scale,
            noise,
            first,
            lambda logits: boundary_balanced_loss(logits, y, self.gamma),
        )

    def _friendly(self) -> FriendlyPGD:
        """Who walks and stops."""
        return FriendlyPGD(
            steps=self.steps, relative_step=self.relative_step, step_size=self.step_size, budget=self.budget
        )


def boundary_balanced_loss(logits: Tensor, y: Tensor, gamma: float) -> Tensor:
    """CE(p, y) - gamma KL(U || q), (N,); q is p renormalised over the wrong classes, U uniform over them.

    Args:
        logits: (N, K), K at least 2; with two classes the second part is 0.
        y: (N,) labels, int64.
        gamma: Weight of the second part, at least 0.
    """
    return F.cross_entropy(logits, y, reduction="none") - gamma * kl_from_uniform_over_others(logits, y)
