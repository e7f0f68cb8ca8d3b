"""A toy problem with a network whose thresholds are off, which a repair without training can mend."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from classwise import ClassData, Dataset, Run, TrainConfig, finetune, linf
from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.data import Split
from classwise.progress import Silent
from classwise.training import SGD, Hardware


def make_data(seed: int = 0, per_class: int = 30, **fields: Any) -> ClassData:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(3 * per_class) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(99))
    images = 0.4 * pattern[labels] + 0.6 * torch.rand(len(labels), 1, 4, 4, generator=draw)
    return ClassData(images, labels, ("a", "b", "c"), **fields)


def off_balance(shift: float = 8.0, seed: int = 0) -> nn.Module:
    """Right about most images but for class a, whose bias is too low."""
    data = make_data(seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data.images), data.labels).backward()
        optimizer.step()
    with torch.no_grad():
        net[-1].bias[0] -= shift
    return net.eval()


def no_test_images() -> ClassData:
    raise AssertionError("the test images were read")


@pytest.fixture
def toy_data() -> Callable[..., ClassData]:
    """``toy_data(seed=0, per_class=30, **fields of ClassData)``: three noisy patterns of 4x4 pixels."""
    return make_data


@pytest.fixture
def network() -> Callable[..., nn.Module]:
    """``network(shift=8.0, seed=0)``: a small network with BatchNorm whose class a is answered too rarely."""
    return off_balance


@pytest.fixture
def config() -> TrainConfig:
    """Two epochs on the toy problem, without a repair."""
    return TrainConfig(
        split=Split(at_least=12),
        threat=linf("0.04"),
        adversary=PGD(steps=2, relative_step=0.5),
        validation_attack=PGD(steps=4, relative_step=0.5, stop_when_fooled=True, start="uniform"),
        optimizer=SGD(lr=0.02),
        epochs=2,
        batch_size=16,
        hardware=Hardware(device="cpu", precision="fp32"),
    )


@pytest.fixture
def repaired(config: TrainConfig) -> Callable[..., Run]:
    """``repaired(out, network, data=None, test=None, progress=None, **fields)``: a run that starts from a network."""

    def run(
        out: Any, network: nn.Module, data: Any = None, test: Any = None, progress: Any = None, **fields: Any
    ) -> Run:
        dataset = Dataset("toy", train=data or make_data(), test=test or no_test_images)
        made = replace(config, **fields)
        return finetune(network, dataset, recipe=made, out=out, progress=progress or Silent())

    return run
