"""What class-wise methods cost on top of their base method: per training step, per epoch, and in validation passes.

A policy's share of a step is too small to be seen between two timings of a large network, so it is measured on a small
one, where the same policy does the same work on the same number of images and classes, and held against the time of the
base method's step on PreActResNet-18. The large step is also timed with and without each policy, as a check on that.

Contenders take turns in one process; figures are medians over the rounds, the first of which warms up.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import tyro
from torch import nn

from classwise import ClassData, Dataset, TrainConfig, train
from classwise.attacks import PGD
from classwise.averaging import EpochEMA, Gated
from classwise.configuration import replace
from classwise.data import Split
from classwise.evaluation.collect import Evaluator
from classwise.models import Linear
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import (
    KLDRO,
    CalibratedRadius,
    CalibratedRegularisation,
    Combined,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Hedge,
    SimilarityTransfer,
)
from classwise.progress import Silent
from classwise.training import Hardware, Runtime
from classwise.training.losses import validation_losses
from report import write_result
from timing import seconds
from training_step import BATCH, CLASSES, SHAPE, LoopStep, network

AT: dict[str, Any] = {"objective": AdversarialTraining()}
TRADES: dict[str, Any] = {"objective": Trades()}
DIVIDED: dict[str, Any] = {"objective": Trades(divided=True)}


@dataclass(frozen=True)
class Method:
    """A class-wise method on its base method; which values its knobs have does not change what a step costs."""

    name: str
    base: dict[str, Any]
    axes: dict[str, Any] = field(default_factory=dict)


METHODS = (
    Method("KL-DRO (FAAL)", AT, {"policy": KLDRO()}),
    Method("calibrated radius (CCM)", AT, {"policy": CalibratedRadius(begin=0)}),
    Method("calibrated regularisation (CCR)", DIVIDED, {"policy": CalibratedRegularisation(begin=0)}),
    Method("similarity transfer (DAFA)", TRADES, {"policy": SimilarityTransfer(warmup=1)}),
    Method("error reweight (baseline)", AT, {"policy": ErrorReweight()}),
    Method("constraints (FRL)", TRADES, {"policy": Combined(members=(ConstraintReweight(), ConstraintRemargin()))}),
    Method("hedge (WAT)", TRADES, {"policy": Hedge()}),
    Method("epoch EMA", AT, {"averaging": EpochEMA()}),
    Method("gated EMA (FAWA)", AT, {"averaging": Gated(threshold=0.0)}),
)


def main(
    out: Path = Path("benchmarks/results/policies.json"), rounds: int = 40, large_rounds: int = 3, device: str = "cpu"
) -> None:
    """Measure and write the figures.

    Args:
        out: File for the figures.
        rounds: Rounds on the small network.
        large_rounds: Rounds on PreActResNet-18.
        device: Where all of them run.
    """
    load = os.getloadavg()[0]
    runtime = Runtime(Hardware(device=device))
    large, small = (partial(stepper, make, runtime) for make in (network, small_network))
    large_times, small_times = timed(large, large_rounds, device), timed(small, rounds, device)
    figures: dict[str, Any] = {
        "device": device,
        "network": "PreActResNet-18",
        "precision": runtime.precision,
        "batch": BATCH,
        "classes": CLASSES,
        "shape": SHAPE,
        "attack_steps": TrainConfig().adversary.forwards(),
        "rounds": {"small": rounds, "large": large_rounds},
        "load_average_before": load,
        "methods": {
            method.name: {
                "base": method.base["objective"].registered_name,
                "seconds_of_the_base_step": median(base_large),
                "added_seconds": median(with_small) - median(base_small),
                "share_of_a_step": (median(with_small) - median(base_small)) / median(base_large),
                "large_step_with_over_without": median(with_large) / median(base_large),
                "large_rounds": [one / other for one, other in zip(with_large, base_large, strict=True)],
                **properties(method),
                **validation_passes(method),
                "forwards_added_to_a_step": forwards({**method.base, **method.axes}) - forwards(method.base),
                "seconds_after_an_epoch": epoch_work(method),
            }
            for method in METHODS
            for base_large, with_large in [large_times[method.name]]
            for base_small, with_small in [small_times[method.name]]
        },
    }
    write_result("policies", figures, out)


def small_network() -> nn.Module:
    """A linear network for the same images."""
    return nn.Sequential(nn.Flatten(), nn.Linear(SHAPE[0] * SHAPE[1] * SHAPE[2], CLASSES))


def stepper(make: Callable[[], nn.Module], runtime: Runtime, axes: dict[str, Any]) -> Callable[[], None]:
    """One training step of a configuration on random images."""
    x = torch.rand(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0)).to(runtime.device)
    y = (torch.arange(BATCH) % CLASSES).to(runtime.device)
    return partial(LoopStep(make(), runtime, TrainConfig(**axes)), x, y)


def timed(
    make: Callable[[dict[str, Any]], Callable[[], None]], rounds: int, device: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of a step of every method's base and of the method itself, in turns."""
    steps = {method.name: (make(method.base), make({**method.base, **method.axes})) for method in METHODS}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in steps}
    for _ in range(rounds + 1):
        for name, pair in steps.items():
            for into, step in zip(times[name], pair, strict=True):
                into.append(seconds(step, device))
    return {name: (base[1:], own[1:]) for name, (base, own) in times.items()}


