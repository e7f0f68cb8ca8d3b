"""The Square attack: random search with square windows, which asks the model for logits only."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from classwise.attacks import square_l2
from classwise.attacks.base import Classifier
from classwise.attacks.losses import attack_loss, logit_margin, widen
from classwise.attacks.stepwise import Rows, Stepwise
from classwise.configuration import config
from classwise.randomness import Noise
from classwise.registry import register
from classwise.threat import Norm, ThreatModel, per_sample

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The last proposals, counted from 0, before the share of pixels is halved."""
BUDGET = 10_000
"""The number of proposals for which the halvings were chosen."""
ACROSS = 2.0
"""More than the width of the box: a pixel pushed so far lands on the border of the ball or of the box."""


@register("attack", "square")
@config
class Square(Stepwise):
    """Change a random square window of the best image so far; keep the change where the loss rises.

    l_inf: start from vertical stripes on the border of the ball; a proposal sets a window to one corner of the ball,
    with one sign for each channel. l_2: see :mod:`classwise.attacks.square_l2`. Both clip to the box.
    Source: Andriushchenko, Croce, Flammarion and Hein, "Square Attack", ECCV 2020, algorithms 1 to 3, with the
    defaults of AutoAttack's standard version (Croce and Hein 2020). As there, a proposal may repeat the image it comes
    from. Departures: every sample draws its own window and signs (the published code draws them for the batch), and
    a window may touch the last row and column (the published code draws places from one fewer along each side, so
    that small windows never reach them).
    """

    needs_gradient: ClassVar[bool] = False

    queries: int = 5000
    """Proposals of a run, one forward pass each, after the evaluation of its start."""
    restarts: int = 1
    """Runs from different random starts."""
    p: float = 0.8
    """Share of the pixels inside the first windows; halved after 10, 50, 200, 500, 1000, … proposals."""
    loss: Literal["margin", "cross-entropy"] = "margin"
    """What must rise for a proposal to be kept; one that fools the model is kept in any case."""
    rescale_schedule: bool = False
    """Whether the halvings are stretched from 10,000 proposals to the number at hand (AutoAttack: no)."""

    def check(self) -> None:
        """Refuse counts below one and shares that are none."""
        if self.queries < 1 or self.restarts < 1:
            raise ValueError(f"queries {self.queries} and restarts {self.restarts} must be at least 1")
        if not 0 < self.p <= 1:
            raise ValueError(f"p {self.p} is a share of the pixels: choose it above 0 and at most 1, such as 0.8")

    def tasks(self, classes: int) -> int:
        """See :class:`Stepwise`."""
        return self.restarts

    def length(self) -> int:
        """See :class:`Stepwise`; the start is evaluated too, and as published it is no proposal."""
        return self.queries + 1

    def forwards(self) -> int:
        """See :class:`Attack`; a pass without gradients costs about a third of one with."""
        return -(-self.restarts * self.length() // 3)

    def share(self, proposal: int) -> float:
        """Share of the pixels inside the window of a proposal, counted from 0."""
        if self.rescale_schedule:
            proposal = proposal * BUDGET // self.queries
        return float(self.p / 2 ** sum(proposal > last for last in HALVINGS))

    def side(self, proposal: int, norm: Norm, height: int, width: int) -> int:
        """Side of a proposal's window in pixels; in l_2 odd and at least 3; at most the shorter side of the image."""
        side = round(math.sqrt(self.share(proposal) * height * width))
        if norm == "l2":
            side = max(side, 3) // 2 * 2 + 1
        return min(max(side, 1), height, width)

    def begin(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """See :class:`Stepwise`: ``best`` becomes the start, which the first step evaluates.

        Raises:
            ValueError: If the inputs are no images (N, C, H, W), the norm is neither l_inf nor l_2, or the ball is not plain.
        """
        threat.require_plain(self.registered_name)
        x = rows.x
        if x.dim() != 4:
            raise ValueError(
                f"the square attack needs images of shape (N, C, H, W), here is {tuple(x.shape)}: "
                "let the model take images and reshape them itself, or choose another attack"
            )
        if threat.norm not in ("linf", "l2"):
            raise ValueError(f"the square attack is written for linf and l2, not {threat.norm}: choose another attack")
        with torch.no_grad():
            worst = torch.full_like(rows.radius, -math.inf, dtype=torch.promote_types(x.dtype, torch.float32))
            if threat.norm == "l2":
                return replace(rows, best=square_l2.start(x, rows.radius, noise), memory={"loss": worst})
            size = per_sample(rows.radius, x)
            memory = {"loss": worst, "lower": (x - size).clamp(0, 1), "upper": (x + size).clamp(0, 1)}
            stripes = noise.uniform(torch.empty_like(x[:, :, :1], dtype=torch.float32)) < 0.5
            return replace(rows, best=torch.where(stripes, memory["upper"], memory["lower"]), memory=memory)

    def step(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """See :class:`Stepwise`: one proposal, one forward pass; fooled rows stay as they are."""
        with torch.no_grad():
            proposal = self._propose(threat, rows, noise)
            logits = widen(model(proposal))
            margin = logit_margin(logits, rows.y)
            loss = -margin if self.loss == "margin" else attack_loss(self.loss, logits, rows.y, None)
            fooling = margin <= 0
            kept = ((loss > rows.memory["loss"]) | fooling) & ~rows.fooled
            # With weights 0 and 1 lerp returns either end exactly, in a third of the time of torch.where.
            best = torch.lerp(rows.best, proposal, per_sample(kept.to(proposal.dtype), proposal))
            memory = rows.memory | {"loss": torch.where(kept, loss, rows.memory["loss"])}
            return replace(rows, best=best, fooled=rows.fooled | fooling, memory=memory)

    def _propose(self, threat: ThreatModel, rows: Rows, noise: Noise) -> Tensor:
        """New images (N, C, H, W) in ball and box; at step 0, where the window is empty, the start itself."""
        x = rows.x
        count, channels, height, width = x.shape
        plan = _plan(self, threat.norm, height, width, x.device)
        windows = 1 if threat.norm == "linf" else 2
        chance = noise.uniform(x.new_empty((count, 2 * windows + channels + windows - 1), dtype=torch.float32))
        window = plan.windows[rows.step]
        side, places = window[:, :1], window[:, 1:]
        corner = (chance[:, : 2 * windows].view(count, windows, 2) * places[:, None]).floor()
        offset = plan.pixel - corner[..., None]
        inside = ((offset >= 0) & (offset < side[:, None, None])).to(x.dtype)
        down, across = inside[:, :, 0, :height], inside[:, :, 1, :width]
        sign = chance[:, 2 * windows : 2 * windows + channels, None, None] < 0.5
        if threat.norm == "linf":
            push = torch.where(sign, ACROSS, -ACROSS).to(x.dtype) * down[..., None]
            pushed = torch.addcmul(rows.best, push, across[:, :, None])
            return pushed.clamp_(rows.memory["lower"], rows.memory["upper"])
        masks = down[..., None] * across[:, :, None]
        bump = square_l2.bump(plan.profiles, side, offset[:, 0], chance[:, -1:] >= 0.5, height, width)
        return square_l2.moved(rows, masks, bump.to(x.dtype)[:, None], torch.where(sign, 1.0, -1.0).to(x.dtype))


@dataclass(frozen=True)
class _Plan:
    """What the steps on images of one size look up, on their device, in float32.

    Args:
        windows: (1 + queries, 3) side of the window of each step, places for it along height and width.
        pixel: (L,) coordinates of the pixels along the longer side, from 0.
        profiles: Of the bumps of l_2, see :func:`classwise.attacks.square_l2.profiles`; otherwise empty.
    """

    windows: Tensor
    pixel: Tensor
    profiles: Tensor


@lru_cache(maxsize=16)
def _plan(attack: Square, norm: Norm, height: int, width: int, device: torch.device) -> _Plan:
    """Made once: copies from the host at every step would make the device wait."""
    # Step 0 evaluates the start: an empty window changes nothing.
    sides = [0] + [attack.side(proposal, norm, height, width) for proposal in range(attack.queries)]
    windows = [(side, height - side + 1, width - side + 1) for side in sides]
    profiles = square_l2.profiles(set(sides), min(height, width)) if norm == "l2" else torch.empty(0)
    pixel = torch.arange(max(height, width), dtype=torch.float32)
    return _Plan(torch.tensor(windows, dtype=torch.float32).to(device), pixel.to(device), profiles.to(device))
