"""Auto-PGD: gradient ascent with momentum whose step halves itself when progress stalls."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from classwise.attacks import apgd_l1
from classwise.attacks.base import Classifier
from classwise.attacks.losses import dlr, logit_margin, targeted_dlr, widen
from classwise.attacks.stepwise import Rows, Stepwise
from classwise.attacks.targets import ranked_target
from classwise.configuration import config
from classwise.randomness import Noise
from classwise.registry import register
from classwise.threat import ThreatModel, per_sample

FIRST_WINDOW, SHORTER, LAST_WINDOW = 0.22, 0.03, 0.06
"""Shares of the steps: length of the first window between two checks, how much shorter the next is, the shortest."""
ENOUGH_RISES = 0.75
"""Share of steps of a window in which the loss must rise, or the step is halved (rho)."""
PULL = 0.75
"""Weight of the gradient step against the previous movement (alpha)."""
FEW_CLASSES = {"dlr": 3, "targeted-dlr": 4}
"""Fewest classes for which a loss is defined; with fewer, cross-entropy stands in for it."""


@register("attack", "apgd", "auto-pgd")
@config
class APGD(Stepwise):
    """Ascend with momentum; at checkpoints halve the step and restart from the best point where progress stalled.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness", ICML 2020, algorithm 1; for l_1 "Mind the
    box", ICML 2021, algorithm 1 (see ``apgd_l1``). The published code's first window counts the first loss as a rise
    where it is above 0; so does this one. Departure: random draws belong to the sample, not to the batch.
    """

    loss: Literal["cross-entropy", "dlr", "targeted-dlr", "targeted-cross-entropy"] = "cross-entropy"
    """What is ascended. The targeted ones run once for every target class."""
    steps: int = 100
    """Gradient steps of a run, after the evaluation of its start."""
    restarts: int = 1
    """Runs from different random starts (for every target class)."""
    targets: int = 9
    """Target classes of a targeted loss: those ranked highest on the clean image; at most all others."""

    def check(self) -> None:
        """Refuse counts below one."""
        if min(self.steps, self.restarts, self.targets) < 1:
            raise ValueError(
                f"steps {self.steps}, restarts {self.restarts} and targets {self.targets} must be at least 1"
            )

    def tasks(self, classes: int) -> int:
        """See :class:`Stepwise`; targets vary fastest."""
        return self.restarts * self._targets(classes)

    def length(self) -> int:
        """See :class:`Stepwise`; the start is evaluated too."""
        return self.steps + 1

    def forwards(self) -> int:
        """See :class:`Attack`; for ten classes."""
        return self.tasks(10) * self.length()

    def stand_in(self, classes: int) -> str:
        """A sentence where so few classes force another loss; empty otherwise."""
        loss = self._loss(classes)
        needed = FEW_CLASSES.get(self.loss, 0)
        return (
            "" if loss == self.loss else f"{self.loss} needs {needed} classes: with {classes}, {loss} stands in for it"
        )

    def begin(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """See :class:`Stepwise`."""
        x = rows.x
        memory = {
            "point": _start(threat, x, rows.radius, noise),
            "previous": x,
            "best_point": x,
            "best_gradient": torch.zeros_like(x),
            "best_loss": torch.zeros_like(rows.radius),
            "last_loss": torch.zeros_like(rows.radius),
            "rises": torch.zeros_like(rows.radius),
            "loss_at_check": torch.zeros_like(rows.radius),
            "halved": torch.ones_like(rows.fooled),
            "size": (1 if threat.norm == "l1" else 2) * rows.radius,
            "target": rows.y,
        }
        if self.loss.startswith("targeted"):
            with torch.no_grad():
                logits = widen(model(x))
            memory["target"] = ranked_target(logits, rows.y, rows.task % self._targets(logits.shape[1]))
        if threat.norm == "l1":
            memory |= apgd_l1.begin(x)
        return replace(rows, memory=memory)

    def step(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """See :class:`Stepwise`: evaluate the point, check progress where that is due, move."""
        memory = dict(rows.memory)
        point = memory["point"]
        loss, gradient, logits = self._evaluate(model, rows)
        first = rows.step == 0
        better = first | (loss > memory["best_loss"])
        broken = logit_margin(logits, rows.y) <= 0
        best_point = torch.where(per_sample(better, point), point, memory["best_point"])
        memory["best_point"] = best_point
        memory["best_gradient"] = torch.where(per_sample(better, point), gradient, memory["best_gradient"])
        memory["best_loss"] = torch.where(better, loss, memory["best_loss"])
        memory["rises"] = torch.where(first, 0.0, memory["rises"] + (loss > memory["last_loss"]))
        memory["last_loss"] = torch.where(first, 0.0, loss)
        memory["loss_at_check"] = torch.where(first, loss, memory["loss_at_check"])
        if threat.norm == "l1":
            current, gradient, memory = apgd_l1.checked(rows, memory, point, gradient, self.steps)
            moved = apgd_l1.moved(threat, rows, memory, current, gradient)
        else:
            current, gradient = self._checked(rows, memory, point, gradient)
            moved = _moved(threat, rows, memory, current, gradient)
        memory["previous"], memory["point"] = current, moved
        best = torch.where(per_sample(rows.fooled, point), rows.best, best_point)
        best = torch.where(per_sample(broken, point), point, best)
        return replace(rows, best=best, fooled=rows.fooled | broken, memory=memory)

    def _evaluate(self, model: Classifier, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        point = rows.memory["point"].detach().requires_grad_()
        with torch.enable_grad():
            logits = widen(model(point))
            loss = self._value(logits, rows.y, rows.memory["target"])
            (gradient,) = torch.autograd.grad(loss.sum(), point)
        return loss.detach(), gradient.nan_to_num(0, 0, 0), logits.detach()

    def _value(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        loss = self._loss(logits.shape[1])
        if loss == "dlr":
            return dlr(logits, y)
        if loss == "targeted-dlr":
            return targeted_dlr(logits, y, target)
        if loss == "targeted-cross-entropy":
            return -F.cross_entropy(logits, target, reduction="none")
        return F.cross_entropy(logits, y, reduction="none")

    def _loss(self, classes: int) -> str:
        if classes >= FEW_CLASSES.get(self.loss, 0):
            return self.loss
        return "cross-entropy" if self.loss == "dlr" else "targeted-cross-entropy"

    def _targets(self, classes: int) -> int:
        return min(self.targets, classes - 1) if self.loss.startswith("targeted") else 1

    def _checked(self, rows: Rows, memory: dict[str, Tensor], point: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """At a checkpoint: halve the step where the loss rose too seldom or its best stood still; back to the best."""
        windows = _windows(self.steps, point.device)
        window = windows[rows.step.clamp_max(self.steps)]
        due = window > 0
        still = ~memory["halved"] & (memory["loss_at_check"] >= memory["best_loss"])
        stalled = due & ((memory["rises"] <= ENOUGH_RISES * window) | still)
        memory["size"] = torch.where(stalled, memory["size"] / 2, memory["size"])
        memory["halved"] = torch.where(due, stalled, memory["halved"])
        memory["loss_at_check"] = torch.where(due, memory["best_loss"], memory["loss_at_check"])
        memory["rises"] = torch.where(due, 0.0, memory["rises"])
        back = per_sample(stalled, point)
        return torch.where(back, memory["best_point"], point), torch.where(back, memory["best_gradient"], gradient)


def _start(threat: ThreatModel, x: Tensor, radius: Tensor, noise: Noise) -> Tensor:
    """A random point on the sphere, clipped to the box."""
    if threat.norm == "l1":
        return threat.project(x + noise.normal(x), x, radius)
    if threat.norm == "linf":
        direction = 2 * noise.uniform(x) - 1
        length = per_sample(direction.flatten(1).abs().amax(1), x)
    else:
        direction = noise.normal(x)
        length = threat.length(direction)
    return threat.within_box(x + threat.reach(radius, x) * direction / length.clamp_min(1e-12))


def _moved(threat: ThreatModel, rows: Rows, memory: dict[str, Tensor], current: Tensor, gradient: Tensor) -> Tensor:
    """A projected gradient step, blended with the movement before it, projected again."""
    size, pull = per_sample(memory["size"], current), per_sample(torch.where(rows.step == 0, 1.0, PULL), current)
    stepped = threat.project(current + size * threat.ascent(gradient), rows.x, rows.radius)
    blended = current + pull * (stepped - current) + (1 - pull) * (current - memory["previous"])
    return threat.project(blended, rows.x, rows.radius)


@lru_cache(maxsize=32)
def _windows(steps: int, device: torch.device) -> Tensor:
    """(steps + 1,): length of the window that ends with a step, where a check is due after it; 0 elsewhere."""
    lengths = [0.0] * (steps + 1)
    window, shortest, shorter = (max(int(share * steps), 1) for share in (FIRST_WINDOW, LAST_WINDOW, SHORTER))
    at = window
    while at <= steps:
        lengths[at] = float(window)
        window = max(window - shorter, shortest)
        at += window
    return torch.tensor(lengths, device=device)


def check_iterations(steps: int) -> list[int]:
    """Iterations, from 0, after which progress is checked (the start's evaluation is none)."""
    return [at - 1 for at, window in enumerate(_windows(steps, torch.device("cpu")).tolist()) if window]
