"""The world in which published implementations were run: one small network, its data and its noise, in float64."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, TrainConfig, linf
from classwise.attacks import PGD, Attack
from classwise.data import Batch, NoAugmentation, Resident
from classwise.policies import State
from classwise.policies.base import all_knobs
from classwise.training import Hardware, Runtime
from classwise.training.meter import Meter
from classwise.training.step import Network, Stepper

Arrays = dict[str, Tensor]
EPS = 8 / 255
GRADIENT, WEIGHT, PIXEL = 1e-5, 1e-6, 1e-6
"""Tolerances of float64 comparisons, from the README beside the stored numbers."""


class Net(nn.Module):
    """Two convolutions with BatchNorm, mean over the picture, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.fc(self.bn2(self.conv2(x)).relu().mean((2, 3)))


class World:
    """Inputs common to all cases; see the README beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        common = self.arrays("common.npz")
        self.x, self.y = common["x_uint8"].double() / 255, common["y"]
        self.x_eval, self.y_eval = common["x_eval_uint8"].double() / 255, common["y_eval"]
        self.normal, self.unit = common["noise_normal"].double(), common["noise_unit"].double()
        self.unit_eval = common["noise_unit_eval"].double()
        self.common = common

    def arrays(self, name: str) -> Arrays:
        with np.load(self.folder / name) as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    def numbers(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def net(self) -> Net:
        """A fresh copy, in eval mode."""
        net = Net().double()
        given = {key.removeprefix("param_"): value for key, value in self.common.items() if key.startswith("param_")}
        net.load_state_dict(given)
        return net.eval()


class GivenNoise:
    """Hands out stored draws in turn, whatever kind is asked for."""

    def __init__(self, *draws: Tensor) -> None:
        self.draws = list(draws)

    def uniform(self, like: Tensor) -> Tensor:
        return self.draws.pop(0).view(like.shape)

    normal = uniform


@pytest.fixture(scope="session")
def world(shared: Path) -> World:
    return World(shared / "fixtures" / "methods")


@pytest.fixture
def given_noise() -> Callable[..., GivenNoise]:
    return GivenNoise


@pytest.fixture
def close() -> Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]:
    """Assert that every array of a case with a prefix is near ours of the same name, absolutely."""

    def check(case: Mapping[str, Tensor], prefix: str, ours: Mapping[str, Tensor], tolerance: float) -> None:
        names = [key.removeprefix(prefix) for key in case if key.startswith(prefix)]
        assert names
        apart = {name: float((case[prefix + name] - ours[name].detach()).abs().max()) for name in names}
        assert max(apart.values()) <= tolerance, apart

    return check


@dataclass
class Step:
    """What a training step left behind."""

    x_adv: Tensor
    loss: float
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    state: State


@pytest.fixture
def step(world: World, given_noise: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Step]:
    """Perform one step of the loop from the world's weights on its batch.

    ``step(case, *draws, training=True, lr=0.01, momentum=0.9, weight_decay=5e-4, bn_mode="eval", adversary=None,
    state=None, **axes)``: ``draws`` are the random numbers the attack is handed, in turn; the attack is PGD with the
    case's steps, step and eps unless one is given; ``axes`` are fields of TrainConfig (objective, policy, perturbation,
    mixing …); ``state`` is the policy's state, by default its first one.
    """

    def run(
        case: Mapping[str, Tensor],
        *draws: Tensor,
        training: bool = True,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        bn_mode: Any = "eval",
        adversary: Attack | None = None,
        state: State | None = None,
        **axes: Any,
    ) -> Step:
        monkeypatch.setattr("classwise.training.step.GeneratorNoise", lambda *_: given_noise(*draws))
        steps = int(case["steps"]) if "steps" in case else 10
        attack = adversary or PGD(steps=steps, step_size=repr(float(case["step"])), bn_mode=bn_mode)
        threat = axes.pop("threat", None) or linf(repr(float(case.get("eps", torch.tensor(EPS)))))
        plan = TrainConfig(
            threat=threat,
            adversary=attack,
            hardware=Hardware(device="cpu", precision="fp32"),
            **axes,
        )
        runtime, net = Runtime(plan.hardware), world.net().train(training)
        images = ClassData(world.common["x_uint8"], world.y, tuple("0123456789"))
        source = Resident(images, NoAugmentation(), runtime.device)
        generator = torch.Generator()
        optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
        stepper = Stepper(plan, runtime, Network(net, net), optimizer, source, generator, generator)
        seen: list[Tensor] = []
        ours = type(plan.adversary).__call__

        def watched(self: Any, *arguments: Any, **named: Any) -> Tensor:
            seen.append(ours(self, *arguments, **named))
            return seen[-1]

        monkeypatch.setattr(Attack, "__call__", watched)
        meter = Meter([], runtime)
        first = plan.policy.init(10) if state is None else state
        knobs = all_knobs(plan.policy, first, 10, runtime.device)
        batch = Batch(world.x, world.y, world.y, torch.arange(24), 24, slice(None))
        left = stepper(batch, knobs, first, 0, meter)
        monkeypatch.setattr(Attack, "__call__", ours)
        gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
        return Step(seen[0], meter.finish()[1]["loss"], gradients, net.state_dict(), left)

    return run


@pytest.fixture
def agrees(close: Callable[..., None]) -> Callable[..., None]:
    """Assert that a step agrees with a case in perturbed images, loss and gradients: ``agrees(case, step)``."""

    def check(case: Mapping[str, Tensor], ours: Step, loss: float = WEIGHT) -> None:
        assert float((ours.x_adv - case["x_adv"]).abs().max()) <= PIXEL
        assert ours.loss == pytest.approx(float(case["loss"]), abs=loss)
        close(case, "grad_", ours.gradients, GRADIENT)

    return check
