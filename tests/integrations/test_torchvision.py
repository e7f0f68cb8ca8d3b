"""The torchvision adapter: against a stand-in with its documented functions, and against it where it is installed."""

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import classwise as cw
from classwise.models import Normalized, Resized, Torchvision
from classwise.models.wrapped import innermost
from classwise.progress import Silent

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Network(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.mean((2, 3)))


class OfOneSize(Network):
    image_size = 24


@pytest.fixture
def calls(stand_in: Callable[..., types.ModuleType]) -> list[tuple[str, dict[str, Any]]]:
    """A stand-in after https://docs.pytorch.org/vision/stable/models.html; the list holds the calls of get_model."""
    made: list[tuple[str, dict[str, Any]]] = []
    networks = {"convnet": Network, "vit": OfOneSize}
    preset = types.SimpleNamespace(
        crop_size=[24], mean=list(MEAN), std=list(STD), interpolation=types.SimpleNamespace(value="bicubic")
    )
    weights = types.SimpleNamespace(meta={"categories": ["x"] * 1000, "min_size": (6, 6)}, transforms=lambda: preset)

    def get_model(name: str, **options: Any) -> nn.Module:
        made.append((name, options))
        return networks[name](options["num_classes"])

    models = stand_in(
        "torchvision.models",
        list_models=lambda module: list(networks),
        get_model_weights=lambda name: types.SimpleNamespace(DEFAULT=weights),
        get_model=get_model,
    )
    stand_in("torchvision", models=models)
    return made


def test_a_fresh_network_takes_the_images_as_large_as_they_are(calls: list[Any]):
    net = Torchvision(architecture="convnet").build(5, (3, 8, 8))
    assert calls == [("convnet", {"weights": None, "num_classes": 5})]
    assert isinstance(net, Normalized)
    assert isinstance(net.net, Network)
    assert torch.allclose(net.mean.flatten(), torch.tensor(MEAN))
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize(
    ("fields", "classes", "side"),
    [
        ({"architecture": "vit"}, 5, 8),
        ({"architecture": "convnet"}, 5, 5),
        ({"architecture": "convnet", "pretrained": True}, 1000, 8),
    ],
)
def test_images_are_resized_where_the_network_needs_it(calls: list[Any], fields: Any, classes: int, side: int):
    net = Torchvision(**fields).build(classes, (3, side, side))
    assert (net.net.size, net.net.interpolation) == ((24, 24), "bicubic")
    assert (calls[0][1]["weights"] is None) == ("pretrained" not in fields)


def test_what_it_cannot_do_is_refused(calls: list[Any]):
    with pytest.raises(ValueError, match=r"no classifier 'convent': did you mean 'convnet'"):
        Torchvision(architecture="convent").build(5, (3, 8, 8))
    with pytest.raises(ValueError, match="take 3 channels and the images have 1"):
        Torchvision(architecture="convnet").build(5, (1, 8, 8))
    with pytest.raises(ValueError, match=r"weights of 'convnet' tell 1000 classes apart and the data has 10"):
        Torchvision(architecture="convnet", pretrained=True).build(10, (3, 8, 8))
    assert not calls


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "side", "resizes"), [("resnet18", 32, False), ("squeezenet1_1", 16, True), ("vit_b_32", 32, True)]
)
def test_real_networks_are_audited(real: Callable[[str], Any], name: str, side: int, resizes: bool):
    real("torchvision")
    torch.manual_seed(0)
    net = Torchvision(architecture=name).build(4, (3, side, side)).eval()
    assert torch.allclose(net.std.flatten(), torch.tensor(STD))
    assert isinstance(net.net, Resized) == resizes
    assert type(innermost(net)).__module__.startswith("torchvision.models.")
    data = cw.ClassData(torch.rand(4, 3, side, side), torch.arange(4), ("a", "b", "c", "d"))
    result = cw.audit(net, data, attacks="pgd-1", batch_size=8, progress=Silent())
    assert len(result.outcomes.label) == 4


@pytest.mark.filterwarnings("ignore")
def test_the_real_package_refuses_with_us(real: Callable[[str], Any]):
    real("torchvision")
    with pytest.raises(ValueError, match="no classifier 'resnet180': did you mean"):
        Torchvision(architecture="resnet180").build(4, (3, 32, 32))
    with pytest.raises(ValueError, match="tell 1000 classes apart and the data has 4"):
        Torchvision(architecture="resnet18", pretrained=True).build(4, (3, 32, 32))
