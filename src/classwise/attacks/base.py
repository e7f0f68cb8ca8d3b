"""The contract every attack keeps, enforced in one place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from classwise.attacks.losses import AttackLoss
from classwise.configuration import Component, config
from classwise.models.modes import mode
from classwise.randomness import Noise
from classwise.threat import ThreatModel
from classwise.widest import widest

Classifier = Callable[[Tensor], Tensor]
"""Logits (N, K) for images (N, …) in [0, 1]; a torch module or any differentiable function."""

Start = Literal["uniform", "gauss", "none"]


@dataclass(frozen=True)
class Inner:
    """The inner problem an objective wants solved: what to ascend and where to start."""

    loss: AttackLoss = "cross-entropy"
    start: Start = "uniform"
    reference: Tensor | None = None
    """Logits (N, K) that the loss "kl" is taken from; None: those of the model on the clean images."""


@config
class Attack(Component):
    """Base class of attacks: a subclass writes :meth:`run`, everything that must be right is done here.

    The result is inside the ball and the box whatever ``run`` returns; where the radius is 0 it is the original;
    the model's modes are set for the attack and restored exactly; only input gradients are computed.
    """

    kind: ClassVar[str] = "attack"
    needs_gradient: ClassVar[bool] = True
    """Whether the model must be differentiable."""
    heeds: ClassVar[frozenset[str]] = frozenset({"radius"})
    """Class knobs it heeds when it trains: "radius", "step" (length of a step), "steps" (their number)."""

    bn_mode: Literal["eval", "train"] = "eval"
    """Mode of the model during the attack; "train" lets the attack's forwards feed BatchNorm (CFA's AT, ROF)."""

    @final
    def __call__(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        threat: ThreatModel,
        noise: Noise,
        radius: Tensor | None = None,
        step_scale: Tensor | None = None,
        steps_scale: Tensor | None = None,
        inner: Inner | None = None,
    ) -> Tensor:
        """Perturb a batch.

        Args:
            model: The classifier.
            x: Images (N, …) in [0, 1].
            y: Labels (N,), int64.
            threat: Norm and base radius.
            noise: Source of random starts.
            radius: Radius of each sample, (N,), in the unit of the threat's; default: the threat's for all.
            step_scale: Multiplier of each sample's step size, (N,); default 1.
            steps_scale: Multiplier of each sample's number of steps, (N,), at most 1; default 1.
            inner: The objective's inner problem, for attacks whose loss is "matched"; default: cross-entropy from a
                uniform start.

        Returns:
            Perturbed images, detached, shape and type of ``x``.
        """
        if radius is None:
            radius = torch.full((len(x),), float(threat.radius), dtype=x.dtype, device=x.device)
        radius = radius.to(x.dtype)
        ones = torch.ones_like(radius)
        length = ones if step_scale is None else step_scale.to(x.dtype)
        number = ones if steps_scale is None else steps_scale.to(x.dtype)
        with mode(model, training=self.bn_mode == "train"):
            x_adv = self.run(model, x, y, threat, radius, length, number, noise, inner or Inner()).detach()
        inside = threat.distance(x_adv, x) <= widest(radius) + 1e-6
        if threat.box:
            inside = inside & ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
        kept = inside.view(-1, *[1] * (x.dim() - 1))
        x_adv = torch.where(kept, x_adv, threat.project(x_adv, x, radius))
        return torch.where(radius.view_as(kept) > 0, x_adv, x)

    @abstractmethod
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
        """Return perturbed images; see :meth:`__call__` for the arguments, all of them filled in."""

    def at_epoch(self, epoch: int) -> Attack:
        """The attack as it trains in an epoch (counted from 0); override where a field follows a schedule."""
        return self

    def forwards(self) -> int:
        """Forward-and-backward passes of one call, for estimates of cost."""
        return 1
