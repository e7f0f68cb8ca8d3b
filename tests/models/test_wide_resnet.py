"""Wide residual networks: depth and count, wiring against plain functions, and the sub-block that no image passes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise import registry
from classwise.averaging import StepEMA
from classwise.configuration import from_plain, to_plain
from classwise.models import ModelBuilder, WideResNet
from classwise.models.facts import count_parameters


def closed_form(depth: int, k: int, classes: int, channels: int) -> int:
    """Parameters of stem, three stages, last norm and head."""
    blocks = (depth - 2) // 6
    count, entering = 9 * channels * 16, 16
    for stage in range(3):
        width = 16 * k * 2**stage
        for _ in range(blocks):
            count += 2 * entering + 9 * entering * width + 2 * width + 9 * width**2
            count += entering * width if entering != width else 0
            entering = width
    return count + 2 * entering + entering * classes + classes


@pytest.mark.parametrize(
    ("depth", "k", "classes", "channels"),
    [(28, 10, 10, 3), (34, 10, 100, 3), (34, 20, 10, 1), (10, 1, 2, 1), (16, 3, 7, 4)],
)
def test_parameters_are_those_of_the_closed_form(depth: int, k: int, classes: int, channels: int) -> None:
    builder = WideResNet(depth=depth, widen=k)
    assert count_parameters(builder, classes, (channels, 32, 32)) == closed_form(depth, k, classes, channels)


@pytest.mark.parametrize("depth", [10, 28, 34, 14, 32])
def test_the_depth_counts_layers_with_or_without_those_of_the_shortcuts(depth: int) -> None:
    """6n+4: stem, 6n convolutions and the projections of three stages; 6n+2: stem, 6n convolutions and the head."""
    with torch.device("meta"):
        model = WideResNet(depth=depth, widen=2).build(10, (3, 32, 32))
    sides = [each.kernel_size[0] for each in model.modules() if isinstance(each, nn.Conv2d)]
    projections, head = 3, 1
    assert sides.count(1) == projections
    assert depth == sides.count(3) + (projections if depth % 6 == 4 else head)


def test_depth_32_is_depth_34() -> None:
    torch.manual_seed(0)
    one = WideResNet(depth=14, widen=1).build(10, (3, 32, 32)).state_dict()
    torch.manual_seed(0)
    other = WideResNet(depth=16, widen=1).build(10, (3, 32, 32)).state_dict()
    assert list(one) == list(other)
    assert all(torch.equal(one[key], other[key]) for key in one)


def by_hand(weights: dict[str, Tensor], x: Tensor, blocks: int) -> Tensor:
    """The whole network in plain functions, in eval mode, from its tensors."""

    def norm_relu(x: Tensor, name: str) -> Tensor:
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale = weights[f"{name}.weight"] / (var + 1e-5).sqrt()
        shift = weights[f"{name}.bias"] - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    x = F.conv2d(x, weights["stem.weight"], padding=1)
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"stage{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            active = norm_relu(x, f"{name}.norm1")
            y = F.conv2d(active, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(norm_relu(y, f"{name}.norm2"), weights[f"{name}.conv2.weight"], padding=1)
            if f"{name}.project.weight" in weights:
                x = F.conv2d(active, weights[f"{name}.project.weight"], stride=stride)
            x = x + y
    x = norm_relu(x, "norm")
    return x.mean((2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize(("depth", "widen"), [(16, 1), (10, 3)])
def test_wiring_equals_plain_functions(depth: int, widen: int) -> None:
    torch.manual_seed(0)
    model = WideResNet(depth=depth, widen=widen).build(5, (3, 16, 16)).double()
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight), nn.init.normal_(each.bias)
            each.running_mean.normal_(), each.running_var.uniform_(0.5, 2)
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    model.eval()
    assert ("stage1.0.project.weight" in model.state_dict()) == (widen > 1)
    torch.testing.assert_close(model(x), by_hand(model.state_dict(), x, (depth - 4) // 6))


def test_initial_weights_follow_he_over_the_outputs() -> None:
    torch.manual_seed(0)
    model = WideResNet(depth=10, widen=8).build(10, (3, 32, 32))
    for convolution in (model.stage3[0].conv1, model.stage3[0].project):
        fan_out = convolution.kernel_size[0] ** 2 * convolution.out_channels
        assert float(convolution.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.01)
    assert not model.head.bias.any()


# --- the sub-block ---


def pair() -> tuple[nn.Module, nn.Module]:
    networks = []
    for sub_block in (False, True):
        torch.manual_seed(0)
        networks.append(WideResNet(depth=16, widen=2, sub_block=sub_block).build(10, (3, 32, 32)))
    return networks[0], networks[1]


def test_the_sub_block_is_a_copy_of_the_first_stage_in_shape_and_changes_nothing() -> None:
    plain, longer = pair()
    own, more = plain.state_dict(), longer.state_dict()
    extra = {key: each.shape for key, each in more.items() if key not in own}
    assert extra == {
        key.replace("stage1.", "sub_block."): each.shape for key, each in own.items() if key.startswith("stage1.")
    }
    assert all(torch.equal(own[key], more[key]) for key in own)
    x = torch.rand(4, 3, 32, 32)
    assert torch.equal(plain(x), longer(x))


def test_training_does_not_move_the_sub_block_but_averages_it() -> None:
    """No gradient, hence no update, no decay; it counts as parameters and is averaged."""
    plain, longer = pair()
    before = copy.deepcopy(longer.state_dict())
    for model in (plain, longer):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.full((4, 3, 32, 32), 0.5)).square().sum().backward()
            optimizer.step()
    own, more = plain.state_dict(), longer.state_dict()
    assert all(torch.equal(own[key], more[key]) for key in own)
    assert all(torch.equal(more[key], before[key]) for key in more if key.startswith("sub_block."))
    assert not torch.equal(more["stage1.0.conv1.weight"], before["stage1.0.conv1.weight"])
    averaging = StepEMA()
    average = averaging.update(averaging.begin(before), more, {"step": torch.tensor(0), "epoch": torch.tensor(0)})
    assert average.keys() == more.keys()
    assert not any(each.requires_grad for each in longer.sub_block.parameters())  # processes do not wait for gradients


@pytest.mark.parametrize("depth", [4, 7, 9, 11, 12, 30, 33, -2])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"depth {depth} of a WideResNet must be 6n\+4 or 6n\+2"):
        WideResNet(depth=depth)


def test_its_names_find_it() -> None:
    assert registry.get("model", "wide-resnet") is registry.get("model", "wrn") is WideResNet
    assert registry.get("model", "wide-resnet-34-10")() == WideResNet(depth=34, widen=10)
    assert from_plain(ModelBuilder, to_plain(WideResNet(depth=28, sub_block=True))) == WideResNet(
        depth=28, sub_block=True
    )
