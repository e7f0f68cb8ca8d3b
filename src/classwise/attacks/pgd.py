"""Projected gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from classwise.attacks.base import Classifier, Inner, Start
from classwise.attacks.losses import AttackLoss, attack_loss, logit_margin, widen
from classwise.attacks.stepwise import Rows, Stepwise
from classwise.configuration import config
from classwise.radius import Radius
from classwise.randomness import Noise
from classwise.registry import register
from classwise.threat import ThreatModel, per_sample


@register("attack", "pgd")
@config
class PGD(Stepwise):
    """Repeat: one step of fixed length along the steepest ascent, back into the ball, back into the box.

    Source: Madry et al. 2018; TRADES eq. 3 (loss "kl", start "gauss"); Carlini and Wagner 2017 (loss "margin"); sparse
    steps in l_1 after Tramèr and Boneh 2019 (SLIDE), with the exact projection of Croce and Hein 2021.
    The step does not grow with a sample's own radius, as in most of the published class-wise methods; ``step_from`` is
    the choice of the others.
    """

    heeds: ClassVar[frozenset[str]] = frozenset({"radius", "step", "steps"})

    steps: int = 10
    """Number of gradient steps."""
    relative_step: float = 0.25
    """Length of a step as a share of the threat's radius; 0.25 of 8/255 is the usual 2/255."""
    step_size: Radius | None = None
    """Length of a step in units of the pixel range; when given it replaces the relative step."""
    step_from: Literal["threat", "sample", "batch"] = "threat"
    """In training, the radius that the relative step is a share of: the threat's, the sample's own, or the largest in the
    batch of this process (FRL's code)."""
    loss: Literal["matched", "cross-entropy", "kl", "margin", "dlr"] = "matched"
    """What is ascended; "matched": what the objective asks for when training, cross-entropy otherwise."""
    start: Literal["matched", "uniform", "gauss", "none"] = "matched"
    """First point; "gauss": 0.001 times a standard normal, not clipped; "matched": as the objective asks."""
    restarts: int = 1
    """Runs from different starts; a fooling result is kept before one that is not, then the larger loss."""
    stop_when_fooled: bool = False
    """Whether a sample stops moving once it is misclassified (equals "any iterate fooled")."""
    box: Literal["each-step", "before-ball", "end"] = "each-step"
    """When a point is clipped to the box: after it was brought back into the ball, before (the l_2 code of TRADES), or only
    at the end (FAAL, algorithm 1 as printed)."""
    l1_share: float = 0.01
    """Only in l_1: share of coordinates that one step moves, those with the largest gradient; 0.01 as in SLIDE."""

    def check(self) -> None:
        """Refuse counts below one and steps of no length."""
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"steps {self.steps} and restarts {self.restarts} must be at least 1")
        if self.start == "none" and self.restarts > 1:
            raise ValueError(
                f"{self.restarts} restarts from start 'none' would be equal: use start 'uniform', or one run"
            )
        if not self.relative_step > 0 or (self.step_size is not None and not self.step_size > 0):
            raise ValueError("the step must be longer than 0: set relative_step, or step_size such as 2/255")
        if self.step_from != "threat" and self.step_size is not None:
            raise ValueError(f"step_from {self.step_from!r} is about the relative step: leave step_size out")
        if not 0 < self.l1_share <= 1:
            raise ValueError(f"l1_share {self.l1_share} must be above 0 and at most 1: 0.01 is usual")

    def forwards(self) -> int:
        """See :class:`Attack`."""
        return self.steps * self.restarts

    def tasks(self, classes: int) -> int:
        """See :class:`Stepwise`."""
        return self.restarts

    def length(self) -> int:
        """See :class:`Stepwise`."""
        return self.steps

    def begin(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """See :class:`Stepwise`."""
        loss, start = self._problem(Inner())
        memory = {"point": first_point(start, rows.x, threat, rows.radius, noise)}
        if loss == "kl":
            with torch.no_grad(), full_precision(rows.x):
                memory["reference"] = widen(model(rows.x))
        return replace(rows, best=memory["point"], memory=memory)

    def step(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """See :class:`Stepwise`. A row that stops when fooled makes a claim, and moves on in case it does not hold."""
        memory = dict(rows.memory)
        loss, _ = self._problem(Inner())
        point = memory["point"]
        step = per_sample(torch.full_like(rows.radius, self._length(threat)), point)
        moved, logits = self._moved(
            model, rows.x, rows.y, threat, rows.radius, step, point, loss, memory.get("reference")
        )
        fooled = rows.fooled
        best = torch.where(per_sample(fooled, point), rows.best, moved)
        if self.stop_when_fooled:
            now = logits.argmax(1) != rows.y
            best, fooled = torch.where(per_sample(now, point), point, best), fooled | now
        return replace(rows, best=best, fooled=fooled, memory=memory | {"point": moved})

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
        """See :class:`Attack`. Training calls this on whole batches, which move together."""
        loss, start = self._problem(inner)
        step = per_sample(self._lengths(threat, radius) * step_scale, x)
        number = per_sample((self.steps * steps_scale).ceil(), x)
        reference = inner.reference
        if loss == "kl" and reference is None:
            with torch.no_grad(), full_precision(x):
                reference = widen(model(x))
        best, best_value, best_fooled = x, None, None
        for _ in range(self.restarts):
            first = first_point(start, x, threat, radius, noise)
            x_adv = self._ascend(model, x, y, threat, radius, step, number, first, loss, reference)
            if self.restarts == 1:
                return x_adv
            value, fooled = self._judge(model, x_adv, y, loss, reference)
            if best_value is None or best_fooled is None:
                best, best_value, best_fooled = x_adv, value, fooled
                continue
            # At equal loss the later one, as in the published code of ROF.
            better = (fooled & ~best_fooled) | ((fooled == best_fooled) & (value >= best_value))
            best = torch.where(per_sample(better, x), x_adv, best)
            best_value, best_fooled = torch.where(better, value, best_value), fooled | best_fooled
        return best

    def _problem(self, inner: Inner) -> tuple[AttackLoss, Start]:
        loss: AttackLoss = inner.loss if self.loss == "matched" else self.loss
        start: Start = inner.start if self.start == "matched" else self.start
        return loss, start

    def _length(self, threat: ThreatModel) -> float:
        return float(threat.radius) * self.relative_step if self.step_size is None else float(self.step_size)

    def _lengths(self, threat: ThreatModel, radius: Tensor) -> Tensor:
        """Length of a step of each sample, (N,)."""
        if self.step_from == "sample":
            return self.relative_step * radius
        if self.step_from == "batch":
            return (self.relative_step * radius.amax()).expand_as(radius)
        return torch.full_like(radius, self._length(threat))

    def _ascend(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        radius: Tensor,
        step: Tensor,
        number: Tensor,
        x_adv: Tensor,
        loss: AttackLoss,
        reference: Tensor | None,
    ) -> Tensor:
        for i in range(self.steps):
            # At the tiny start of a KL attack only some 60 % of bf16 gradient signs are right.
            with full_precision(x) if i == 0 and loss == "kl" else nullcontext():
                moved, logits = self._moved(model, x, y, threat, radius, step, x_adv, loss, reference)
            if self.stop_when_fooled:
                moved = torch.where(per_sample(logits.argmax(1) == y, x), moved, x_adv)
            x_adv = torch.where(number > i, moved, x_adv)
        return x_adv

    def _moved(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        radius: Tensor,
        step: Tensor,
        point: Tensor,
        loss: AttackLoss,
        reference: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        return climb(
            model,
            x,
            point,
            threat,
            radius,
            step,
            lambda logits: attack_loss(loss, logits, y, reference),
            self.l1_share,
            back=lambda moved: self._back(moved, x, threat, radius),
        )

    def _back(self, moved: Tensor, x: Tensor, threat: ThreatModel, radius: Tensor) -> Tensor:
        """A point after a step, brought back as ``box`` says."""
        if self.box == "each-step":
            return threat.project(moved, x, radius)
        boxed = threat.within_box(moved) if self.box == "before-ball" else moved
        return x + threat.shrink(boxed - x, radius)

    def _judge(
        self, model: Classifier, x_adv: Tensor, y: Tensor, loss: AttackLoss, reference: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Loss of the final point (N,), and whether it fools the model (N,)."""
        with torch.no_grad():
            logits = widen(model(x_adv))
            return attack_loss(loss, logits, y, reference), logit_margin(logits, y) <= 0


def first_point(start: Start, x: Tensor, threat: ThreatModel, radius: Tensor, noise: Noise) -> Tensor:
    """Where an attack begins, (N, …): a random point of the ball, a point close to the original, or the original."""
    if start == "uniform":
        return threat.uniform_start(x, radius, noise)
    return x + 0.001 * noise.normal(x) if start == "gauss" else x


def climb(
    model: Classifier,
    x: Tensor,
    point: Tensor,
    threat: ThreatModel,
    radius: Tensor,
    step: Tensor,
    loss: Callable[[Tensor], Tensor],
    l1_share: float = 0.01,
    shake: Tensor | None = None,
    back: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One step from a point up a loss, then back into the ball and the box.

    Args:
        model: The classifier.
        x: Originals (N, …).
        point: Where the step begins, (N, …).
        threat: Norm.
        radius: Radius of each sample (N,).
        step: Length of the step of each sample, shaped to broadcast against ``x``.
        loss: Losses (N,) of logits (N, K); their gradient is followed.
        l1_share: See :meth:`ThreatModel.ascent`.
        shake: Added after the step and before the projection, (N, …); None: nothing.
        back: Brings a point back; None: :meth:`ThreatModel.project`.

    Returns:
        The new point, and the logits (N, K) at the old one.
    """
    point = point.detach().requires_grad_()
    with torch.enable_grad():
        logits = widen(model(point))
        (gradient,) = torch.autograd.grad(loss(logits).sum(), point)
    with torch.no_grad():
        gradient = gradient.nan_to_num(0, 0, 0)
        moved = point + step * threat.ascent(gradient, point, l1_share)
        moved = moved if shake is None else moved + shake
        return threat.project(moved, x, radius) if back is None else back(moved), logits


def full_precision(x: Tensor) -> torch.autocast:
    """A context without autocast on the device of a tensor."""
    return torch.autocast(x.device.type, enabled=False)
