"""Projected gradient descent that lets a sample go soon after it is misclassified."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from torch import Tensor

from classwise.attacks.base import Attack, Classifier, Inner, Start
from classwise.attacks.losses import AttackLoss, attack_loss, widen
from classwise.attacks.pgd import climb, first_point, full_precision
from classwise.configuration import config, replace
from classwise.radius import Radius
from classwise.randomness import Noise
from classwise.registry import register
from classwise.threat import ThreatModel, per_sample


@register("attack", "friendly-pgd", "fat")
@config
class FriendlyPGD(Attack):
    """Projected gradient descent in which a sample stops once it has made so many steps while misclassified.

    Before each step the prediction is looked at. A sample that is right goes on; one that is wrong uses up one unit of
    its budget and goes on, or stays where it is for good when nothing is left. Training thus sees images a little
    beyond the decision boundary instead of the worst ones in the ball. A budget of at least ``steps`` is plain PGD, but
    for the clipped "gauss" start.

    Source: Zhang et al. 2020 (FAT), algorithm 1; code zjfheart/Friendly-Adversarial-Training 80a0640 (budget 0, from
    epoch 50 on 1, from epoch 90 on 2; ``jitter`` 0.001; with TRADES no jitter). Rule "cfa": Wei et al. 2023 (CFA), code
    PKU-ML/CFA 071f333 (budget 3, no jitter, bn_mode "train").
    Departures: the batch keeps its order, and stopped samples are run along instead of leaving it, so that nothing waits
    for the device (in eval mode they change no other sample; in train mode they are part of the batch in CFA's code,
    too, which ends early when all have stopped and runs the last point once more: only BatchNorm's running statistics
    can tell). Jitter is drawn for stopped samples, too.
    Costs: as much as PGD of as many steps, though fewer of them move an image.

    In an audit its verdicts are as true as those of any attack, and may be too mild: without jitter it breaks no sample
    that ``PGD(stop_when_fooled=True)`` does not break from the same start, and exactly those with rule "original" and
    budget 0; a larger budget or rule "cfa" can give up an image that fooled the model. Audit with PGD, or a suite.
    ``budget_epochs`` has no effect outside training.
    """

    heeds: ClassVar[frozenset[str]] = frozenset({"radius", "step", "steps"})

    steps: int = 10
    """Largest number of gradient steps."""
    relative_step: float = 0.25
    """Length of a step as a share of the threat's radius; 0.25 of 8/255 is the usual 2/255."""
    step_size: Radius | None = None
    """Length of a step in units of the pixel range; when given it replaces the relative step."""
    loss: Literal["matched", "cross-entropy", "kl", "margin", "dlr"] = "matched"
    """What is ascended; "matched": what the objective asks for when training, cross-entropy otherwise."""
    start: Literal["matched", "uniform", "gauss", "none"] = "matched"
    """First point; "gauss": 0.001 times a standard normal, clipped to the box; "matched": as the objective asks."""
    budget: int = 0
    """Steps that a sample may make while misclassified (tau), at least 0, with rule "cfa" at least 1."""
    budget_epochs: tuple[int, ...] = ()
    """Epochs (counted from 0) from which on the budget is larger by one each, such as 50 and 90."""
    rule: Literal["original", "cfa"] = "original"
    """When a sample without budget stops: as soon as it is misclassified once more ("original"), or at once, even if it
    is classified correctly again ("cfa")."""
    jitter: Radius = Radius("0")
    """Standard deviation of normal noise added in every step before the projection (omega), in units of the pixel range."""

    def check(self) -> None:
        """Refuse counts out of range, steps of no length and a rule under which nothing moves."""
        if self.steps < 1:
            raise ValueError(f"steps {self.steps} must be at least 1")
        if not self.relative_step > 0 or (self.step_size is not None and not self.step_size > 0):
            raise ValueError("the step must be longer than 0: set relative_step, or step_size such as 2/255")
        least = 1 if self.rule == "cfa" else 0
        if self.budget < least:
            raise ValueError(f"budget {self.budget} with rule {self.rule!r} must be at least {least}")
        if any(epoch < 0 for epoch in self.budget_epochs):
            raise ValueError(f"budget_epochs {list(self.budget_epochs)} count from 0: leave negative ones out")

    def at_epoch(self, epoch: int) -> FriendlyPGD:
        """See :class:`Attack`: with the budget of that epoch."""
        if not self.budget_epochs:
            return self
        grown = sum(epoch >= each for each in self.budget_epochs)
        return replace(self, budget=self.budget + grown, budget_epochs=())

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
        loss: AttackLoss = inner.loss if self.loss == "matched" else self.loss
        start: Start = inner.start if self.start == "matched" else self.start
        reference = inner.reference
        if loss == "kl" and reference is None:
            with torch.no_grad(), full_precision(x):
                reference = widen(model(x))
        return self.walk(
            model,
            x,
            y,
            threat,
            radius,
            step_scale,
            steps_scale,
            noise,
            first_point(start, x, threat, radius, noise),
            lambda logits: attack_loss(loss, logits, y, reference),
            careful=loss == "kl",
        )

    def walk(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        radius: Tensor,
        step_scale: Tensor,
        steps_scale: Tensor,
        noise: Noise,
        point: Tensor,
        loss: Callable[[Tensor], Tensor],
        careful: bool = False,
    ) -> Tensor:
        """Ascend any loss under the stopping rule; the first arguments are those of :meth:`run`.

        Args:
            model: The classifier.
            x: Originals (N, …).
            y: Labels (N,).
            threat: Norm and base radius.
            radius: Radius of each sample (N,).
            step_scale: Multiplier of each sample's step size (N,).
            steps_scale: Multiplier of each sample's number of steps (N,).
            noise: Source of the jitter.
            point: First point (N, …), which is clipped to the box before anything is asked of it.
            loss: Losses (N,) of logits (N, K).
            careful: Whether the first step, from a tiny perturbation, needs full precision under autocast.

        Returns:
            The last point of each sample (N, …).
        """
        length = float(threat.radius) * self.relative_step if self.step_size is None else float(self.step_size)
        step = per_sample(length * step_scale, x)
        number = (self.steps * steps_scale).ceil()
        left = torch.full_like(y, self.budget)
        stopped = torch.zeros_like(y, dtype=torch.bool)
        point = threat.within_box(point)
        for i in range(self.steps):
            shake = float(self.jitter) * noise.normal(x) if self.jitter > 0 else None
            with full_precision(x) if i == 0 and careful else nullcontext():
                moved, logits = climb(model, x, point, threat, radius, step, loss, shake=shake)
            wrong = logits.argmax(1) != y
            stopped = (stopped | (wrong & (left == 0))) if self.rule == "original" else left == 0
            left = left - (wrong & ~stopped).to(left)
            point = torch.where(per_sample(stopped | (number <= i), x), point, moved)
        return point
