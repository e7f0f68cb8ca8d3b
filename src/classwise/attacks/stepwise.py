"""Attacks that move every sample by itself, one step at a time, so that broken samples can leave and others come in."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from classwise.attacks.base import Attack, Classifier, Inner
from classwise.attacks.losses import logit_margin, widen
from classwise.configuration import config
from classwise.randomness import Noise
from classwise.threat import ThreatModel, per_sample


@dataclass(frozen=True)
class Rows:
    """Samples under attack: one row each, none of which knows of another.

    Args:
        x: (N, …) original images.
        y: (N,) labels, int64.
        radius: (N,) radius of each, in units of the pixel range.
        task: (N,) which of the attack's independent runs this is (restart, target class), int64 from 0.
        step: (N,) steps done, int64.
        best: (N, …) the image that fooled the model, where one did; otherwise the strongest one so far.
        fooled: (N,) whether ``best`` fools the model.
        memory: Whatever else the attack remembers; tensors with N rows.
    """

    x: Tensor
    y: Tensor
    radius: Tensor
    task: Tensor
    step: Tensor
    best: Tensor
    fooled: Tensor
    memory: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor | slice) -> Rows:
        """Some of the rows: positions (n,) on their device, or a slice."""
        memory = {key: value[rows] for key, value in self.memory.items()}
        return Rows(**{name: value[rows] for name, value in self._tensors()}, memory=memory)

    def join(self, other: Rows) -> Rows:
        """These rows followed by others of the same attack."""
        theirs = dict(other._tensors())
        tensors: dict[str, Any] = {name: torch.cat([value, theirs[name]]) for name, value in self._tensors()}
        memory = {key: torch.cat([value, other.memory[key]]) for key, value in self.memory.items()}
        return Rows(**tensors, memory=memory)

    def _tensors(self) -> list[tuple[str, Tensor]]:
        return [(name, value) for name, value in vars(self).items() if name != "memory"]


@config
class Stepwise(Attack):
    """Base class: a subclass says how a row begins and what one step does to it.

    A row must depend on its own tensors and noise only. ``step`` returns new rows and leaves the old ones as they
    were. The margin that makes a claim (``fooled``) is that of the model it is given, which may be a faster copy of
    the audited one: whoever relies on it checks it on the original.
    """

    needs_fp32: ClassVar[bool] = False
    """Whether a search in bf16 would be a weaker one, beyond a sample here and there."""

    @abstractmethod
    def tasks(self, classes: int) -> int:
        """Independent runs per sample (restarts, target classes) against a model of so many classes."""

    @abstractmethod
    def length(self) -> int:
        """Steps of one run."""

    @abstractmethod
    def begin(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """Fill in the memory of rows whose ``best`` is the original; it may call the model."""

    @abstractmethod
    def step(self, model: Classifier, threat: ThreatModel, rows: Rows, noise: Noise) -> Rows:
        """One step of every row; ``rows.step`` is counted by whoever calls."""

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
        """See :class:`Attack`: all runs of a fixed batch, each to its end; a fooling image counts before a close one."""
        with torch.no_grad():
            logits = widen(model(x))
        best, margin = x, logit_margin(logits, y)
        for task in range(self.tasks(logits.shape[1])):
            rows = self.begin(model, threat, first_rows(x, y, radius, torch.full_like(y, task)), noise)
            for _ in range(self.length()):
                rows = stepped(self.step(model, threat, rows, noise))
            with torch.no_grad():
                value = logit_margin(widen(model(rows.best)), y)
            best = torch.where(per_sample(value < margin, x), rows.best, best)
            margin = torch.minimum(value, margin)
        return best


def first_rows(x: Tensor, y: Tensor, radius: Tensor, task: Tensor) -> Rows:
    """Rows before an attack has begun."""
    return Rows(x, y, radius, task, torch.zeros_like(y), x, torch.zeros_like(y, dtype=torch.bool), {})


def stepped(rows: Rows) -> Rows:
    """The rows with one more step counted."""
    return replace(rows, step=rows.step + 1)
