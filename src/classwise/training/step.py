"""One training step: the same few lines for every method of every paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from classwise.data import Batch, ClassData
from classwise.objectives import Outputs
from classwise.policies import State
from classwise.randomness import GeneratorNoise
from classwise.training.config import TrainConfig
from classwise.training.meter import Meter
from classwise.training.observe import MEASURES, group_sums, measured, membership
from classwise.training.runtime import Runtime


@dataclass(frozen=True)
class Network:
    """A network in its two forms.

    Args:
        inner: The module itself; attacks run on it (no collective per attack step).
        outer: What the outer step calls: wrapped for several processes, compiled if asked.
    """

    inner: nn.Module
    outer: nn.Module


class Stepper:
    """Performs training steps; holds no state of its own that a checkpoint would have to keep.

    Args:
        config: The axes.
        runtime: Device, precision, processes.
        network: The network, on its device, in train mode.
        optimizer: Its optimiser.
        source: The training set, for mixing partners.
        attack_generator: Random numbers of attacks.
        mixing_generator: Random numbers of mixing.
    """

    def __init__(
        self,
        config: TrainConfig,
        runtime: Runtime,
        network: Network,
        optimizer: torch.optim.Optimizer,
        source: ClassData,
        attack_generator: torch.Generator,
        mixing_generator: torch.Generator,
    ) -> None:
        self.config, self.runtime, self.network, self.optimizer, self.source = (
            config,
            runtime,
            network,
            optimizer,
            source,
        )
        self.attack_generator, self.mixing_generator = attack_generator, mixing_generator
        self.observed = measured(config.policy.observes(), "batch")
        self.reducer = config.policy.reduction() or "mean"

    def __call__(self, batch: Batch, knobs: Mapping[str, Tensor], state: State, epoch: int, meter: Meter) -> State:
        """Attack, run, weigh, step.

        Args:
            batch: This process's rows of a batch.
            knobs: Class knobs (G,), all of them.
            state: The policy's state.
            epoch: Counted from 0.
            meter: Where statistics are added.

        Returns:
            The policy's state after the batch.
        """
        config, objective = self.config, self.config.objective
        mixing_noise = GeneratorNoise(self.mixing_generator, batch.total, batch.rows)
        batch = config.mixing.before(batch, self.source, mixing_noise)
        batch = batch.with_images(self.runtime.layout(batch.x))
        x_adv = self._attack(batch, knobs) if objective.attacked else batch.x
        x_adv = config.mixing.after(x_adv, batch, mixing_noise)

        def unweighted(model: nn.Module) -> Tensor:
            with self.runtime.autocast():
                outputs = objective(model, batch.x, x_adv, batch.y)
            total = torch.stack([term.mean() for term in outputs.terms.values()]).sum()
            return total if outputs.penalty is None else total + outputs.penalty

        with config.perturbation(self.network.inner, unweighted, epoch):
            with self.runtime.autocast():
                outputs = objective(self.network.outer, batch.x, x_adv, batch.y)
            member = membership(batch.group, self.source.num_groups)
            weights, state = config.policy.on_batch(state, self._batch_stats(outputs, batch, member, epoch))
            loss = self._reduce(outputs, batch, knobs, weights)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        meter.add(outputs, batch, member, loss, weights)
        return state

    def _attack(self, batch: Batch, knobs: Mapping[str, Tensor]) -> Tensor:
        threat = self.config.threat
        with self.runtime.autocast():
            return self.config.adversary(
                self.network.inner,
                batch.x,
                batch.y,
                threat=threat,
                radius=float(threat.radius) * knobs["radius"][batch.group],
                step_scale=knobs["step"][batch.group],
                noise=GeneratorNoise(self.attack_generator, batch.total, batch.rows),
                inner=self.config.objective.inner,
            )

    def _batch_stats(self, outputs: Outputs, batch: Batch, member: Tensor, epoch: int) -> dict[str, Tensor]:
        """Class means over the batch of all processes, on the device, in float64."""
        stats = {"epoch": torch.tensor(epoch)}
        if not self.observed:
            return stats
        count = self.runtime.sum(member.sum(0))
        stats["batch_count"] = count
        for measure in self.observed:
            if measure != "count":
                total = self.runtime.sum(group_sums(MEASURES[measure](outputs, batch.y), member))
                stats[f"batch_{measure}"] = total / count.clamp_min(1).view(-1, *[1] * (total.dim() - 1))
        return stats

    def _reduce(self, outputs: Outputs, batch: Batch, knobs: Mapping[str, Tensor], weights: Tensor | None) -> Tensor:
        """The loss of the step: weighted terms over the batch of all processes, plus the penalty.

        "mean" divides by the number of samples; "weight-sum" divides each term by the sum of its weights. Gradients
        are averaged over processes afterwards, hence the factor.
        """
        shared = knobs["weight"] if weights is None else knobs["weight"] * weights.to(knobs["weight"])
        parts = []
        for name, term in outputs.terms.items():
            factor = (shared * knobs[name])[batch.group].to(term.dtype)
            divisor: Tensor | float = float(batch.total)
            if self.reducer == "weight-sum":
                divisor = self.runtime.sum(factor.sum()).clamp_min(torch.finfo(term.dtype).tiny)  # 0 where all weigh 0
            parts.append((factor * term).sum() / divisor * self.runtime.world)
        loss = torch.stack(parts).sum()
        return loss if outputs.penalty is None else loss + outputs.penalty
