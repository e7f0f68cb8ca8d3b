"""A toy problem on which a run takes a fraction of a second."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from classwise import ClassData, Dataset, Run, TrainConfig, linf, train
from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.data import Split
from classwise.models import Linear
from classwise.progress import Silent
from classwise.training import Hardware
from classwise.training.optimizer import SGD


def make_data(classes: int = 3, per_class: int = 16, seed: int = 0, **fields: Any) -> ClassData:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes * per_class) % classes
    pattern = torch.rand(classes, 1, 4, 4, generator=torch.Generator().manual_seed(99))
    images = 0.4 * pattern[labels] + 0.6 * torch.rand(len(labels), 1, 4, 4, generator=generator)
    return ClassData(images, labels, tuple(f"class {i}" for i in range(classes)), **fields)


def make_config(**changes: Any) -> TrainConfig:
    base = TrainConfig(
        split=Split(at_least=4),
        model=Linear(),
        threat=linf("0.1"),
        adversary=PGD(steps=2, relative_step=0.5),
        validation_attack=PGD(steps=2, relative_step=0.5, stop_when_fooled=True),
        optimizer=SGD(lr=0.1),
        epochs=2,
        batch_size=8,
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    return replace(base, **changes)


def no_test_images() -> ClassData:
    raise AssertionError("the test images were read")


@pytest.fixture
def toy_data() -> Callable[..., ClassData]:
    """Noisy 4x4 patterns: ``toy_data(classes=3, per_class=16, seed=0, **fields of ClassData)``."""
    return make_data


@pytest.fixture
def toy_config() -> Callable[..., TrainConfig]:
    """A configuration for them: ``toy_config(**fields)``."""
    return make_config


@pytest.fixture
def toy_run() -> Callable[..., Run]:
    """Train on them: ``toy_run(out, data=None, network=None, progress=None, **fields)``; test images raise."""

    def run(out: Any, data: ClassData | None = None, network: Any = None, progress: Any = None, **changes: Any) -> Run:
        dataset = Dataset("toy", train=data or make_data(), test=no_test_images)
        return train(make_config(**changes), out, data=dataset, network=network, progress=progress or Silent())

    return run
