"""What Auto-PGD does differently in an l_1 ball: sparse steps whose sparsity follows the best point."""

from __future__ import annotations

import torch
from torch import Tensor

from classwise.attacks.stepwise import Rows
from classwise.threat import ThreatModel, per_sample

WINDOW = 0.04
"""Share of the steps between two checks."""
FIRST_SHARE = 0.2
"""Share of coordinates that the first steps change."""
SPARSER, LESS_DENSE = 1.5, 0.95
"""Steps change 1 / 1.5 of the coordinates in which the best point differs; below 95 % of before counts as sparser."""
SHRINK, SMALLEST = 1.5, 10.0
"""Factor by which a step shrinks at a check, and the largest such factor in all."""


def begin(x: Tensor) -> dict[str, Tensor]:
    """Memory of rows before the first step: the share of coordinates to change, and how many the best point changes."""
    size = float(x[0].numel())
    return {"share": x.new_full((len(x),), FIRST_SHARE), "changed": x.new_full((len(x),), size)}


def checked(
    rows: Rows, memory: dict[str, Tensor], point: Tensor, gradient: Tensor, steps: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """At a checkpoint: sparser best points restart at full step, others shrink the step.

    Source: Croce and Hein, "Mind the box", ICML 2021, section 3.3 and the published settings.

    Returns:
        The point to move from, its gradient, and the memory.
    """
    window = max(int(WINDOW * steps), 1)
    due = (rows.step > 0) & (rows.step % window == 0)
    changed = (memory["best_point"] != rows.x).flatten(1).sum(1).to(point.dtype)
    sparser = due & (changed < LESS_DENSE * memory["changed"])
    shrunk = torch.maximum(memory["size"] / SHRINK, rows.radius / SMALLEST)
    size = torch.where(sparser, rows.radius, torch.where(due, shrunk, memory["size"]))
    share = torch.where(due, changed / point[0].numel() / SPARSER, memory["share"])
    back = per_sample(sparser, point)
    memory = memory | {"size": size, "share": share, "changed": torch.where(due, changed, memory["changed"])}
    return torch.where(back, memory["best_point"], point), torch.where(back, memory["best_gradient"], gradient), memory


def moved(threat: ThreatModel, rows: Rows, memory: dict[str, Tensor], current: Tensor, gradient: Tensor) -> Tensor:
    """A step of equal length along the signs of the largest gradient entries, projected onto ball and box."""
    strength = gradient.abs().flatten(1)
    count = strength.shape[1]
    place = ((1 - memory["share"]) * count).long().clamp(0, count - 1)
    least = strength.sort(dim=1)[0].gather(1, place[:, None])
    direction = torch.where(strength >= least, gradient.flatten(1).sign(), 0.0)
    direction = direction / (direction.abs().sum(1, keepdim=True) + 1e-10)
    step = per_sample(memory["size"], current) * direction.view_as(current)
    return threat.project(current + step, rows.x, rows.radius)
