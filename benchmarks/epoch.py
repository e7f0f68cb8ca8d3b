"""Time an epoch of PGD adversarial training from bytes to updated weights: samples per second, and where the time goes.

The part of an epoch that is timed goes through the loop's own loader (bytes on the device, crop and flip in batches), its
step (PGD with 10 steps) and its statistics, as training does. Time inside the network's forward and backward is summed in
that same run by clocks around them; the rest is what everything else costs. On a device that works behind the program's
back these clocks wait for it, which slows what is measured, so samples per second come from a run without them.

Where a GPU is used, the rival is the textbook step in float32 fed by a loader with worker processes.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import tyro
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from classwise.data import ClassData, CropFlip, Loader
from classwise.models import ModelBuilder, PreActResNet18, ResNetCIFAR
from classwise.models.cost import multiplications
from classwise.policies.base import all_knobs
from classwise.training import SGD, Hardware, Runtime, TrainConfig
from classwise.training.meter import Meter
from classwise.training.runtime import has_bf16
from classwise.training.step import Network, Stepper
from report import write_result
from textbook import as_textbook, textbook_step
from timing import synchronise

CLASSES, SHAPE = 10, (3, 32, 32)
NETWORKS: dict[str, ModelBuilder] = {"PreActResNet-18": PreActResNet18(), "ResNet-20": ResNetCIFAR(depth=20)}


def main(
    out: Path = Path("benchmarks/results/epoch.json"),
    device: str = "cpu",
    batch: int = 64,
    steps: int = 4,
    rounds: int = 3,
    compiled: bool = False,
) -> None:
    """Measure and write the figures.

    Args:
        out: File for the figures.
        device: Where everything runs.
        batch: Images of a step.
        steps: Steps of the part of an epoch that is timed.
        rounds: Rounds that count; one more warms up.
        compiled: Whether networks that went through torch.compile are measured too.
    """
    load = os.getloadavg()[0]
    precisions = ["fp32", *(["bf16"] if has_bf16(torch.device(device)) else [])]
    rows = []
    for name, builder in NETWORKS.items():
        for precision in precisions:
            for through_compiler in (False, True) if compiled else (False,):
                epoch = Epoch(builder, batch, steps, device, precision, through_compiler)
                rows.append(
                    {"network": name, "precision": precision, "compiled": through_compiler, **epoch.figures(rounds)}
                )
                print(rows[-1], flush=True)
    figures: dict[str, Any] = {
        "device": device,
        "batch": batch,
        "steps": steps,
        "attack_steps": TrainConfig().adversary.forwards(),
        "rounds": rounds,
        "load_average_before": load,
        "rows": rows,
        "seconds_of_an_sgd_step": {way: sgd_step(way, device) for way in ("default", "foreach", "fused")},
    }
    if device.startswith("cuda"):
        figures["textbook_samples_per_second"] = textbook_rate(batch, steps, rounds, device)
    write_result("epoch", figures, out)


class Epoch:
    """A short epoch of one network.

    Args:
        builder: The network.
        batch: Images of a step.
        steps: Steps.
        device: Where it runs.
        precision: "fp32" or "bf16".
        compiled: Whether the network of the outer step goes through torch.compile.
    """

    def __init__(
        self, builder: ModelBuilder, batch: int, steps: int, device: str, precision: Any, compiled: bool
    ) -> None:
        config = TrainConfig(
            augmentation=CropFlip(),
            optimizer=SGD(lr=0.01),
            batch_size=batch,
            hardware=Hardware(device=device, precision=precision, compile=compiled),
        )
        self.runtime, self.config, self.samples = Runtime(config.hardware), config, batch * steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = self.runtime.place(builder.build(CLASSES, SHAPE)).train()
        network = Network(self.model, self.runtime.wrap(self.model))
        images = torch.randint(
            0, 256, (self.samples, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        data = ClassData(images, torch.arange(self.samples) % CLASSES, tuple("0123456789"))
        order, augment = torch.Generator().manual_seed(0), self.runtime.generator(1)
        self.loader = Loader(data, batch, config.augmentation, self.runtime.device, order, augment)
        optimizer = config.optimizer.build(self.model.parameters())
        noise = self.runtime.generator(2), self.runtime.generator(3)
        self.stepper = Stepper(config, self.runtime, network, optimizer, self.loader.source, *noise)

    def run(self) -> None:
        """The epoch, statistics read back at its end as the loop does."""
        state = self.config.policy.init(CLASSES)
        knobs = all_knobs(self.config.policy, state, CLASSES, self.runtime.device)
        meter = Meter([], self.runtime)
        for each in self.loader:
            state = self.stepper(each, knobs, state, 0, meter)
        meter.finish()

    def figures(self, rounds: int) -> dict[str, Any]:
        """Samples per second, the share of time outside the network, and how much of the device's arithmetic is used."""
        device = str(self.runtime.device)
        times, outside = [], []
        for number in range(rounds + 1):
            times.append(timed(self.run, device))
            with network_clock(self.model, device) as inside:
                whole = timed(self.run, device)
            outside.append(1 - inside[0] / whole)
            if number == 0:
                times, outside = [], []  # it warmed up
        rate = self.samples / median(times)
        attack = self.config.adversary.forwards()
        # A forward, a backward to the input (as much again), and in the last step one to the weights too.
        passes = 2 * attack + 3
        once = multiplications(self.model, torch.rand(1, *SHAPE, device=self.runtime.device))
        return {
            "samples_per_second": rate,
            "samples_per_second_of_each_round": [self.samples / each for each in times],
            "share_outside_the_network": median(outside),
            "multiplications_per_sample": passes * once,
            "share_of_matrix_product_rate": rate * passes * once / product_rate(self.runtime),
        }


