"""A number per class in the last layer: its bias, or the length of its rows."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from classwise.averaging.base import Weights
from classwise.configuration import config
from classwise.models.modes import mode
from classwise.registry import register
from classwise.repair.base import Fit, Repair
from classwise.repair.bench import Bench
from classwise.repair.known_points import KnownPoints

REACHES = (4.0, 1.0, 0.25)
"""How far the proposals of a round may go from the best numbers so far, in units of the repair. What is known of attacks on
one network says less of another the further apart they are."""
SMALL = 1e-6
"""A proposal that is nearer than this is none."""


@config
class LastLayer(Repair):
    """Base class: fits one number per class and puts it into the last linear layer.

    Each round proposes the numbers that are best at all points known so far (:mod:`classwise.repair.known_points`) within
    three distances from the best candidate so far, one after the other. Each proposal is attacked by itself, once for its
    score and once for the points that all later ones have to withstand as well. After a round without a better candidate
    the distances are halved.
    """

    rounds: int = 4
    """Rounds, at most; each costs three candidates."""
    name: ClassVar[str]
    """What the numbers are called in a run's record."""

    def check(self) -> None:
        """Refuse a search without a candidate."""
        if self.rounds < 1:
            raise ValueError(f"rounds {self.rounds} must be at least 1: 4 is usual")

    @abstractmethod
    def put(self, weights: Mapping[str, Tensor], layer: str, values: Tensor) -> Weights:
        """Weights with a number per class (K,), float64, in the last layer."""

    @abstractmethod
    def act(self, logits: Tensor, values: Tensor) -> Tensor:
        """See :class:`classwise.repair.known_points.Change`."""

    @abstractmethod
    def above(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`classwise.repair.known_points.Change`."""

    @abstractmethod
    def below(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`classwise.repair.known_points.Change`."""

    @abstractmethod
    def unit(self, points: KnownPoints) -> float:
        """Size of a change that is neither small nor large, by the points of the unrepaired network."""

    def shown(self, values: Tensor) -> list[float]:
        """The numbers as they are recorded."""
        return [float(each) for each in values]

    def refuse(self, network: nn.Module, bench: Bench) -> None:
        """See :class:`Repair`."""
        last_linear(network, bench.few())

    def passes(self) -> int:
        """See :class:`Repair`."""
        return 2 * (1 + len(REACHES) * self.rounds)

    def fit(self, bench: Bench, weights: Weights, first: Weights) -> Fit:
        """See :class:`Repair`."""
        bench.network.load_state_dict(weights)
        layer = last_linear(bench.network, bench.few())
        points = KnownPoints(self, bench.data.labels.cpu(), bench.data.groups.cpu(), bench.logits(weights))
        neutral = torch.zeros(points.logits.shape[-1], dtype=torch.float64)
        before = best_table = bench.table(weights)
        best, tried = neutral, 1
        points.add(bench.logits(weights, attacked=weights))
        unit = self.unit(points)
        for _ in range(self.rounds):
            base = best
            for reach in REACHES:
                values = points.proposal(base, reach * unit)
                if float((values - base).abs().max()) < SMALL:
                    continue
                candidate = self.put(weights, layer, values)
                table, tried = bench.table(candidate), tried + 1
                points.add(bench.logits(weights, attacked=candidate))
                if bench.score(table) > bench.score(best_table):
                    best, best_table = values, table
            unit *= 0.5 if best is base else 1
        kept = weights if best is neutral else self.put(weights, layer, best)
        return Fit(kept, before, best_table, {self.name: self.shown(best)}, tried)


@register("repair", "logit-bias")
@config
class LogitBias(LastLayer):
    """A bias per class, added to that of the last linear layer: the threshold between classes moves, nothing else does.

    Found in four rounds. Each tries, within three distances, the biases that are best at all perturbed images known so far,
    found one class after the other and exactly, weakest class first; every candidate is attacked anew, which makes more
    perturbed images known. Distances are 4, 1 and 1/4 of the median attacked margin, halved after a round in vain. Biases
    sum to 0, since a common part changes nothing.

    Source: post-hoc logit adjustment, Menon et al. 2021 (arXiv 2007.07314), section 4.1; the null model of this package for
    methods that train.
    Departures: the biases do not come from class frequencies but are fitted to average plus worst-class robust accuracy of
    validation images under attack.
    Costs: 26 attacks on all validation images at the most (2 + 6 a round), and no training.
    """

    name = "bias"

    def unit(self, points: KnownPoints) -> float:
        """See :class:`LastLayer`. The median distance of an attacked image from the boundary, in logits."""
        return float(points.margins()[-1].abs().median())

    def refuse(self, network: nn.Module, bench: Bench) -> None:
        """See :class:`Repair`."""
        layer = last_linear(network, bench.few())
        if f"{layer}.bias" not in network.state_dict():
            raise ValueError(
                f"repair 'logit-bias': the last layer {layer!r} of this network has no bias that could be changed: "
                "use last-layer-scale"
            )

    def put(self, weights: Mapping[str, Tensor], layer: str, values: Tensor) -> Weights:
        """See :class:`LastLayer`."""
        name = f"{layer}.bias"
        return {**weights, name: (weights[name].double() + values.to(weights[name].device)).to(weights[name].dtype)}

    def act(self, logits: Tensor, values: Tensor) -> Tensor:
        """See :class:`LastLayer`."""
        return logits + values

    def above(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`LastLayer`."""
        return limit - logit, torch.full_like(logit, torch.inf)

    def below(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`LastLayer`."""
        return torch.full_like(logit, -torch.inf), limit - logit


@register("repair", "last-layer-scale")
@config
class LastLayerScale(LastLayer):
    """A positive factor per class for its row of the last linear layer, bias included: its logit is multiplied by it.

    Found in logarithms as the biases of logit-bias are, distances being factors of 4, 1.4 and 1.09. Their product is 1, since
    a common factor changes no answer.

    Source: learnable weight scaling, Kang et al. 2020 (arXiv 1910.09217), section 4.
    Departures: factors are fitted to average plus worst-class robust accuracy of validation images under attack, not by
    gradient steps on the loss of training images.
    Costs: 26 attacks on all validation images at the most (2 + 6 a round), and no training.
    """

    name = "scale"

    def unit(self, points: KnownPoints) -> float:
        """See :class:`LastLayer`. A factor of the square root of 2."""
        return 0.5 * math.log(2)

    def put(self, weights: Mapping[str, Tensor], layer: str, values: Tensor) -> Weights:
        """See :class:`LastLayer`."""
        made = dict(weights)
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in made:
                row = made[name]
                factor = values.exp().to(row.device).view(-1, *[1] * (row.dim() - 1))
                made[name] = (row.double() * factor).to(row.dtype)
        return made

    def act(self, logits: Tensor, values: Tensor) -> Tensor:
        """See :class:`LastLayer`."""
        return logits * values.exp()

    def above(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`LastLayer`. Of positive logits large factors are above a limit, of negative ones small factors."""
        edge = (limit / logit).log()  # nan where one is positive and the other is not: then it is always or never
        same = limit.sign() * logit.sign() > 0
        always = (logit > limit) & ~same
        low, high = torch.full_like(logit, -torch.inf), torch.full_like(logit, torch.inf)
        low = torch.where(same & (logit > 0), edge, torch.where(same | always, low, -low))
        high = torch.where(same & (logit < 0), edge, torch.where(same | always, high, -high))
        return low, high

    def below(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`LastLayer`."""
        return self.above(-logit, -limit)

    def shown(self, values: Tensor) -> list[float]:
        """See :class:`LastLayer`."""
        return [float(each) for each in values.exp()]


def last_linear(network: nn.Module, x: Tensor) -> str:
    """Name of the linear layer whose output is the network's answer.

    Args:
        network: The network.
        x: A few images on its device.

    Raises:
        ValueError: There is none, or it is used more than once.
    """
    seen: dict[str, list[Tensor]] = {}

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: seen.setdefault(name, []).append(output)

    linear = {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear)}
    hooks = [part.register_forward_hook(note(name)) for name, part in linear.items()]
    try:
        with mode(network, training=False), torch.no_grad():
            answer = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    last = [name for name, outputs in seen.items() if len(outputs) == 1 and torch.equal(outputs[0], answer)]
    if len(last) != 1:
        raise ValueError(
            "the answer of this network is not the output of one linear layer, whose rows a repair could change: "
            "use a network that ends in nn.Linear, or the repair interpolation"
        )
    return last[0]
