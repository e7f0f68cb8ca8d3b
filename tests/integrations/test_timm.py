"""The timm adapter: against a stand-in with timm's documented functions, and against timm where it is installed."""

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import classwise as cw
from classwise.models import Normalized, Resized, Timm
from classwise.models.wrapped import innermost
from classwise.progress import Silent

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def timm(stand_in: Callable[..., types.ModuleType]) -> list[tuple[str, dict[str, Any]]]:
    """A stand-in after https://huggingface.co/docs/timm/reference/models; the list holds the calls of create_model."""
    calls: list[tuple[str, dict[str, Any]]] = []
    known = {"convnet": False, "vit": True}

    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append((name, options))
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * options["in_chans"], options["num_classes"])
        )

    def resolve_model_data_config(model: nn.Module) -> dict[str, Any]:
        return {"input_size": (3, 24, 20), "interpolation": "bicubic", "mean": MEAN, "std": STD, "crop_pct": 0.9}

    stand_in(
        "timm",
        __version__="0",
        is_model=known.__contains__,
        get_pretrained_cfg=lambda name: types.SimpleNamespace(num_classes=1000, fixed_input_size=known[name]),
        create_model=create_model,
        data=types.SimpleNamespace(resolve_model_data_config=resolve_model_data_config),
    )
    return calls


def test_a_fresh_network_takes_the_images_as_large_as_they_are(timm: list[Any]):
    net = Timm(architecture="convnet").build(5, (3, 8, 8))
    assert timm == [("convnet", {"pretrained": False, "num_classes": 5, "in_chans": 3})]
    assert isinstance(net, Normalized)
    assert not isinstance(net.net, Resized)
    assert torch.allclose(net.mean.flatten(), torch.tensor(MEAN))
    assert torch.allclose(net.std.flatten(), torch.tensor(STD))
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)


def test_a_network_of_one_size_resizes(timm: list[Any]):
    net = Timm(architecture="vit").build(5, (3, 8, 8))
    assert (net.net.size, net.net.interpolation) == ((24, 20), "bicubic")
    assert timm[0][1]["pretrained"] is False


def test_pretrained_weights_come_with_their_size_and_classes(timm: list[Any]):
    net = Timm(architecture="convnet", pretrained=True).build(1000, (3, 8, 8))
    assert timm == [("convnet", {"pretrained": True, "num_classes": 1000, "in_chans": 3})]
    assert net.net.size == (24, 20)
    with pytest.raises(ValueError, match=r"weights of 'convnet' tell 1000 classes apart and the data has 10"):
        Timm(architecture="convnet", pretrained=True).build(10, (3, 8, 8))
    assert len(timm) == 1  # refused before anything is downloaded


def test_one_channel_needs_a_normalisation(timm: list[Any]):
    with pytest.raises(ValueError, match=r"has 3 channels and the images have 1"):
        Timm(architecture="convnet").build(5, (1, 8, 8))
    net = Timm(architecture="convnet", mean=(0.5,), std=(0.5,)).build(5, (1, 8, 8))
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize("name", ["resnet", "hf-hub:timm/resnet18.a1_in1k"])
def test_unknown_names_are_refused(timm: list[Any], name: str):
    with pytest.raises(ValueError, match=rf"timm 0 has no network '{name}': timm\.list_models\(\)"):
        Timm(architecture=name).build(5, (3, 8, 8))
    assert not timm


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "resizes"), [("resnet18", False), ("resnet18.a1_in1k", False), ("vit_tiny_patch16_224", True)]
)
def test_real_networks_are_audited(real: Callable[[str], Any], name: str, resizes: bool):
    real("timm")
    torch.manual_seed(0)
    net = Timm(architecture=name).build(4, (3, 32, 32)).eval()
    assert torch.allclose(net.std.flatten(), torch.tensor(STD if "resnet" in name else (0.5,) * 3))
    assert isinstance(net.net, Resized) == resizes
    assert type(innermost(net)).__module__.startswith("timm.models.")
    data = cw.ClassData(torch.rand(8, 3, 32, 32), torch.arange(8) % 4, ("a", "b", "c", "d"))
    result = cw.audit(net, data, attacks="pgd-2", batch_size=8, progress=Silent())
    assert len(result.outcomes.label) == 8


@pytest.mark.filterwarnings("ignore")
def test_real_timm_knows_no_other_names(real: Callable[[str], Any]):
    real("timm")
    with pytest.raises(ValueError, match="has no network 'resnet18000'"):
        Timm(architecture="resnet18000").build(4, (3, 32, 32))
    with pytest.raises(ValueError, match="tell 1000 classes apart and the data has 4"):
        Timm(architecture="resnet18", pretrained=True).build(4, (3, 32, 32))
