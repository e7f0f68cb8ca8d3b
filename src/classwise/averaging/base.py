"""Weight averaging: a second set of weights that follows the live ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, Literal

from torch import Tensor

from classwise.configuration import Component, config
from classwise.registry import register

Weights = dict[str, Tensor]
Signal = Mapping[str, Tensor]


@config
class Averaging(Component):
    """Base class: a pure function of weight dictionaries that never touches the live model.

    An average starts empty ({}) and stays so until the first update is admitted; an empty average means that there
    is none yet, and the raw weights stand in.
    """

    kind: ClassVar[str] = "averaging"
    unit: ClassVar[Literal["epoch", "step"]] = "epoch"
    """When :meth:`update` is called."""
    needs: ClassVar[Collection[str]] = ()
    """Validation statistics of the raw weights that a gate looks at, such as "validation_robust"."""

    def begin(self, model: Mapping[str, Tensor]) -> Weights:
        """The average before the first step; {}: none yet."""
        return {}

    @abstractmethod
    def update(self, average: Weights, model: Mapping[str, Tensor], signal: Signal) -> Weights:
        """The new average.

        Args:
            average: The old one, {} before the first.
            model: State dictionary of the live network, buffers included.
            signal: "epoch" and "step" (counted from 0) and what ``needs`` asks for.
        """


@register("averaging", "none")
@config
class NoAveraging(Averaging):
    """Keeps no average."""

    def update(self, average: Weights, model: Mapping[str, Tensor], signal: Signal) -> Weights:
        """See :class:`Averaging`."""
        return {}
