"""A policy costs only what it observes: no forward more in a training step, no validation attack unless it asks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, Run
from classwise.attacks import PGD
from classwise.averaging import Gated, StepEMA
from classwise.data import Batch, NoAugmentation, Resident
from classwise.evaluation.collect import Evaluator
from classwise.objectives import Natural, Trades
from classwise.perturbation import AdversarialWeights
from classwise.policies import (
    KLDRO,
    BoundaryBudget,
    CalibratedRadius,
    CalibratedRegularisation,
    ClassPolicy,
    Combined,
    ConstraintRemargin,
    ConstraintReweight,
    ErrorReweight,
    Hedge,
    SimilarityTransfer,
    Uniform,
)
from classwise.policies.base import all_knobs
from classwise.training import Hardware, Runtime, TrainConfig
from classwise.training.losses import validation_losses
from classwise.training.meter import Meter
from classwise.training.observe import measured
from classwise.training.step import Network, Stepper

Train = Callable[..., Run]
FRL = Combined(members=(ConstraintReweight(), ConstraintRemargin()))


def forwards(**axes: Any) -> int:
    """Images sent through the network by one training step of 6, in units of the batch."""
    config = TrainConfig(adversary=PGD(steps=3), hardware=Hardware(device="cpu", precision="fp32"), **axes)
    runtime, net, seen = Runtime(config.hardware), nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), []

    def count(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        seen.append(len(inputs[0]))

    net.register_forward_hook(count)
    images = ClassData(torch.rand(6, 1, 4, 4), torch.arange(6) % 3, ("a", "b", "c"))
    source, generator = Resident(images, NoAugmentation(), runtime.device), torch.Generator()
    optimizer = config.optimizer.build(net.parameters())
    stepper = Stepper(config, runtime, Network(net, net), optimizer, source, generator, generator)
    state = config.policy.init(3)
    knobs = all_knobs(config.policy, state, 3, runtime.device)
    meter = Meter(measured(config.policy.observes(), "train"), runtime)
    stepper(Batch(images.images, images.labels, images.labels, images.index, 6, slice(None)), knobs, state, 0, meter)
    assert sum(seen) % 6 == 0
    return sum(seen) // 6


AT_POLICIES = [KLDRO(), CalibratedRadius(begin=0), ErrorReweight(), SimilarityTransfer(warmup=1), BoundaryBudget()]
TRADES_POLICIES = [*AT_POLICIES, CalibratedRegularisation(begin=0), Hedge(), FRL]


@pytest.mark.parametrize("policy", AT_POLICIES, ids=lambda policy: policy.registered_name)
def test_no_forward_is_added_to_adversarial_training(policy: ClassPolicy) -> None:
    assert forwards(policy=policy) == forwards() == 3 + 1


@pytest.mark.parametrize("policy", TRADES_POLICIES, ids=lambda policy: policy.registered_name)
def test_no_forward_is_added_to_trades(policy: ClassPolicy) -> None:
    assert forwards(objective=Trades(), policy=policy) == forwards(objective=Trades()) == 1 + 3 + 2


def test_what_the_other_axes_add() -> None:
    assert forwards(objective=Natural()) == 1
    assert forwards(perturbation=AdversarialWeights()) == forwards() + 1  # the gradient that the weights move along


@pytest.mark.parametrize(
    ("axes", "added"),
    [
        ({"policy": Uniform()}, 0),
        *(({"policy": policy}, 0) for policy in (*AT_POLICIES, CalibratedRegularisation())),
        ({"policy": FRL}, 1),  # before the first epoch
        ({"policy": Hedge()}, 3),  # the training attack after each epoch
        ({"averaging": Gated(threshold=0.0)}, 3),  # the averaged weights are validated too
        ({"averaging": StepEMA()}, 3),
    ],
    ids=str,
)
def test_passes_over_the_validation_images(
    axes: dict[str, Any], added: int, toy_run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    collect = Evaluator.collect

    def watched(self: Evaluator, *arguments: Any, **named: Any) -> Any:
        passes.append("attack")
        return collect(self, *arguments, **named)

    def losses(*arguments: Any) -> Any:
        passes.append("losses")
        return validation_losses(*arguments)

    monkeypatch.setattr(Evaluator, "collect", watched)
    monkeypatch.setattr("classwise.training.loop.validation_losses", losses)
    toy_run(tmp_path / "run", epochs=3, objective=Trades(), **axes)
    assert len(passes) == 3 + added
