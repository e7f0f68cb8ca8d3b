"""Optimisers by name, thin over torch.optim."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from classwise.configuration import Component, config
from classwise.registry import register


@config
class Optimizer(Component):
    """Base class of optimiser configurations."""

    kind: ClassVar[str] = "optimizer"

    lr: float = 0.1
    """Learning rate before the schedule's factor."""
    weight_decay: float = 5e-4
    """Weight decay (L2 penalty added to the gradient)."""

    def check(self) -> None:
        """Refuse a learning rate of 0 or less."""
        if not self.lr > 0 or not self.weight_decay >= 0:
            raise ValueError(f"lr {self.lr} must be above 0 and weight_decay {self.weight_decay} at least 0")

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser."""


@register("optimizer", "sgd")
@config
class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    momentum: float = 0.9
    """Momentum."""
    nesterov: bool = False
    """Nesterov's form."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """See :class:`Optimizer`."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )


@register("optimizer", "adam")
@config
class Adam(Optimizer):
    """Adam with its usual moments."""

    lr: float = 1e-3
    """Learning rate before the schedule's factor."""
    weight_decay: float = 0.0
    """Weight decay (L2 penalty added to the gradient)."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """See :class:`Optimizer`."""
        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
