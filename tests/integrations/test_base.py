"""What the adapters share: missing and broken packages, and where the preprocessing goes."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from classwise.configuration import from_plain, to_plain
from classwise.integrations.base import check_classes, package
from classwise.models import HuggingFace, ModelBuilder, Normalized, Resized, RobustBench, Timm, Torchvision

ALL = [
    (Timm(architecture="resnet18"), "timm", "pip install timm"),
    (Torchvision(architecture="resnet18"), "torchvision", "pip install torchvision"),
    (
        RobustBench(model="Wong2020Fast"),
        "robustbench",
        "pip install git+https://github.com/RobustBench/robustbench.git",
    ),
    (HuggingFace(checkpoint="somewhere"), "transformers", "pip install transformers"),
]


@pytest.mark.parametrize(("builder", "name", "install"), ALL)
def test_a_missing_package_is_named_with_its_command(
    builder: ModelBuilder, name: str, install: str, monkeypatch: pytest.MonkeyPatch
):
    for each in list(sys.modules):
        if each.split(".")[0] == name:
            monkeypatch.delitem(sys.modules, each)
    monkeypatch.setitem(sys.modules, name, None)  # importing it fails, as where it is not installed
    with pytest.raises(ValueError) as caught:
        builder.build(10, (3, 32, 32))
    assert str(caught.value) == f"this network needs the package {name}, which is not installed: {install}"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('operator x::nms does not exist')", "RuntimeError: operator x::nms does not exist"),
        ("import a_package_that_nobody_has", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
    ],
)
def test_a_package_that_fails_to_load_is_no_missing_one(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "broken_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError) as caught:
        package("broken_package", "pip install it")
    assert str(caught.value) == (
        f"the package broken_package is installed but cannot be imported ({says}): "
        f"install a version that matches torch {torch.__version__}, or again with pip install it"
    )


@pytest.mark.parametrize("builder", [each for each, _, _ in ALL])
def test_plain_forms_come_back_without_the_package(builder: ModelBuilder):
    assert from_plain(ModelBuilder, to_plain(builder)) == builder


def test_the_networks_own_preprocessing_goes_inside():
    net = Timm(architecture="x").prepared(nn.Flatten(), (0.5,) * 3, (0.25,) * 3, 3, (4, 4), "bicubic")
    assert isinstance(net, Normalized)
    assert isinstance(net.net, Resized)
    assert (net.net.size, net.net.interpolation) == ((4, 4), "bicubic")
    assert torch.allclose(net(torch.full((2, 3, 8, 8), 0.75)), torch.ones(2, 48))
    plain = nn.Flatten()
    assert Timm(architecture="x").prepared(plain, (), (), 3) is plain


def test_a_normalisation_of_ones_own_comes_first():
    net = Timm(architecture="x", mean=(0.0,), std=(0.5,)).prepared(nn.Flatten(), (0.9,) * 3, (0.9,) * 3, 1)
    assert torch.allclose(net(torch.full((1, 1, 2, 2), 0.5)), torch.ones(1, 4))


def test_a_normalisation_for_other_channels_is_refused():
    with pytest.raises(ValueError, match=r"has 3 channels and the images have 1: give mean and std"):
        Timm(architecture="x").prepared(nn.Flatten(), (0.9,) * 3, (0.9,) * 3, 1)
    with pytest.raises(ValueError, match="belong together"):
        Timm(architecture="x", mean=(0.5,))


def test_pretrained_weights_for_other_classes_are_refused():
    check_classes("resnet18", 10, 10)
    with pytest.raises(ValueError, match=r"weights of 'resnet18' tell 1000 classes apart and the data has 10"):
        check_classes("resnet18", 1000, 10)
