"""Every network of the zoo: any number of classes and channels, gradients everywhere, the same function in every copy."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from classwise.models import (
    CNN3,
    CNN4,
    MLP,
    ConvNeXtTiny,
    Linear,
    ModelBuilder,
    PreActResNet18,
    PreActResNet34,
    PreActResNet50,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNetCIFAR,
    SmallCNN,
    SmallViT,
    TradesCNN,
    ViTSmall,
    ViTTiny,
    WideResNet,
    network_named,
)
from classwise.models.facts import ZOO
from classwise.models.fast_copy import fast_copy
from classwise.models.folding import BATCH_NORMS, folded, same_function
from classwise.models.fused import WithFusedForward
from classwise.training import Hardware, Runtime

CPU = Runtime(Hardware(device="cpu", precision="fp32"))
SMALL: dict[str, ModelBuilder] = {
    "preact-18": PreActResNet18(width=4),
    "preact-18 without norm": PreActResNet18(width=4, final_norm=False),
    "preact-34": PreActResNet34(width=2),
    "preact-50": PreActResNet50(width=2),
    "resnet-18": ResNet18(width=4),
    "resnet-34": ResNet34(width=2),
    "resnet-50": ResNet50(width=2),
    "resnet-cifar": ResNetCIFAR(depth=8),
    "wide": WideResNet(depth=10, widen=1),
    "wide, 6n+2": WideResNet(depth=14, widen=2),
    "wide with sub-block": WideResNet(depth=10, widen=1, sub_block=True),
    "convnext": ConvNeXtTiny(width=8),
    "vit-tiny": ViTTiny(patch_size=4),
    "small-vit": SmallViT(width=16, depth=2, heads=2),
    "cnn3": CNN3(width=4),
    "cnn4": CNN4(width=4),
    "trades-cnn": TradesCNN(),
    "small-cnn": SmallCNN(width=4, hidden=8),
    "mlp": MLP(hidden=(16, 8)),
    "linear": Linear(),
}
"""Each with as few channels as it may have; the networks of twelve attention blocks have one width."""

NORMED = [name for name in SMALL if name.startswith(("preact", "resnet", "wide"))]
SHAPES = [(1, 32, 32), (3, 32, 32), (1, 64, 64), (3, 64, 64), (1, 28, 28)]


def lively(network: nn.Module) -> nn.Module:
    """Statistics as after training, and no layer that starts from zero: each part then shows in the answer."""
    generator = torch.Generator().manual_seed(5)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.0, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
        if name == "head" and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1, generator=generator)
    for name, parameter in network.named_parameters():
        if name.endswith(".scale"):
            nn.init.uniform_(parameter, 0.5, 1.0, generator=generator)
    return network


def made(name: str, classes: int = 10, shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    torch.manual_seed(0)
    return lively(SMALL[name].build(classes, shape))


def images(shape: tuple[int, int, int], n: int = 3) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def test_all_kinds_of_the_zoo_are_below() -> None:
    small = {type(each) for each in SMALL.values()} | {ViTSmall}
    assert small == {type(network_named(each.word)) for each in ZOO}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("name", SMALL)
def test_any_classes_channels_and_size(name: str, classes: int, shape: tuple[int, int, int]) -> None:
    model = made(name, classes, shape).train()
    x = images(shape).requires_grad_()
    logits = model(x)
    assert logits.shape == (3, classes)
    logits.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()
    for key, each in model.named_parameters():
        if key.startswith("sub_block."):
            assert each.grad is None
        else:
            assert each.grad is not None, key
            assert each.grad.isfinite().all(), key
            assert each.grad.any(), key


@pytest.mark.parametrize("name", SMALL)
def test_a_placed_network_computes_what_it_did(name: str) -> None:
    model, x = made(name).eval(), images((3, 32, 32))
    placed = CPU.place(copy.deepcopy(model))
    with torch.no_grad():
        torch.testing.assert_close(placed(CPU.layout(x)), model(x), rtol=1e-4, atol=1e-5)
    assert placed.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("name", SMALL)
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    model, x = made(name).eval(), images((3, 32, 32))
    with torch.no_grad():
        torch.testing.assert_close(model(x[:1]), model(x)[:1], rtol=1e-4, atol=1e-5)
        assert torch.equal(model(x), model(x))
        assert float((model(x)[0] - model(x)[1]).abs().max()) > 0


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_weights(name: str) -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(SMALL[name].build(10, (3, 32, 32)).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("name", SMALL)
def test_the_folded_copy_answers_alike_and_has_its_gradient(name: str) -> None:
    model, x = made(name).eval(), images((3, 32, 32))
    made_copy = folded(model)
    gradients = []
    for each in (model, made_copy):
        point = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(each(point).log_softmax(1)[:, 0].sum(), point)[0])
    assert same_function(model, made_copy, x, 1e-4)
    scale = float(gradients[0].abs().max())
    assert float((gradients[0] - gradients[1]).abs().max()) <= 1e-3 * scale


@pytest.mark.parametrize("name", NORMED)
def test_norms_behind_a_convolution_are_folded_away(name: str) -> None:
    def norms(network: nn.Module) -> int:
        return sum(isinstance(each, BATCH_NORMS) for each in network.modules())

    model = made(name).eval()
    left = norms(folded(model))
    if name.startswith("resnet"):  # every one follows a convolution
        assert left == 0
        return
    # Before activation those at the start of a block and of the head follow a sum; the first follows the stem, and can
    # be folded where the shortcut of its block does not need the stem's output as it is.
    blocks = sum(hasattr(each, "conv1") for key, each in model.named_modules() if not key.startswith("sub_block"))
    assert left == blocks + (model.norm is not None) - (model.stage1[0].project is not None)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", SMALL)
def test_the_copy_that_attacks_search_on_answers_alike(name: str, bf16: bool) -> None:
    model, x = made(name).eval(), images((3, 32, 32), n=6)
    quick, words = fast_copy(model, x, bf16)
    assert words == ("a bf16 copy with BatchNorm folded" if bf16 else "a copy with BatchNorm folded")
    assert same_function(model, quick, x, 0.05 if bf16 else 1e-4)
    if name in NORMED and not bf16:
        assert isinstance(quick, WithFusedForward)


def test_initial_logits_are_of_a_size_to_train_from() -> None:
    """A wrong start shows as logits that explode or vanish, at full width and depth."""
    for word in ("preact-resnet18", "resnet18", "wide-resnet,depth=16,widen=4", "convnext-tiny", "vit-tiny", "cnn4"):
        torch.manual_seed(0)
        model = network_named(word).build(10, (3, 32, 32)).train()
        with torch.no_grad():
            logits = model(images((3, 32, 32), n=8))
        assert 0.01 < float(logits.std()) < 10, word


@pytest.mark.parametrize("word", ["preact-resnet50", "resnet34", "wide-resnet,depth=16,widen=8", "vit-small"])
@pytest.mark.slow
def test_networks_of_full_width_have_copies_that_answer_alike(word: str) -> None:
    torch.manual_seed(0)
    model, x = lively(network_named(word).build(10, (3, 32, 32))).eval(), images((3, 32, 32), n=2)
    for bf16 in (False, True):
        quick, words = fast_copy(model, x, bf16)
        assert ("bf16" in words) == bf16
        assert same_function(model, quick, x, 0.05 if bf16 else 1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_sizes_below_one_are_refused(name: str) -> None:
    for field in dataclasses.fields(SMALL[name]):
        if field.type == "int":
            with pytest.raises(ValueError, match=f"{field.name} 0"):
                dataclasses.replace(SMALL[name], **{field.name: 0})


@pytest.mark.parametrize(
    ("builder", "shape", "says"),
    [
        (
            ConvNeXtTiny(patch_size=4),
            (3, 28, 32),
            "28x32 pixels are too small for patches of 4, which need 32: choose a",
        ),
        (ViTTiny(), (3, 30, 32), "30x32 pixels cannot be cut into patches of 4: choose a patch_size that divides both"),
        (CNN4(), (1, 8, 8), "8x8 pixels are too small to be halved 4 times: use images of 16 pixels or more"),
        (TradesCNN(), (1, 15, 28), "15x28 pixels are too small: use 16 pixels or more"),
    ],
)
def test_images_that_are_too_small_are_refused(builder: ModelBuilder, shape: tuple[int, int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        builder.build(10, shape)


@pytest.mark.parametrize(
    ("builder", "shape"),
    [(ConvNeXtTiny(patch_size=4, width=8), (3, 32, 32)), (CNN4(), (1, 16, 16)), (TradesCNN(), (1, 16, 16))],
)
def test_the_smallest_images_pass(builder: ModelBuilder, shape: tuple[int, int, int]) -> None:
    assert builder.build(10, shape)(images(shape)).shape == (3, 10)


def test_a_perceptron_without_hidden_layers_is_linear() -> None:
    model = MLP(hidden=()).build(4, (1, 3, 3))
    x, y = images((1, 3, 3)), images((1, 3, 3)).flip(0)
    torch.testing.assert_close(model(0.5 * x + 0.5 * y), 0.5 * model(x) + 0.5 * model(y))
    with pytest.raises(ValueError, match=r"hidden \(4, 0\) must be at least 1 unit each"):
        MLP(hidden=(4, 0))
