"""A linear model with its threat, and a source of noise that gives what it was told."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class GivenNoise:
    """Hands out stored draws in turn, whatever kind is asked for."""

    def __init__(self, *draws: Tensor) -> None:
        self.draws = list(draws)

    def uniform(self, like: Tensor) -> Tensor:
        return self.draws.pop(0).to(like).view(like.shape)

    normal = uniform


@pytest.fixture
def given_noise() -> Callable[..., GivenNoise]:
    return GivenNoise


@pytest.fixture
def linear() -> nn.Sequential:
    """Five classes on 2x3x3 images, float64."""
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(18, 5)).double()


@pytest.fixture
def images(linear: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Forty images in [0, 1], half of them touching the box, with the labels the model gives them (four are wrong)."""
    generator = torch.Generator().manual_seed(8)
    x = torch.rand(40, 2, 3, 3, generator=generator, dtype=torch.float64)
    x[::2] = (1.6 * x[::2] - 0.3).clamp(0, 1)
    y = linear(x).argmax(1)
    y[:4] = (y[:4] + 1) % 5
    return x, y