def timed(work: Callable[[], None], device: str) -> float:
    """Seconds of a piece of work."""
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


@contextmanager
def network_clock(model: nn.Module, device: str) -> Iterator[list[float]]:
    """Sum the seconds inside the network's forward and inside backward passes, in a list of one entry."""
    inside, began = [0.0], [0.0]

    def start(*_: Any) -> None:
        synchronise(device)
        began[0] = time.perf_counter()

    def stop(*_: Any) -> None:
        synchronise(device)
        inside[0] += time.perf_counter() - began[0]

    def clocked(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start()
            made = original(*arguments, **named)
            stop()
            return made

        return call

    with ExitStack() as stack:
        for hook in (model.register_forward_pre_hook(start), model.register_forward_hook(stop)):
            stack.callback(hook.remove)
        stack.enter_context(patch.object(torch.autograd, "grad", clocked(torch.autograd.grad)))
        stack.enter_context(patch.object(Tensor, "backward", clocked(Tensor.backward)))
        yield inside


def product_rate(runtime: Runtime, size: int = 2048) -> float:
    """Multiplications per second of a large square matrix product in the runtime's precision."""
    kind = torch.bfloat16 if runtime.precision == "bf16" else torch.float32
    left, right = torch.rand(2, size, size, device=runtime.device).to(kind).unbind()
    best = min(timed(lambda: torch.mm(left, right), str(runtime.device)) for _ in range(6))  # type: ignore[arg-type, return-value]
    return size**3 / best


def sgd_step(way: str, device: str) -> float:
    """Median seconds of an optimiser step on PreActResNet-18, by torch's ways of doing it."""
    model = PreActResNet18().build(CLASSES, SHAPE).to(device)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    options: dict[str, Any] = {} if way == "default" else {way: True}
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, **options)
    return median([timed(sgd.step, device) for _ in range(12)][2:])


def textbook_rate(batch: int, steps: int, rounds: int, device: str) -> float:
    """Samples per second of the textbook step in float32 on PreActResNet-18, fed by worker processes."""
    model = as_textbook(PreActResNet18().build(CLASSES, SHAPE)).to(device)
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = TensorDataset(torch.rand(batch * steps, *SHAPE), torch.arange(batch * steps) % CLASSES)
    feed = DataLoader(images, batch, shuffle=True, num_workers=4, pin_memory=True, persistent_workers=True)
    noise = torch.Generator(device).manual_seed(0)

    def epoch() -> None:
        for x, y in feed:
            textbook_step(model, sgd, x.to(device, non_blocking=True), y.to(device, non_blocking=True), noise)

    times = [timed(epoch, device) for _ in range(rounds + 1)][1:]
    return batch * steps / median(times)


if __name__ == "__main__":
    tyro.cli(main)
