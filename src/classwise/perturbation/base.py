"""Weight perturbation: at which weights the loss of a step is taken."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from torch import Tensor, nn

from classwise.configuration import Component, config
from classwise.registry import register


@config
class Perturbation(Component):
    """Base class: a context in which the second forward, the backward and the optimiser's step take place.

    Weights are restored exactly when it ends: what the step added stays, what the perturbation added goes.
    """

    kind: ClassVar[str] = "perturbation"

    @abstractmethod
    def __call__(
        self, model: nn.Module, loss: Callable[[nn.Module], Tensor], epoch: int
    ) -> AbstractContextManager[None]:
        """The context.

        Args:
            model: The live network.
            loss: The unweighted loss of the batch at a network.
            epoch: Counted from 0.
        """


@register("perturbation", "none")
@config
class NoPerturbation(Perturbation):
    """Steps at the weights themselves."""

    def __call__(
        self, model: nn.Module, loss: Callable[[nn.Module], Tensor], epoch: int
    ) -> AbstractContextManager[None]:
        """See :class:`Perturbation`."""
        return nullcontext()
