"""A model that cannot be differentiated: refused by gradient attacks, audited by the one that needs none."""

import numpy as np
import pytest
import torch
from torch import Tensor

import classwise as cw
from classwise.data import ClassData


def frozen(x: Tensor) -> Tensor:
    """Logits of a fixed linear map, computed outside torch."""
    weights = np.random.default_rng(0).normal(size=(12, 3))
    return torch.from_numpy(x.detach().flatten(1).numpy() @ weights).float()


@pytest.fixture
def images() -> ClassData:
    x = torch.rand(9, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return ClassData(x, torch.arange(9) % 3, ("a", "b", "c"))


def test_gradient_attacks_are_refused_with_the_way_out(images: ClassData) -> None:
    with pytest.raises(ValueError, match=r"cannot be differentiated.*square"):
        cw.audit(frozen, images, attacks="pgd-5", precision="exact")


def test_square_attacks_it(images: ClassData) -> None:
    labelled = ClassData(images.images, frozen(images.images).argmax(1), images.class_names)
    assert len(labelled.labels.unique()) == 3
    result = cw.audit(frozen, labelled, attacks="square-100", threat=cw.linf(0.4), precision="exact")
    assert result.mean.value < 0.5
