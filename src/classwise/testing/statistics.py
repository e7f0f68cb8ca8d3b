"""Made-up class statistics, as the loop measures them, of exactly what a policy names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from classwise.testing.demand import BreachError

Course = Literal["usual", "absent", "hopeless", "perfect"]

WHENS = {
    "on_start": ("validation",),
    "on_epoch": ("train", "validation"),
    "on_batch": ("batch",),
    "update": ("validation",),
}
"""Hook of a policy, or of an average ("update") → which statistics it sees."""


PERIOD = 32
"""Epochs after which the values come again."""


class UnmeasuredError(BreachError):
    """Something is read that is not measured."""


class Measured(dict[str, Tensor]):
    """Statistics that say what is missing where something else is read."""

    def __init__(self, values: dict[str, Tensor], hook: str) -> None:
        super().__init__(values)
        self.hook = hook

    def __missing__(self, name: str) -> Tensor:
        """Refuse to make up what nobody asked for."""
        whens = WHENS[self.hook]
        if name.partition("_")[0] in whens:
            mend = f"add {name!r} to needs{'' if self.hook == 'update' else ' (or to what observes() returns)'}"
        else:
            there = " and ".join(f"{when}_" for when in whens)
            mend = f"{self.hook} sees statistics of {there} only: read {name!r} in another hook"
        raise UnmeasuredError(f"{self.hook} reads {name!r}, which is not there", mend)


@dataclass(frozen=True)
class World:
    """Classes of different difficulty, whose statistics waver from epoch to epoch.

    Args:
        groups: Number of groups G.
        labels: Whether the groups are the labels; otherwise there is one class more than groups.
        order: (G,) entry i belongs to group order[i]; empty: the groups in their order.
        course: "usual"; "absent": some groups have no samples in some epochs and batches; "hopeless": nothing is ever
            right; "perfect": everything is, and every loss is 0.
    """

    groups: int
    labels: bool = False
    order: tuple[int, ...] = ()
    course: Course = "usual"

    def measure(self, hook: str, needs: Collection[str], epoch: int, batch: int = 0) -> Measured:
        """Statistics for one call of a hook: float64 on the CPU, those of ``needs`` that it sees, and "epoch".

        Args:
            hook: "on_start", "on_epoch", "on_batch" or "update".
            needs: Names such as "train_robust".
            epoch: Counted from 0, -1 in ``on_start``.
            batch: Number of the batch within the epoch.
        """
        order = torch.tensor(self.order or range(self.groups))
        made = {"epoch": torch.tensor(epoch)}
        for stream, when in enumerate(WHENS[hook]):
            wanted = tuple(sorted(need for need in needs if need.startswith(f"{when}_")))
            if not wanted:
                continue
            seed = ((epoch + 1) % PERIOD * 8 + batch) * 4 + stream
            for need, value in _values(self.groups, self.labels, self.course, wanted, seed).items():
                columns = order if self.labels and value.dim() == 2 else slice(None)
                made[need] = value[order][..., columns] if value.dim() == 2 else value[order]
        return Measured(made, hook)


@lru_cache(maxsize=2048)  # a training is gone through many times
def _values(groups: int, labels: bool, course: Course, needs: tuple[str, ...], seed: int) -> dict[str, Tensor]:
    """Values of some statistics of one time, groups in their order; not to be changed."""
    generator = torch.Generator().manual_seed(seed)
    hard = torch.linspace(0, 1, groups, dtype=torch.float64)
    clean = 0.95 - 0.4 * hard * torch.rand(groups, generator=generator, dtype=torch.float64)
    robust = clean * (0.8 - 0.6 * hard * torch.rand(groups, generator=generator, dtype=torch.float64))
    count = (40 * torch.rand(groups, generator=generator, dtype=torch.float64)).ceil()
    if course in ("hopeless", "perfect"):
        clean = robust = torch.full_like(clean, float(course == "perfect"))
    gone = _gone(groups, seed) if course == "absent" else torch.zeros(groups, dtype=torch.bool)
    made = {}
    for need in needs:
        measure = need.partition("_")[2]
        value = {
            "clean": lambda: clean,
            "robust": lambda: robust,
            "error": lambda: 1 - robust,
            "margin": lambda: 1 - 2 * robust,
            "cross_entropy": lambda: -robust.clamp_min(1e-4).log(),
            "clean_cross_entropy": lambda: -clean.clamp_min(1e-4).log(),
            "label_loss": lambda: -robust.clamp_min(1e-4).log(),
            "robust_loss": lambda: 6 * (1 - robust),
            "probabilities": lambda: _probabilities(robust, groups if labels else groups + 1, generator),
            "count": lambda: count,
        }[measure]()
        # What the loop measures of groups without samples: sums of nothing are 0, accuracies on validation nan.
        nothing = float("nan") if need in ("validation_clean", "validation_robust") else 0.0
        made[need] = value.masked_fill(gone if value.dim() == 1 else gone[:, None], nothing)
    return made


def _probabilities(robust: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Mean probabilities (G, K) of each group: that of its own label is its accuracy, the rest is spread."""
    spread = torch.rand(len(robust), classes, generator=generator, dtype=torch.float64) + 0.1
    own = torch.eye(len(robust), classes, dtype=torch.float64)
    spread = spread * (1 - own)
    return own * robust[:, None] + (1 - robust[:, None]) * spread / spread.sum(1, keepdim=True)


def _gone(groups: int, seed: int) -> Tensor:
    """Which groups have no samples, (G,): one of them, or all but one."""
    chosen = torch.arange(groups) == seed // 4 % groups
    return chosen if seed % 3 else ~chosen
