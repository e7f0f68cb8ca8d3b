"""A small network and small images that components are tried on."""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.testing.generators import seeded

SIZE = 6
"""Height and width of the images; each class has two bright pixels of its own, so there may be up to 18."""


def images(n: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 6, 6) float64 in [0, 1], some pixels at its ends, and labels (N,) int64 that go round the classes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = 0.6 * torch.rand(n, SIZE * SIZE, generator=generator, dtype=torch.float64)
    for pixel in (0, 1):
        x[torch.arange(n), 2 * y + pixel] += 0.4
    x[:, -1], x[:, -2] = 0.0, 1.0
    return x.view(n, 1, SIZE, SIZE), y


def network(classes: int) -> nn.Module:
    """A network with BatchNorm in float64, in eval mode, that knows most of these images, but not by a wide margin."""
    return copy.deepcopy(_trained(classes))


@lru_cache(maxsize=4)
def _trained(classes: int) -> nn.Module:
    with seeded(0), torch.enable_grad():
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * SIZE * SIZE, classes),
        ).double()
        x, y = images(16 * classes, classes, seed=1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for _ in range(30):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for parameter in net.parameters():
        parameter.grad = None
    return net.eval()
