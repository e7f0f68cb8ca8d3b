"""Projected gradient descent."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor

from classwise.attacks.base import Attack, Classifier, Inner, Start
from classwise.attacks.losses import AttackLoss, attack_loss, logit_margin, widen
from classwise.configuration import config
from classwise.radius import Radius
from classwise.randomness import Noise
from classwise.registry import register
from classwise.threat import ThreatModel, per_sample


@register("attack", "pgd")
@config
class PGD(Attack):
    """Repeat: one step of fixed length along the steepest ascent, back into the ball, back into the box.

    Source: Madry et al. 2018; TRADES eq. 3 (loss "kl", start "gauss"); Carlini and Wagner 2017 (loss "margin").
    The step does not grow with a sample's own radius, as in the published class-wise methods.
    """

    steps: int = 10
    """Number of gradient steps."""
    relative_step: float = 0.25
    """Length of a step as a share of the threat's radius; 0.25 of 8/255 is the usual 2/255."""
    step_size: Radius | None = None
    """Length of a step in units of the pixel range; when given it replaces the relative step."""
    loss: Literal["matched", "cross-entropy", "kl", "margin"] = "matched"
    """What is ascended; "matched": what the objective asks for when training, cross-entropy otherwise."""
    start: Literal["matched", "uniform", "gauss", "none"] = "matched"
    """First point; "gauss": 0.001 times a standard normal, not clipped; "matched": as the objective asks."""
    restarts: int = 1
    """Runs from different starts; a fooling result is kept before one that is not, then the larger loss."""
    stop_when_fooled: bool = False
    """Whether a sample stops moving once it is misclassified (equals "any iterate fooled")."""

    def check(self) -> None:
        """Refuse counts below one and steps of no length."""
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"steps {self.steps} and restarts {self.restarts} must be at least 1")
        if not self.relative_step > 0 or (self.step_size is not None and not self.step_size > 0):
            raise ValueError("the step must be longer than 0: set relative_step, or step_size such as 2/255")

    def forwards(self) -> int:
        """See :class:`Attack`."""
        return self.steps * self.restarts

    def run(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        radius: Tensor,
        step_scale: Tensor,
        noise: Noise,
        inner: Inner,
    ) -> Tensor:
        """See :class:`Attack`."""
        loss: AttackLoss = inner.loss if self.loss == "matched" else self.loss
        start: Start = inner.start if self.start == "matched" else self.start
        length = float(threat.radius) * self.relative_step if self.step_size is None else float(self.step_size)
        step = per_sample(length * step_scale, x)
        reference = None
        if loss == "kl":
            with torch.no_grad(), _full_precision(x):
                reference = widen(model(x))
        best, best_value, best_fooled = x, None, None
        for _ in range(self.restarts):
            first = self._first(start, x, threat, radius, noise)
            x_adv = self._ascend(model, x, y, threat, radius, step, first, loss, reference)
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

    def _first(self, start: Start, x: Tensor, threat: ThreatModel, radius: Tensor, noise: Noise) -> Tensor:
        if start == "uniform":
            return threat.uniform_start(x, radius, noise)
        return x + 0.001 * noise.normal(x) if start == "gauss" else x

    def _ascend(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        radius: Tensor,
        step: Tensor,
        x_adv: Tensor,
        loss: AttackLoss,
        reference: Tensor | None,
    ) -> Tensor:
        for i in range(self.steps):
            x_adv = x_adv.detach().requires_grad_()
            # At the tiny start of a KL attack only some 60 % of bf16 gradient signs are right.
            with torch.enable_grad(), _full_precision(x) if i == 0 and loss == "kl" else nullcontext():
                logits = widen(model(x_adv))
                (gradient,) = torch.autograd.grad(attack_loss(loss, logits, y, reference).sum(), x_adv)
            with torch.no_grad():
                moved = threat.project(x_adv + step * threat.ascent(gradient), x, radius)
                if self.stop_when_fooled:
                    moved = torch.where(per_sample(logits.argmax(1) == y, x), moved, x_adv)
            x_adv = moved
        return x_adv

    def _judge(
        self, model: Classifier, x_adv: Tensor, y: Tensor, loss: AttackLoss, reference: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Loss of the final point (N,), and whether it fools the model (N,)."""
        with torch.no_grad():
            logits = widen(model(x_adv))
            return attack_loss(loss, logits, y, reference), logit_margin(logits, y) <= 0


def _full_precision(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)
