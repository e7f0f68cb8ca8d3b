"""ResNets for small images: shape, shortcut, parameter count, and a published checkpoint."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classwise import registry
from classwise.models import ResNetCIFAR, load_foreign, mode
from classwise.models.resnet_cifar import ResidualBlock


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 7, 11), (3, 1, 1)])
@pytest.mark.parametrize("depth", [8, 20])
def test_forward_and_backward_for_any_channels_size_and_classes(shape: tuple[int, int, int], depth: int):
    model = ResNetCIFAR(depth=depth).build(7, shape)
    x = torch.rand(4, *shape, requires_grad=True)
    logits = model(x)
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())


@pytest.mark.parametrize(("depth", "published"), [(20, 0.27e6), (32, 0.46e6), (56, 0.85e6), (110, 1.7e6)])
def test_parameters_are_as_many_as_the_paper_says(depth: int, published: float):
    """Closed form over the layers; rounded as in Table 6 of the paper."""
    n = (depth - 2) // 6
    convolutions = 9 * (3 * 16 + 2 * n * 16**2 + 16 * 32 + (2 * n - 1) * 32**2 + 32 * 64 + (2 * n - 1) * 64**2)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    model = ResNetCIFAR(depth=depth).build(10, (3, 32, 32))
    count = sum(each.numel() for each in model.parameters())
    assert count == convolutions + norms + 64 * 10 + 10
    assert count == pytest.approx(published, rel=0.03)
    assert sum(isinstance(each, nn.Conv2d | nn.Linear) for each in model.modules()) == depth


def test_option_a_takes_every_second_pixel_and_appends_zero_channels():
    block = ResidualBlock(3, 8).eval()
    for convolution in (block.conv1, block.conv2):
        nn.init.zeros_(convolution.weight)
    x = torch.rand(2, 3, 7, 6)
    with torch.no_grad():
        y = block(x)
    assert y.shape == (2, 8, 4, 3)
    for row in range(4):
        for column in range(3):
            torch.testing.assert_close(y[:, :3, row, column], x[:, :, 2 * row, 2 * column], rtol=0, atol=0)
    assert not y[:, 3:].any()


def test_a_block_that_keeps_the_shape_has_an_identity_beside_it():
    block = ResidualBlock(4, 4).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_the_place_of_the_zeros_matters_only_up_to_the_order_of_channels():
    """With permuted weights, a network whose shortcut puts zeros before and after computes the same."""
    torch.manual_seed(0)
    block = ResidualBlock(4, 8).eval()
    order = torch.tensor([4, 5, 0, 1, 2, 3, 6, 7])  # zeros at 0, 1, 6, 7
    x = torch.rand(2, 4, 6, 6)

    def other(x: Tensor) -> Tensor:
        y = block.norm1(block.conv1(x)).relu()
        y = block.norm2(block.conv2(y))[:, order]
        return (y + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))).relu()

    torch.testing.assert_close(other(x), block(x)[:, order])


def test_initial_weights_follow_he():
    torch.manual_seed(0)
    model = ResNetCIFAR(depth=110).build(10, (3, 32, 32))
    weights = torch.cat([block.conv2.weight.flatten() for block in model.stage3]).detach()
    assert float(weights.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.01)
    assert float(weights.mean()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("depth", [2, 18, 19, 21, 0, -4])
def test_other_depths_are_refused(depth: int):
    with pytest.raises(ValueError, match=rf"depth {depth} .* must be 6n\+2"):
        ResNetCIFAR(depth=depth)


def test_both_names_find_it():
    assert registry.get("model", "resnet20") is registry.get("model", "resnet-cifar") is ResNetCIFAR
    assert ResNetCIFAR().depth == 20


# --- the published checkpoints (inputs in [0, 1], no normalisation) ---


def published(shared: Path, name: str) -> nn.Module:
    model = ResNetCIFAR().build(10, (3, 32, 32))
    load_foreign(model, shared / "data" / "checkpoints" / f"cifar10_resnet20_{name}.pth")
    return model


def images(shared: Path, part: str) -> tuple[Tensor, Tensor]:
    spec = importlib.util.spec_from_file_location("read_cifar10", shared / "data" / "read_cifar10.py")
    assert spec is not None
    assert spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    x, y, _, _ = reader.read_part(shared / "data" / "cifar10" / f"{part}.npz")
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).float() / 255, torch.from_numpy(y)


@torch.no_grad()
def correct(model: nn.Module, x: Tensor, y: Tensor) -> int:
    with mode(model, training=False):
        return sum(
            int((model(part).argmax(1) == label).sum()) for part, label in zip(x.split(500), y.split(500), strict=True)
        )


def test_a_published_checkpoint_is_as_accurate_as_published_on_2000_images(shared: Path):
    """88.03 % and 91.71 % on all test images; three standard errors of 2,000 images are about 2 points."""
    x, y = images(shared, "test_a_200")
    assert len(y) == 2000
    assert correct(published(shared, "pgd_at"), x, y) / 2000 == pytest.approx(0.8803, abs=0.02)
    assert correct(published(shared, "natural"), x, y) / 2000 == pytest.approx(0.9171, abs=0.02)


@pytest.mark.slow
def test_a_published_checkpoint_is_exactly_as_accurate_as_published(shared: Path):
    a, b = images(shared, "test_a_200"), images(shared, "test_b_800")
    x, y = torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])
    assert correct(published(shared, "pgd_at"), x, y) == 8803
    assert correct(published(shared, "natural"), x, y) == 9171
