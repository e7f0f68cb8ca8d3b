"""ResNet-18, 34 and 50 for small images: counts, and wiring against plain functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise import registry
from classwise.configuration import from_plain, to_plain
from classwise.models import ModelBuilder, ResNet18, ResNet34, ResNet50
from classwise.models.facts import count_parameters

BLOCKS = {ResNet18: (2, 2, 2, 2), ResNet34: (3, 4, 6, 3), ResNet50: (3, 4, 6, 3)}


def closed_form(kind: type[ModelBuilder], w: int, classes: int, channels: int) -> int:
    """Parameters of stem, four stages and head."""
    expansion = 4 if kind is ResNet50 else 1
    count, entering = 9 * channels * w + 2 * w, w
    for stage, blocks in enumerate(BLOCKS[kind]):
        width = w * 2**stage
        leaving = expansion * width
        for block in range(blocks):
            if kind is ResNet50:
                count += entering * width + 9 * width**2 + width * leaving + 2 * (width + width + leaving)
            else:
                count += 9 * entering * width + 9 * width**2 + 2 * (width + width)
            if entering != leaving or (stage and block == 0):
                count += entering * leaving + 2 * leaving
            entering = leaving
    return count + entering * classes + classes


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize(("width", "classes", "channels"), [(64, 10, 3), (64, 100, 3), (3, 2, 1), (8, 200, 4)])
def test_parameters_are_those_of_the_closed_form(
    kind: type[ModelBuilder], width: int, classes: int, channels: int
) -> None:
    expected = closed_form(kind, width, classes, channels)
    assert count_parameters(kind(width=width), classes, (channels, 32, 32)) == expected


@pytest.mark.parametrize(("kind", "depth"), [(ResNet18, 18), (ResNet34, 34), (ResNet50, 50)])
def test_the_name_counts_the_layers_and_four_sizes(kind: type[ModelBuilder], depth: int) -> None:
    with torch.device("meta"):
        model, x = kind(width=2).build(10, (3, 32, 32)), torch.empty(2, 3, 32, 32)
    layers = [name for name, each in model.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    assert sum("project" not in name for name in layers) == depth
    sizes = []
    for stage in (model.stage1, model.stage2, model.stage3, model.stage4):
        stage.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    model(x)
    expansion = 4 if depth == 50 else 1
    assert sizes == [(2 * expansion, 32, 32), (4 * expansion, 16, 16), (8 * expansion, 8, 8), (16 * expansion, 4, 4)]


def by_hand(weights: dict[str, Tensor], x: Tensor, kind: type[ModelBuilder]) -> Tensor:
    """The whole network in plain functions, in eval mode, from its tensors."""

    def conv_norm(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        kernel = weights[f"{conv}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-5).sqrt()
        shift = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = conv_norm(x, "stem", "stem_norm").clamp(min=0)
    for stage, blocks in enumerate(BLOCKS[kind], start=1):
        for block in range(blocks):
            name, stride = f"stage{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            if kind is ResNet50:
                y = conv_norm(x, f"{name}.conv1", f"{name}.norm1").clamp(min=0)
                y = conv_norm(y, f"{name}.conv2", f"{name}.norm2", stride).clamp(min=0)
                y = conv_norm(y, f"{name}.conv3", f"{name}.norm3")
            else:
                y = conv_norm(x, f"{name}.conv1", f"{name}.norm1", stride).clamp(min=0)
                y = conv_norm(y, f"{name}.conv2", f"{name}.norm2")
            if f"{name}.project.weight" in weights:
                x = conv_norm(x, f"{name}.project", f"{name}.project_norm", stride)
            x = (x + y).clamp(min=0)
    return x.mean((2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize("kind", BLOCKS)
def test_wiring_equals_plain_functions(kind: type[ModelBuilder]) -> None:
    torch.manual_seed(0)
    model = kind(width=3).build(5, (3, 16, 16)).double().eval()
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.weight, -1, 1), nn.init.normal_(each.bias)
            each.running_mean.normal_(), each.running_var.uniform_(0.5, 2)
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(model(x), by_hand(model.state_dict(), x, kind))


@pytest.mark.parametrize(("kind", "name"), [(ResNet18, "resnet18"), (ResNet34, "resnet34"), (ResNet50, "resnet50")])
def test_it_is_a_component(kind: type[ModelBuilder], name: str) -> None:
    assert registry.get("model", name) is kind
    assert to_plain(kind(width=16)) == {"name": name, "width": 16}
    assert from_plain(ModelBuilder, to_plain(kind(width=16))) == kind(width=16)
