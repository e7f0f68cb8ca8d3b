"""Pre-activation ResNets: shape, parameter count, and their wiring against plain functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise import registry
from classwise.configuration import from_plain, to_plain
from classwise.models import ModelBuilder, PreActResNet18, PreActResNet34, PreActResNet50
from classwise.models.facts import count_parameters
from classwise.models.preact_resnet import PreActBlock, PreActBottleneck


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 9, 13)])
@pytest.mark.parametrize("final_norm", [True, False])
def test_forward_and_backward_for_any_channels_size_and_classes(shape: tuple[int, int, int], final_norm: bool):
    model = PreActResNet18(width=4, final_norm=final_norm).build(7, shape)
    x = torch.rand(4, *shape, requires_grad=True)
    logits = model(x)
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())


def closed_form(w: int, classes: int, channels: int, final_norm: bool) -> int:
    """Parameters of a stem, of four stages of two blocks, of the head."""
    count = 9 * channels * w
    entering = w
    for stage in range(4):
        width = w * 2**stage
        first = 2 * entering + 9 * entering * width + 2 * width + 9 * width**2
        project = entering * width if stage else 0
        second = 2 * (2 * width + 9 * width**2)
        count += first + project + second
        entering = width
    return count + (2 * 8 * w if final_norm else 0) + 8 * w * classes + classes


@pytest.mark.parametrize(("final_norm", "expected"), [(False, 11_171_146), (True, 11_172_170)])
def test_the_full_network_has_the_known_number_of_parameters(final_norm: bool, expected: int):
    model = PreActResNet18(final_norm=final_norm).build(10, (3, 32, 32))
    assert closed_form(64, 10, 3, final_norm) == expected
    assert sum(each.numel() for each in model.parameters()) == expected


@pytest.mark.parametrize("final_norm", [False, True])
@pytest.mark.parametrize(("width", "classes", "channels"), [(1, 2, 1), (3, 100, 4), (8, 10, 3)])
def test_every_other_network_has_the_parameters_of_the_closed_form(width, classes, channels, final_norm):
    model = PreActResNet18(width=width, final_norm=final_norm).build(classes, (channels, 8, 8))
    assert sum(each.numel() for each in model.parameters()) == closed_form(width, classes, channels, final_norm)


def test_eighteen_layers_and_four_sizes():
    model = PreActResNet18(width=2).build(10, (3, 32, 32))
    layers = [each for each in model.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    projections = [each for each in layers if isinstance(each, nn.Conv2d) and each.kernel_size == (1, 1)]
    assert len(layers) - len(projections) == 18
    assert len(projections) == 3
    sizes = []
    for stage in (model.stage1, model.stage2, model.stage3, model.stage4):
        stage.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    model(torch.rand(2, 3, 32, 32))
    assert sizes == [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]


def by_hand(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The whole network in plain functions, in eval mode, from its tensors."""

    def norm_relu(x: Tensor, name: str) -> Tensor:
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale = weights[f"{name}.weight"] / (var + 1e-5).sqrt()
        shift = weights[f"{name}.bias"] - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    x = F.conv2d(x, weights["stem.weight"], padding=1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"stage{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            active = norm_relu(x, f"{name}.norm1")
            if f"{name}.project.weight" in weights:
                x = F.conv2d(active, weights[f"{name}.project.weight"], stride=stride)
            y = F.conv2d(active, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            x = x + F.conv2d(norm_relu(y, f"{name}.norm2"), weights[f"{name}.conv2.weight"], padding=1)
    if "norm.weight" in weights:
        x = norm_relu(x, "norm")
    return x.mean((2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize("final_norm", [True, False])
def test_wiring_equals_plain_functions(final_norm: bool):
    torch.manual_seed(0)
    model = PreActResNet18(width=3, final_norm=final_norm).build(5, (3, 16, 16)).double()
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight), nn.init.normal_(each.bias)
            each.running_mean.normal_(), each.running_var.uniform_(0.5, 2)
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    model.eval()
    assert ("norm.weight" in model.state_dict()) == final_norm
    torch.testing.assert_close(model(x), by_hand(model.state_dict(), x))


def test_a_block_that_keeps_the_shape_adds_to_its_raw_input():
    block = PreActBlock(4, 4, stride=1).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)  # negative values survive: the identity is not activated
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_it_is_a_component():
    assert registry.get("model", "preact-resnet18") is PreActResNet18
    builder = PreActResNet18(final_norm=False, width=16)
    assert to_plain(builder) == {"name": "preact-resnet18", "final_norm": False, "width": 16}
    assert from_plain(ModelBuilder, to_plain(builder)) == builder


@pytest.mark.parametrize("width", [0, -3])
def test_a_width_below_one_is_refused(width: int):
    with pytest.raises(ValueError, match=f"width {width} .* at least 1"):
        PreActResNet18(width=width)


# --- 34 and 50 layers ---


@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize(("kind", "expansion"), [(PreActResNet34, 1), (PreActResNet50, 4)])
@pytest.mark.parametrize(("w", "classes", "channels"), [(64, 10, 3), (3, 200, 1)])
def test_deeper_networks_have_the_parameters_of_their_closed_form(kind, expansion, w, classes, channels, final_norm):
    count, entering = 9 * channels * w, w
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = w * 2**stage
        leaving = expansion * width
        for block in range(blocks):
            if kind is PreActResNet50:
                count += 2 * (entering + width + width) + entering * width + 9 * width**2 + width * leaving
            else:
                count += 2 * (entering + width) + 9 * entering * width + 9 * width**2
            count += entering * leaving if entering != leaving or (stage and block == 0) else 0
            entering = leaving
    count += (2 * entering if final_norm else 0) + entering * classes + classes
    assert count_parameters(kind(width=w, final_norm=final_norm), classes, (channels, 32, 32)) == count


@pytest.mark.parametrize(("kind", "depth"), [(PreActResNet34, 34), (PreActResNet50, 50)])
def test_the_name_counts_the_layers(kind, depth: int):
    model = kind(width=1).build(10, (3, 8, 8))
    layers = [name for name, each in model.named_modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    assert sum("project" not in name for name in layers) == depth
    assert sum("project" in name for name in layers) == (4 if depth == 50 else 3)


@pytest.mark.parametrize(("channels", "stride"), [(3, 1), (8, 1), (8, 2), (5, 2)])
def test_a_bottleneck_equals_plain_functions(channels: int, stride: int):
    torch.manual_seed(0)
    block = PreActBottleneck(channels, 2, stride).double().eval()
    for each in block.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight), nn.init.normal_(each.bias)
            each.running_mean.normal_(), each.running_var.uniform_(0.5, 2)
    x = torch.randn(2, channels, 7, 6, dtype=torch.float64)

    def norm_relu(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        shift = norm.bias - norm.running_mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    active = norm_relu(x, block.norm1)
    y = norm_relu(F.conv2d(active, block.conv1.weight), block.norm2)
    y = F.conv2d(y, block.conv2.weight, stride=stride, padding=1)
    y = F.conv2d(norm_relu(y, block.norm3), block.conv3.weight)
    assert (block.project is None) == (channels == 8 and stride == 1)
    shortcut = x if block.project is None else F.conv2d(active, block.project.weight, stride=stride)
    torch.testing.assert_close(block(x), y + shortcut)


@pytest.mark.parametrize("kind", [PreActResNet34, PreActResNet50])
def test_deeper_ones_are_components_with_the_same_fields(kind):
    name = kind.__name__.lower().replace("preactresnet", "preact-resnet")
    assert registry.get("model", name) is kind
    assert to_plain(kind(final_norm=False)) == {"name": name, "final_norm": False, "width": 64}
    with pytest.raises(ValueError, match=r"width 0 .* at least 1"):
        kind(width=0)
