"""Normalisation as a layer, and the guard against doing it twice."""

import types

import pytest
import torch
from torch import Tensor, nn

from classwise.models import MLP, Normalized, PreActResNet18, Resized
from classwise.models.facts import ZOO
from classwise.models.named import network_named
from classwise.models.normalized import normalising_part

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Buffers(nn.Module):
    """As RobustBench and the Madry lab keep them."""

    def __init__(self, mean: str, std: str) -> None:
        super().__init__()
        self.register_buffer(mean, torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer(std, torch.tensor(STD).view(1, 3, 1, 1))


class Attributes(nn.Module):
    """As torchvision.transforms.Normalize (lists) and many networks (tensors) keep them."""

    def __init__(self, mean: object, std: object) -> None:
        super().__init__()
        self.mean, self.std = mean, std


class Parameters(nn.Module):
    """Learned, or meant to be left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mu, self.sigma = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))


def net() -> nn.Module:
    return MLP(hidden=(4,)).build(2, (3, 4, 4))


def test_it_is_the_formula() -> None:
    x = torch.rand(2, 3, 4, 4)
    expected = torch.stack([(x[:, i] - MEAN[i]) / STD[i] for i in range(3)], dim=1)
    torch.testing.assert_close(Normalized(nn.Identity(), MEAN, STD)(x), expected)


TWICE = {
    "itself": (lambda: Normalized(net(), MEAN, STD), "this network (Normalized)"),
    "behind a resize": (
        lambda: Resized(Normalized(net(), MEAN, STD), (4, 4)),
        "the part 'net' of this network (Normalized)",
    ),
    "in a sequence": (lambda: nn.Sequential(nn.Identity(), Normalized(net(), MEAN, STD)), "the part '1' of this"),
    "buffers": (lambda: nn.Sequential(Buffers("mean", "std"), net()), "the part '0' of this network (Buffers)"),
    "the madry lab": (lambda: nn.Sequential(Buffers("new_mean", "new_std"), net()), "(Buffers)"),
    "smoothing": (lambda: nn.Sequential(Buffers("means", "sds"), net()), "(Buffers)"),
    "lists": (lambda: nn.Sequential(Attributes(list(MEAN), list(STD)), net()), "(Attributes)"),
    "tensors": (lambda: nn.Sequential(Attributes(torch.tensor(MEAN), torch.tensor(STD)), net()), "(Attributes)"),
    "parameters": (lambda: nn.Sequential(Parameters(), net()), "(Parameters)"),
    "the network": (lambda: Attributes(MEAN, STD), "this network (Attributes)"),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_network_that_normalises_already_is_refused(name: str) -> None:
    make, says = TWICE[name]
    with pytest.raises(ValueError, match="normalising twice would ruin its accuracy") as refused:
        Normalized(make(), MEAN, STD)
    assert says in str(refused.value)


NOT = {
    "a field of noise": lambda: nn.Sequential(Attributes(0.0, 0.1), net()),
    "a mean alone": lambda: nn.Sequential(Attributes(MEAN, None), net()),
    "other lengths": lambda: nn.Sequential(Attributes(torch.zeros(64), torch.ones(64)), net()),
    "a function": lambda: nn.Sequential(Attributes(torch.mean, torch.std), net()),
    "BatchNorm first": lambda: nn.Sequential(nn.BatchNorm2d(3), net()),
    "a residual network": lambda: PreActResNet18(width=2).build(2, (3, 8, 8)),
}


@pytest.mark.parametrize("name", NOT)
def test_what_only_looks_like_it_passes(name: str) -> None:
    assert normalising_part(NOT[name](), 3) is None
    assert isinstance(Normalized(NOT[name](), MEAN, STD), Normalized)


def test_no_network_of_the_zoo_normalises_its_input() -> None:
    for each in ZOO:
        with torch.device("meta"):
            assert normalising_part(network_named(each.word).build(10, (3, 32, 32)), 3) is None


def test_grey_images_have_one_entry() -> None:
    grey = types.SimpleNamespace(mean=(0.5,), std=(0.25,))
    x: Tensor = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(Normalized(nn.Identity(), grey.mean, grey.std)(x), 4 * x - 2)
    with pytest.raises(ValueError, match="normalising twice"):
        Normalized(nn.Sequential(Attributes([0.5], [0.25]), nn.Flatten()), grey.mean, grey.std)
