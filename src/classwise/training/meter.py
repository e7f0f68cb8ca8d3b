"""What an epoch of training looked like, class by class, summed on the device and read once at its end."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from classwise.data import Batch
from classwise.objectives import Outputs
from classwise.training.observe import MEASURES, group_sums
from classwise.training.runtime import Runtime
from classwise.widest import widest


class Meter:
    """Sums of one epoch.

    Args:
        measures: Which measures are summed per group, "count" apart.
        runtime: For the sum over processes.
    """

    def __init__(self, measures: Collection[str], runtime: Runtime) -> None:
        self.measures = [measure for measure in measures if measure != "count"]
        self.runtime = runtime
        self._sums: dict[str, Tensor] = {}

    def add(self, outputs: Outputs, batch: Batch, member: Tensor, loss: Tensor, weights: Tensor | None) -> None:
        """Add one step; nothing is read back from the device."""
        with torch.no_grad():
            self._add("count", member.sum(0))
            for measure in self.measures:
                self._add(measure, group_sums(MEASURES[measure](outputs, batch.y), member))
            for name, term in outputs.terms.items():
                self._add(f"term:{name}", widest(term.detach()).sum())
            self._add("loss", widest(loss.detach()) * batch.total / self.runtime.world)
            if weights is not None:
                self._add("weight", weights.to(member) * member.sum(0))

    def finish(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Statistics for the policy ("train_…", on the CPU, float64), and plain values for the event log."""
        sums = {name: self.runtime.sum(value.clone()).cpu() for name, value in self._sums.items()}
        count, samples = sums["count"], float(sums["count"].sum())
        stats = {"train_count": count}
        for measure in self.measures:
            total = sums[measure]
            stats[f"train_{measure}"] = total / count.clamp_min(1).view(-1, *[1] * (total.dim() - 1))
        plain: dict[str, Any] = {
            "loss": float(sums["loss"]) / samples,
            "terms": {
                key.removeprefix("term:"): float(value) / samples for key, value in sums.items() if key[:5] == "term:"
            },
            "count": count.long().tolist(),
        }
        plain |= {
            measure: stats[f"train_{measure}"].tolist() for measure in self.measures if measure != "probabilities"
        }
        if "weight" in sums:
            plain["batch_weight"] = (sums["weight"] / count.clamp_min(1)).tolist()  # mean over its samples
        return stats, plain

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value
