"""Where candidates of a repair are tried: a run's validation images, attacked anew for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from classwise.attacks import PGD, Attack
from classwise.data import ClassData
from classwise.metrics import ClassTable
from classwise.models.modes import mode
from classwise.progress import Advance
from classwise.randomness import KeyedNoise

if TYPE_CHECKING:
    from classwise.evaluation.collect import Evaluator  # evaluation imports much of the package


def score(table: ClassTable) -> float:
    """What a repair makes as large as it can: average plus worst-class robust accuracy, in [0, 2].

    It is rounded to 12 digits, so that equal accuracies of different classes are equal scores.
    """
    return round(table.class_mean.value + table.worst.value, 12)


@dataclass(frozen=True)
class Bench:
    """Validation images, and the attack on them.

    Args:
        network: Receives the weights that are tried; it is left with the last of them.
        data: Validation images.
        evaluator: One threat model, one attack: those of the run's validation.
        advance: Told of every attack on all images.
        admits: Whether weights with such a table may be handed out at all.
    """

    network: nn.Module
    data: ClassData
    evaluator: Evaluator
    advance: Advance
    admits: Callable[[ClassTable], bool] = lambda _: True

    def score(self, table: ClassTable) -> float:
        """Score of a candidate by its table; -1, below every other, where it may not be handed out."""
        return score(table) if self.admits(table) else -1.0

    def table(self, weights: Mapping[str, Tensor]) -> ClassTable:
        """The validation table of some weights, exactly as the loop makes it."""
        self.network.load_state_dict(dict(weights))
        table = self.evaluator.collect(self.network, self.data).table(0, self.data.group_names)
        self.advance(1)
        return table

    def logits(self, weights: Mapping[str, Tensor], attacked: Mapping[str, Tensor] | None = None) -> Tensor:
        """Logits (N, K) of some weights, float64 on the CPU, at the images or at points that an attack finds.

        Args:
            weights: Whose logits.
            attacked: Weights that are attacked, all images of them, to the last step also where a sample is fooled
                before: what a changed network does there is to be known. None: the images themselves.
        """
        found = []
        with mode(self.network, training=False):
            for rows in self._chunks():
                x, y = self.data.batch(rows, self.evaluator.device)
                if attacked is not None:
                    self.network.load_state_dict(dict(attacked))
                    noise = KeyedNoise(self.evaluator.seed, self.data.index[rows].to(x.device), 0)
                    x = self._attack(self.network, x, y, threat=self.evaluator.threats[0], noise=noise)
                self.network.load_state_dict(dict(weights))
                with torch.no_grad():
                    found.append(self.network(x).double().cpu())
        if attacked is not None:
            self.advance(1)
        return torch.cat(found)

    def few(self) -> Tensor:
        """Two images on the device, (2, C, H, W), to try a network on."""
        return self.data.batch(slice(0, 2), self.evaluator.device)[0]

    @property
    def _attack(self) -> Attack:
        attack = self.evaluator.attacks[0]
        return replace(attack, stop_when_fooled=False) if isinstance(attack, PGD) else attack

    def _chunks(self) -> Iterator[Tensor]:
        for start in range(0, len(self.data), self.evaluator.batch_size):
            yield torch.arange(start, min(start + self.evaluator.batch_size, len(self.data)))
