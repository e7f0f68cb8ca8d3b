"""Time the loop's step of PGD adversarial training against the textbook's, on PreActResNet-18 and 32x32 images.

The contenders take turns in one process, each with a network of its own:

- ``textbook``: the textbook's step on the textbook's network;
- ``textbook_own_network``: the same on our network, whose ReLU works in place;
- ``input_gradients_only``: the loop's step in the default layout, so that little but the attack's gradients differs;
- ``loop_fp32``: the loop's step in float32;
- ``loop_bf16``: the loop's step in bf16, where the hardware computes in bf16.

Figures are medians over the rounds; a first round warms up and is not counted.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from classwise.data import Batch, ClassData, NoAugmentation, Resident
from classwise.models import PreActResNet18
from classwise.policies.base import all_knobs
from classwise.training import Hardware, Runtime, TrainConfig
from classwise.training.meter import Meter
from classwise.training.observe import measured
from classwise.training.runtime import has_bf16
from classwise.training.step import Network, Stepper
from report import write_result
from textbook import as_textbook, textbook_step
from timing import seconds

BATCH, CLASSES, SHAPE = 64, 10, (3, 32, 32)


class PlainRuntime(Runtime):
    """A runtime that leaves tensors in PyTorch's default layout, to single out what the layout does."""

    def place(self, model: nn.Module) -> nn.Module:
        """See :class:`Runtime`."""
        return model.to(self.device)

    def layout(self, x: Tensor) -> Tensor:
        """See :class:`Runtime`."""
        return x


def main(out: Path = Path("benchmarks/results/training_step.json"), rounds: int = 7, device: str = "cpu") -> None:
    """Measure and write the figures.

    Args:
        out: File for the figures.
        rounds: Rounds that count, each with one step of every contender.
        device: Where all of them run.
    """
    load = os.getloadavg()[0]
    steps = contenders(device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            times[name].append(seconds(step, device))
    medians = {name: median(values[1:]) for name, values in times.items()}
    figures: dict[str, Any] = {
        "device": device,
        "network": "PreActResNet-18",
        "batch": BATCH,
        "shape": SHAPE,
        "attack_steps": TrainConfig().adversary.forwards(),
        "rounds": rounds,
        "load_average_before": load,
        "seconds": medians,
        "seconds_of_each_round": {name: values[1:] for name, values in times.items()},
        "times_faster_than_textbook": {name: medians["textbook"] / medians[name] for name in medians},
    }
    write_result("training_step", figures, out)


def contenders(device: str) -> dict[str, Callable[[], None]]:
    """One training step of each contender, on the same random images."""
    x = torch.rand(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0)).to(device)
    y = (torch.arange(BATCH) % CLASSES).to(device)
    fp32 = Hardware(device=device, precision="fp32")
    bf16 = Hardware(device=device, precision="bf16")
    steps: dict[str, Callable[[], None]] = {
        "textbook": textbook(as_textbook(network()), x, y),
        "textbook_own_network": textbook(network(), x, y),
        "input_gradients_only": partial(LoopStep(network(), PlainRuntime(fp32)), x, y),
        "loop_fp32": partial(LoopStep(network(), Runtime(fp32)), x, y),
    }
    if has_bf16(torch.device(device)):
        steps["loop_bf16"] = partial(LoopStep(network(), Runtime(bf16)), x, y)
    return steps


def textbook(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """The textbook's step on given images."""
    model = model.to(x.device)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    return partial(textbook_step, model, sgd, x, y, torch.Generator(x.device).manual_seed(0))


def network() -> nn.Module:
    """The network with the same first weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PreActResNet18().build(CLASSES, SHAPE)


class LoopStep:
    """The loop's step on given images, with the defaults of :class:`TrainConfig`: PGD with 10 steps, 8/255, SGD.

    Args:
        model: The network; it is placed, and trained in place.
        runtime: Device, precision, layout.
        config: The axes.
    """

    def __init__(self, model: nn.Module, runtime: Runtime, config: TrainConfig | None = None) -> None:
        config = config or TrainConfig()
        self.model = runtime.place(model).train()
        self.policy_state = config.policy.init(CLASSES)
        self.knobs = all_knobs(config.policy, self.policy_state, CLASSES, runtime.device)
        self.meter = Meter(measured(config.policy.observes(), "train"), runtime)
        self.stepper = Stepper(
            config,
            runtime,
            Network(self.model, self.model),
            config.optimizer.build(self.model.parameters()),
            _unused_source(runtime.device),
            attack_generator=runtime.generator(0),
            mixing_generator=runtime.generator(0),
        )

    def __call__(self, x: Tensor, y: Tensor) -> None:
        """One step on images (N, C, H, W) in [0, 1] with labels (N,)."""
        knobs = {name: knob.to(x.dtype) for name, knob in self.knobs.items()}
        batch = Batch(x, y, y, torch.arange(len(x), device=x.device), len(x), slice(None))
        self.policy_state = self.stepper(batch, knobs, self.policy_state, 0, self.meter)


def _unused_source(device: torch.device) -> Resident:
    """A training set for the partners of mixing, which this step has not."""
    images = ClassData(torch.zeros(CLASSES, *SHAPE), torch.arange(CLASSES), tuple("0123456789"))
    return Resident(images, NoAugmentation(), device)


if __name__ == "__main__":
    tyro.cli(main)