def properties(method: Method) -> dict[str, Any]:
    """What FAAL's table 4 asks of a method: when it changes weights, which base it is tied to, what it observes."""
    config = TrainConfig(**method.base, **method.axes)
    observed = config.policy.observes() | frozenset(config.averaging.needs)
    when = {need.partition("_")[0] for need in observed}
    try:
        replace(config, objective=AdversarialTraining())
        tied = False
    except ValueError:
        tied = True
    return {
        "level": "batch" if "batch" in when else "epoch" if observed else "none",
        "tied_to_trades": tied,
        "needs_validation": "validation" in when,
    }


def forwards(axes: dict[str, Any]) -> int:
    """Forward passes of the network in one training step."""
    counted: list[None] = []
    model = small_network()
    model.register_forward_hook(lambda *_: counted.append(None))
    stepper(lambda: model, Runtime(Hardware(device="cpu", precision="fp32")), axes)()
    return len(counted)


def epoch_work(method: Method) -> float:
    """Median seconds of what a method does itself once an epoch, on vectors of the classes and weights of the network."""
    config = TrainConfig(**method.base, **method.axes)
    weights = network().state_dict()
    values = torch.rand(CLASSES, dtype=torch.float64)
    stats: dict[str, torch.Tensor] = dict.fromkeys((*config.policy.observes(), *config.averaging.needs), values)
    stats |= {name: 100 * torch.ones(CLASSES, dtype=torch.float64) for name in stats if name.endswith("_count")}
    stats |= {name: torch.rand(CLASSES, CLASSES).double() for name in stats if name.endswith("_probabilities")}
    stats |= {"epoch": torch.tensor(0), "step": torch.tensor(0)}
    average = config.averaging.update(config.averaging.begin(weights), weights, stats)

    def work() -> None:
        config.policy.knobs(config.policy.on_epoch(config.policy.init(CLASSES), stats))
        config.averaging.update(average, weights, stats)

    return median(seconds(work, "cpu") for _ in range(7))


def validation_passes(method: Method, epochs: int = 3) -> dict[str, int]:
    """How often a run of some epochs attacks the validation images, with the method and without it."""
    return {
        "epochs": epochs,
        "validation_passes": count_passes({**method.base, **method.axes}, epochs),
        "validation_passes_of_the_base": count_passes(method.base, epochs),
    }


def count_passes(axes: dict[str, Any], epochs: int) -> int:
    """Attacked passes over the validation images in a small run."""
    counted: list[str] = []

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            counted.append(name)
            return original(*arguments, **named)

        return call

    labels = torch.arange(60) % 3
    images = ClassData(torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)), labels, ("a", "b", "c"))
    config = TrainConfig(
        **axes,
        model=Linear(),
        split=Split(at_least=5),
        adversary=PGD(steps=1),
        validation_attack=PGD(steps=1),
        epochs=epochs,
        batch_size=15,
        hardware=Hardware(precision="fp32"),
    )
    with ExitStack() as stack:
        stack.enter_context(patch.object(Evaluator, "collect", counting("evaluator", Evaluator.collect)))
        losses = counting("losses", validation_losses)
        stack.enter_context(patch("classwise.training.loop.validation_losses", losses))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        train(config, Path(folder) / "run", data=Dataset("toy", images, lambda: images), progress=Silent())
    return len(counted)


if __name__ == "__main__":
    tyro.cli(main)
