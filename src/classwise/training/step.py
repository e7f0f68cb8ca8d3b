"""One training step: the same few lines for every method of every paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from classwise.data import Batch
from classwise.data.feed import Feed
from classwise.models.modes import buffers_kept
from classwise.objectives import Outputs, SampleInfo
from classwise.policies import State
from classwise.randomness import GeneratorNoise, Noise
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
        teacher: The teacher, on the device, in eval mode, for objectives that learn from one.
    """

    def __init__(
        self,
        config: TrainConfig,
        runtime: Runtime,
        network: Network,
        optimizer: torch.optim.Optimizer,
        source: Feed,
        attack_generator: torch.Generator,
        mixing_generator: torch.Generator,
        teacher: nn.Module | None = None,
    ) -> None:
        self.config, self.runtime, self.network, self.optimizer, self.source = (
            config,
            runtime,
            network,
            optimizer,
            source,
        )
        self.attack_generator, self.mixing_generator, self.teacher = attack_generator, mixing_generator, teacher
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
        info = self.info(batch, knobs)
        x_adv = batch.x
        if objective.attacked:
            noise = GeneratorNoise(self.attack_generator, batch.total, batch.rows)
            x_adv = self.attack(batch, knobs, info, noise, epoch)
        attacked = batch
        batch, x_adv = config.mixing.after(batch, x_adv, mixing_noise)
        if batch is not attacked:
            info = self.info(batch, knobs)

        def gradient(weights: Sequence[nn.Parameter]) -> list[Tensor]:
            with buffers_kept(self.network.inner):  # until after the backward, which refuses buffers that were written
                with self.runtime.autocast():
                    outputs = objective(self.network.inner, batch.x, x_adv, batch.y, info)
                loss = torch.stack([term.sum() for term in outputs.terms.values()]).sum() / batch.total
                loss = loss if outputs.penalty is None else loss + outputs.penalty / self.runtime.world
                found = torch.autograd.grad(loss, weights, allow_unused=True)
            return [
                torch.zeros_like(weight) if each is None else self.runtime.sum(each)
                for weight, each in zip(weights, found, strict=True)
            ]

        with config.perturbation(self.network.inner, gradient, epoch):
            with self.runtime.autocast():
                outputs = objective(self.network.outer, batch.x, x_adv, batch.y, info)
            member = membership(batch.group, self.source.num_groups)
            weights, state = config.policy.on_batch(state, self._batch_stats(outputs, batch, member, epoch))
            loss = self._reduce(outputs, batch, knobs, weights)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        meter.add(outputs, batch, member, loss, weights)
        return state

    def info(self, batch: Batch, knobs: Mapping[str, Tensor]) -> SampleInfo:
        """What the objective is told of the samples."""
        heeded = {name: knobs[name][batch.group] for name in self.config.objective.heeds}
        logits = None
        if self.teacher is not None:
            with torch.no_grad(), self.runtime.autocast():
                logits = self.teacher(batch.x)
        return SampleInfo(batch.group, self.source.num_groups, heeded, logits)

    def attack(self, batch: Batch, knobs: Mapping[str, Tensor], info: SampleInfo, noise: Noise, epoch: int) -> Tensor:
        """Perturbed images of a batch."""
        threat, objective = self.config.threat, self.config.objective
        with self.runtime.autocast():
            return self.config.adversary.at_epoch(epoch)(
                self.network.inner,
                batch.x,
                batch.y,
                threat=threat,
                radius=float(threat.radius) * knobs["radius"][batch.group],
                step_scale=knobs["step"][batch.group],
                steps_scale=knobs["steps"][batch.group],
                noise=noise,
                inner=replace(objective.inner, reference=objective.reference(info)),
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

        "mean" divides by the number of samples; "weight-sum" divides each term by the sum of its weights,
        "joint-weight-sum" all terms by the sum of all weights. Gradients are averaged over processes afterwards, hence
        the factor.
        """
        shared = knobs["weight"] if weights is None else knobs["weight"] * weights.to(knobs["weight"])
        factors = {name: (shared * knobs[name])[batch.group].to(term.dtype) for name, term in outputs.terms.items()}
        parts = []
        for name, term in outputs.terms.items():
            divisor: Tensor | float = float(batch.total)
            if self.reducer != "mean":
                counted = [factors[name]] if self.reducer == "weight-sum" else list(factors.values())
                total = torch.stack([factor.sum() for factor in counted]).sum()
                divisor = self.runtime.sum(total).clamp_min(torch.finfo(term.dtype).tiny)  # 0 where all weigh 0
            parts.append((factors[name] * term).sum() / divisor * self.runtime.world)
        loss = torch.stack(parts).sum()
        return loss if outputs.penalty is None else loss + outputs.penalty
