"""Between the network before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from classwise.averaging.base import Weights
from classwise.configuration import config
from classwise.metrics import ClassTable
from classwise.registry import register
from classwise.repair.base import Fit, Repair
from classwise.repair.bench import Bench


@register("repair", "interpolation")
@config
class Interpolation(Repair):
    """All weights on the line between the network that training began from (share 0) and the selected epoch (share 1).

    Shares 0, 1/steps, …, 1 are tried, then the two halfway from the best to its neighbours; each candidate is attacked
    itself. Parameters and floating-point buffers are mixed alike: BatchNorm's running mean and variance are the same
    mixture of the two networks' statistics, not estimated again, so no training image is read and at the ends each network
    is itself; integer buffers, such as BatchNorm's counter of batches, are those of the selected epoch.

    Source: Wortsman et al. 2022 (WiSE-FT, arXiv 2109.01903), eq. 1.
    Departures: the share is fitted to average plus worst-class robust accuracy of validation images under attack; shares 0
    and 1 are candidates, so that training that did harm is undone.
    Costs: an attack on all validation images for each of steps + 3 candidates at the most.
    """

    needs_start: ClassVar[bool] = True

    steps: int = 4
    """Parts into which the line is divided at first, at least 1."""

    def check(self) -> None:
        """Refuse a line without parts."""
        if self.steps < 1:
            raise ValueError(f"steps {self.steps} must be at least 1: 4 is usual")

    def passes(self) -> int:
        """See :class:`Repair`."""
        return self.steps + 3

    def fit(self, bench: Bench, weights: Weights, first: Weights) -> Fit:
        """See :class:`Repair`."""
        tables: dict[float, ClassTable] = {}

        def best(shares: list[float]) -> float:
            for share in shares:
                tables[share] = bench.table(blend(first, weights, share))
            return max(tables, key=lambda share: bench.score(tables[share]))  # the first of equals: the trained network

        around = best([1 - i / self.steps for i in range(self.steps + 1)])
        half = 0.5 / self.steps
        share = best([each for each in (around - half, around + half) if 0 < each < 1])
        return Fit(blend(first, weights, share), tables[1.0], tables[share], {"share": [share]}, len(tables))


def blend(first: Mapping[str, Tensor], last: Mapping[str, Tensor], share: float) -> Weights:
    """The mixture ``(1 - share) first + share last`` of two state dictionaries; exact at both ends.

    Args:
        first: Of the one end.
        last: Of the other, with the same names and shapes; between the ends, integers are taken from it.
        share: In [0, 1].
    """
    made = {}
    for name, value in last.items():
        start = first[name].to(value.device)
        if share == 0:
            made[name] = start
        elif share == 1 or not value.is_floating_point():
            made[name] = value
        else:
            made[name] = start.double().lerp(value.double(), share).to(value.dtype)
    return made
