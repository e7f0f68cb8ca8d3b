"""The world in which published implementations were run: one small network, its data and its noise, in float64."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Arrays = dict[str, Tensor]


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
