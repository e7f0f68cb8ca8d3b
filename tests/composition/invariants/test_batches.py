"""Perturbed images of the training step do not depend on the company a sample is in, and stay in its own ball."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from classwise import ClassData, ThreatModel, TrainConfig
from classwise.configuration import replace
from classwise.data import Batch, NoAugmentation, Resident
from classwise.objectives import AdversarialTraining, Distillation, Mart, Trades
from classwise.policies import KNOBS
from classwise.randomness import KeyedNoise
from classwise.training import Runtime
from classwise.training.step import Network, Stepper

RADII = {"linf": "0.1", "l2": "0.4", "l1": "1.0"}
OBJECTIVES = [AdversarialTraining(), Trades(), Mart(), Distillation()]


class Net(nn.Module):
    """As in the laboratory, in float64, in which rounding decides nothing."""

    def __init__(self, classes: int, shape: tuple[int, int, int], seed: int) -> None:
        super().__init__()
        channels, height, width = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(channels, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.head = nn.Linear(4 * height * width, classes)
            self.norm.running_mean.normal_()  # type: ignore[union-attr]
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.conv(x))).flatten(1))


class Step:
    """The attack of a step on samples of a fixed set, with knobs of their own, in any order and number."""

    def __init__(self, config: TrainConfig, classes: int, count: int, shape: tuple[int, int, int], seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.x = torch.rand(count, *shape, generator=draw).double()
        self.x[0] = self.x[0].round()  # an image on the edge of the box
        self.y = torch.randint(classes, (count,), generator=draw)
        self.threat = config.threat
        data = ClassData(self.x.float(), self.y, tuple(f"class {i}" for i in range(classes)))
        runtime, net = Runtime(config.hardware), Net(classes, shape, seed)
        teacher = Net(classes, shape, seed + 1).eval() if config.objective.taught else None
        streams = torch.Generator(), torch.Generator()
        source = Resident(data, NoAugmentation(), runtime.device)
        optimizer = config.optimizer.build(net.parameters())
        self.stepper = Stepper(config, runtime, Network(net, net.train()), optimizer, source, *streams, teacher)
        self.knobs = {name: 0.5 + torch.rand(classes, generator=draw).double() for name in KNOBS}
        self.knobs["steps"] = self.knobs["steps"].clamp_max(1)
        self.knobs["radius"][0] = 0
        self.radius = float(config.threat.radius) * self.knobs["radius"][self.y]
        self.before = {name: value.clone() for name, value in net.state_dict().items()}

    def attack(self, rows: Tensor) -> Tensor:
        """Perturbed images of some samples, whose noise is a function of the sample."""
        batch = Batch(self.x[rows], self.y[rows], self.y[rows], rows, len(rows), slice(None))
        noise = KeyedNoise(0, rows)
        x_adv = self.stepper.attack(batch, self.knobs, self.stepper.info(batch, self.knobs), noise, epoch=0)
        net = self.stepper.network.inner
        assert net.training
        assert all(torch.equal(value, self.before[name]) for name, value in net.state_dict().items())
        assert all(weight.grad is None for weight in net.parameters())
        return x_adv


def attacks(lab: Any) -> list[str]:
    names = lab.names("attack")
    assert len(names) >= 3
    return names


@pytest.mark.parametrize("norm", RADII)
@settings(max_examples=6)
@given(
    classes=st.sampled_from([2, 3, 10, 43, 200]),
    count=st.integers(1, 7),
    shape=st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5)),
    objective=st.sampled_from(OBJECTIVES),
    seed=st.integers(0, 1000),
)
def test_splitting_and_reordering_a_batch_changes_no_perturbed_image(
    norm: Any, classes: int, count: int, shape: tuple[int, int, int], objective: Any, seed: int, lab: Any
) -> None:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for name in attacks(lab):
        threat = ThreatModel(norm=norm, radius=RADII[norm])
        made = replace(
            lab.base,
            objective=objective,
            adversary=lab.component("attack", name),
            threat=threat,
            teacher="a robust network" if objective.taught else "",
        )
        step = Step(made, classes, count, shape, seed)
        whole = step.attack(torch.arange(count))
        shuffled = step.attack(order)
        alone = torch.cat([step.attack(row) for row in torch.arange(count).split(1)])
        torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-8)
        torch.testing.assert_close(alone, whole, rtol=0, atol=1e-8)
        assert float((threat.distance(whole, step.x) - step.radius).max()) <= 1e-6
        assert bool(((whole >= 0) & (whole <= 1)).all())
        assert torch.equal(whole[step.y == 0], step.x[step.y == 0])  # whose radius is 0
