"""What a repair without training is: a search for better weights among few candidates, each attacked anew."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from classwise.averaging.base import Weights
from classwise.configuration import Component, config
from classwise.metrics import ClassTable
from classwise.registry import register
from classwise.repair.bench import Bench, score


@dataclass(frozen=True)
class Fit:
    """What a repair found.

    Args:
        weights: State dictionary of the best candidate; of the network as it was where no candidate did better.
        before: Validation table of the network as it was.
        after: That of the best candidate, attacked itself.
        fitted: What was fitted, by name; a list with one value per class, or with one value.
        tried: Candidates that were attacked, the network as it was among them.
    """

    weights: Weights
    before: ClassTable
    after: ClassTable
    fitted: Mapping[str, list[float]]
    tried: int

    @property
    def is_better(self) -> bool:
        """Whether a candidate scored higher than the network as it was."""
        return self.scores["after"] > self.scores["before"]

    @property
    def scores(self) -> dict[str, float]:
        """Scores before and after."""
        return {"before": score(self.before), "after": score(self.after)}


@config
class Repair(Component):
    """Base class: changes a trained network without training it, on validation images alone.

    The result is a network of the same architecture. Whatever a repair tries is scored as :func:`classwise.repair.bench.score`
    says, under the run's validation attack, which is made anew against each candidate: the attacker knows the repair. The
    network as it was is a candidate too, and wins ties. Candidates are ranked by ``bench.score``, which puts last what the
    run's selection would not hand out; the loop hands out none of those, whatever a repair returns.
    """

    kind: ClassVar[str] = "repair"
    needs_start: ClassVar[bool] = False
    """Whether it looks at the weights that training began from, so that there must be training."""

    def refuse(self, network: nn.Module, bench: Bench) -> None:
        """Raise ``ValueError`` where a network has not what is to be changed; called before training begins.

        Args:
            network: On its device, with its first weights.
            bench: The images it will be fitted on; nothing is attacked yet.
        """

    @abstractmethod
    def passes(self) -> int:
        """Attacks on all validation images, at most, for an estimate of the time."""

    @abstractmethod
    def fit(self, bench: Bench, weights: Weights, first: Weights) -> Fit:
        """Search.

        Args:
            bench: Where candidates are tried.
            weights: State dictionary of the selected epoch.
            first: That of the network before training; {} unless ``needs_start``.
        """


@register("repair", "none")
@config
class NoRepair(Repair):
    """Leaves the network as training made it."""

    def passes(self) -> int:
        """See :class:`Repair`."""
        return 0

    def fit(self, bench: Bench, weights: Weights, first: Weights) -> Fit:
        """See :class:`Repair`."""
        table = bench.table(weights)
        return Fit(weights, table, table, {}, 1)
