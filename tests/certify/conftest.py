"""Linear models under noise, about which everything is known, and small images for them."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from classwise import ClassData
from classwise.models import Linear


@pytest.fixture
def linear() -> Callable[..., nn.Sequential]:
    """A linear model on 1x4x4 images: ``linear(classes, seed)``."""

    def make(classes: int = 4, seed: int = 0) -> nn.Sequential:
        torch.manual_seed(seed)
        model = Linear().build(classes, (1, 4, 4))
        with torch.no_grad():
            model[1].bias.copy_(-model[1].weight.sum(1) / 2)  # the grey image is on every border
        return model.eval()

    return make


@pytest.fixture
def images() -> Callable[..., ClassData]:
    """Images near the grey one, labelled by a model: ``images(model, size, seed)``; a tenth of the labels are wrong."""

    def make(model: nn.Module, size: int = 60, seed: int = 0) -> ClassData:
        x = 0.5 + 0.5 * (torch.rand(size, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) - 0.5)
        with torch.no_grad():
            logits = model(x)
        labels = logits.argmax(1)
        labels[::10] = (labels[::10] + 1) % logits.shape[1]
        return ClassData(x, labels, tuple("abcdefgh"[: logits.shape[1]]), index=torch.arange(size) + 1000)

    return make
