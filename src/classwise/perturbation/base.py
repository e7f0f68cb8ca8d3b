"""Weight perturbation: at which weights the loss of a step is taken."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from torch import Tensor, nn

from classwise.configuration import Component, config
from classwise.registry import register

Gradient = Callable[[Sequence[nn.Parameter]], list[Tensor]]
"""Gradients of the batch's unweighted loss with respect to some weights, at the weights as they are: over all processes,
in train mode, BatchNorm's running statistics left as they were."""


@config
class Perturbation(Component):
    """Base class: a context in which the second forward, the backward and the optimiser's step take place.

    Weights are restored exactly when it ends: what the step added stays, what the perturbation added goes.
    """

    kind: ClassVar[str] = "perturbation"

    @abstractmethod
    def __call__(self, model: nn.Module, gradient: Gradient, epoch: int) -> AbstractContextManager[None]:
        """The context.

        Args:
            model: The live network.
            gradient: Gradients of the unweighted loss of the batch.
            epoch: Counted from 0.
        """


@register("perturbation", "none")
@config
class NoPerturbation(Perturbation):
    """Steps at the weights themselves."""

    def __call__(self, model: nn.Module, gradient: Gradient, epoch: int) -> AbstractContextManager[None]:
        """See :class:`Perturbation`."""
        return nullcontext()
