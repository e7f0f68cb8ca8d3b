"""ConvNeXt-tiny: the published count, and its parts against plain functions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise import registry
from classwise.models import ConvNeXtTiny
from classwise.models.convnext import Block, Halved, PixelNorm
from classwise.models.facts import count_parameters


def test_the_published_network_has_the_published_number_of_parameters() -> None:
    """28.6 million in table 9 of the paper; 28,589,128 in torchvision's documentation."""
    assert count_parameters(ConvNeXtTiny(patch_size=4), 1000, (3, 224, 224)) == 28_589_128


def over_channels(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """LayerNorm of (N, C, H, W) over C, written out."""
    mean = x.mean(1, keepdim=True)
    var = (x - mean).square().mean(1, keepdim=True)
    return (x - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def shuffled(module: nn.Module) -> nn.Module:
    for each in module.parameters():
        nn.init.normal_(each)
    return module.double()


def test_the_norm_is_over_the_channels_of_each_pixel() -> None:
    norm, x = shuffled(PixelNorm(4)), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(norm(x), over_channels(x, norm.norm))


def test_a_block_equals_plain_functions() -> None:
    torch.manual_seed(0)
    block, x = shuffled(Block(3)), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    y = torch.cat(
        [
            F.conv2d(x[:, i : i + 1], block.conv1.weight[i : i + 1], block.conv1.bias[i : i + 1], padding=3)
            for i in range(3)
        ],
        dim=1,
    )
    y = over_channels(y, block.norm1)
    first, _, last = block.mlp
    y = torch.einsum("nchw,dc->ndhw", y, first.weight) + first.bias[:, None, None]
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))  # GELU
    y = torch.einsum("nchw,dc->ndhw", y, last.weight) + last.bias[:, None, None]
    torch.testing.assert_close(block(x), x + block.scale[:, None, None] * y)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7)])
def test_halving_norms_and_takes_squares_of_four(height: int, width: int) -> None:
    torch.manual_seed(0)
    halved, x = shuffled(Halved(2, 3)), torch.randn(2, 2, height, width, dtype=torch.float64)
    y = over_channels(x, halved.norm.norm)
    assert halved(x).shape == (2, 3, height // 2, width // 2)
    for row in range(height // 2):
        for column in range(width // 2):
            square = y[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            expected = torch.einsum("nchw,dchw->nd", square, halved.conv.weight) + halved.conv.bias
            torch.testing.assert_close(halved(x)[:, :, row, column], expected)


@pytest.mark.parametrize(("patch_size", "side"), [(1, 32), (2, 32), (4, 64)])
def test_stages_have_their_depths_widths_and_sizes(patch_size: int, side: int) -> None:
    with torch.device("meta"):
        model = ConvNeXtTiny(patch_size=patch_size, width=2).build(10, (3, side, side))
        x = torch.empty(1, 3, side, side)
    stages = [model.stage1, model.stage2, model.stage3, model.stage4]
    assert [sum(isinstance(each, Block) for each in stage) for stage in stages] == [3, 3, 9, 3]
    sizes = []
    for stage in stages:
        stage.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    model(x)
    assert sizes == [(2 * 2**i, side // patch_size // 2**i, side // patch_size // 2**i) for i in range(4)]


def test_it_starts_as_the_paper_says() -> None:
    torch.manual_seed(0)
    model = ConvNeXtTiny().build(10, (3, 32, 32))
    assert float(model.stage4[1].mlp[0].weight.detach().std()) == pytest.approx(0.02, rel=0.01)
    assert all(not each.bias.any() for each in model.modules() if isinstance(each, nn.Conv2d | nn.Linear))
    assert all((each.scale == 1e-6).all() for each in model.modules() if isinstance(each, Block))


def test_its_name_finds_it() -> None:
    assert registry.get("model", "convnext-tiny") is ConvNeXtTiny
