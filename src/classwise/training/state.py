"""Everything that must be saved for a run to go on exactly where it stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from classwise.averaging.base import Weights
from classwise.policies import State
from classwise.runs.checkpoints import Checkpoint
from classwise.training.runtime import Runtime
from classwise.training.step import Network

STREAMS = ("order", "augment", "attack", "mixing")


@dataclass
class TrainState:
    """The live state of a run.

    Args:
        network: The network.
        optimizer: Its optimiser.
        generators: Random generators by name: order of the data, augmentation, attacks, mixing.
        policy: State of the class policy.
        average: Averaged weights, {} before the first.
        epochs_done: Whole epochs done.
        step: Optimiser steps done.
        best: For "best" (raw weights) and "averaged": [score, epochs done] of the selected checkpoint.
        trained: The same without regard to what the selection admits.
        start: Validation table of the network that the run started from: "n", "clean" and "robust" of every class; {} where
            it started from random weights.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    generators: dict[str, torch.Generator]
    policy: State
    average: Weights = field(default_factory=dict)
    epochs_done: int = 0
    step: int = 0
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    trained: dict[str, tuple[float, int]] = field(default_factory=dict)
    start: dict[str, list[float]] = field(default_factory=dict)

    def capture(self, runtime: Runtime, events_size: int, facts: dict[str, Any]) -> Checkpoint:
        """A checkpoint of this moment; ``facts`` go into its meta file."""
        return Checkpoint(
            model=self.network.inner.state_dict(),
            averaged=self.average,
            state={
                "optimizer": self.optimizer.state_dict(),
                "generators": {name: generator.get_state() for name, generator in self.generators.items()},
                "global_rng": runtime.global_rng(),
                "policy": self.policy,
                "epochs_done": self.epochs_done,
                "step": self.step,
                "best": {name: list(value) for name, value in self.best.items()},
                "trained": {name: list(value) for name, value in self.trained.items()},
                "start": self.start,
                "events_size": events_size,
            },
            meta={"epochs": self.epochs_done, "step": self.step, **facts},
        )

    def restore(self, checkpoint: Checkpoint, runtime: Runtime) -> int:
        """Go back to a checkpoint; returns the length the event log had then."""
        saved = checkpoint.state
        self.network.inner.load_state_dict(dict(checkpoint.model))
        self.optimizer.load_state_dict(saved["optimizer"])
        for name, generator in self.generators.items():
            generator.set_state(saved["generators"][name].cpu())
        runtime.restore_global_rng(saved["global_rng"])
        self.policy = dict(saved["policy"])
        self.average = {key: value.to(runtime.device) for key, value in checkpoint.averaged.items()}
        self.epochs_done, self.step = saved["epochs_done"], saved["step"]
        self.best = {name: (score, epochs) for name, (score, epochs) in saved["best"].items()}
        # Checkpoints of earlier versions know neither of the following. None of them had a selection that asks for the first;
        # the second is in their history, where the trainer looks.
        self.trained = {name: (score, epochs) for name, (score, epochs) in saved.get("trained", saved["best"]).items()}
        self.start = dict(saved.get("start", {}))
        return int(saved["events_size"])
