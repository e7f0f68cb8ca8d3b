"""Networks on the digits that are trained once, in seconds, and the models with faults built on them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import classwise as cw
from classwise.attacks import PGD
from classwise.evaluation.plan import AuditPlan, plan_audit
from classwise.models import ModelBuilder, SmallCNN, SmallViT
from classwise.randomness import KeyedNoise

RADIUS = "0.15"


def fitted(
    builder: ModelBuilder,
    data: cw.ClassData,
    radius: str = "",
    seed: int = 0,
    rate: float = 2e-3,
    epochs: int = 8,
    prepare: Callable[[Tensor], Tensor] = lambda x: x,
) -> nn.Module:
    """A network trained by Adam, with three steps of PGD where a radius is given; in eval mode."""
    torch.manual_seed(seed)
    net = builder.build(data.num_classes, data.shape)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    attack = PGD(steps=3, relative_step=0.6)
    for epoch in range(epochs):
        for rows in torch.split(torch.randperm(len(data)), 64):
            x, y = data.batch(rows)
            if radius:
                x = attack(net, x, y, threat=cw.linf(radius), noise=KeyedNoise(epoch, data.index[rows]))
            loss = F.cross_entropy(net(prepare(x)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


@pytest.fixture(scope="session")
def defended() -> ModuleType:
    """The models with faults."""
    path = Path(__file__).with_name("defended.py")
    spec = importlib.util.spec_from_file_location("defended", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def digits() -> cw.Dataset:
    return cw.data.load("digits")


@pytest.fixture(scope="session")
def images(digits: cw.Dataset) -> cw.ClassData:
    """Test images, 58 or more of each digit."""
    return digits.test


@pytest.fixture(scope="session")
def fit(digits: cw.Dataset) -> Callable[..., nn.Module]:
    """Train a small CNN: ``fit(radius="", seed=0, prepare=lambda x: x, …)``."""
    return lambda **settings: fitted(SmallCNN(width=16, hidden=64), digits.train, **settings)


@pytest.fixture(scope="session")
def natural(fit: Callable[..., nn.Module]) -> nn.Module:
    return fit()


@pytest.fixture(scope="session")
def robust(fit: Callable[..., nn.Module]) -> nn.Module:
    return fit(radius=RADIUS)


@pytest.fixture(scope="session")
def transformer(digits: cw.Dataset) -> nn.Module:
    return fitted(SmallViT(patch_size=2, width=32, depth=2), digits.train, epochs=12)


@pytest.fixture(scope="session")
def plan(images: cw.ClassData) -> Callable[..., AuditPlan]:
    """An audit of the test images: ``plan(threats=…, attacks=…)``."""

    def make(data: cw.ClassData = images, **fields: object) -> AuditPlan:
        return plan_audit(data, **{"model": "a model", "threats": [cw.linf(RADIUS)], **fields})

    return make
