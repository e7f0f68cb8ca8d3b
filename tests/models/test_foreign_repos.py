"""Checkpoints with the names that published repositories give their tensors, against forward passes written on those names.

Names, shapes and the order of operations are taken from the files given beside each network; the networks here are lists of
names with random tensors and a few lines of arithmetic, and share nothing with the package but torch.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.models import (
    Normalized,
    PreActResNet18,
    PreActResNet34,
    PreActResNet50,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNetCIFAR,
    TradesCNN,
    WideResNet,
    load_foreign,
)
from classwise.models.foreign import map_keys, read_tensors

State = dict[str, Tensor]
Names = Iterator[tuple[str, tuple[int, ...]]]
CIFAR = (3, 32, 32)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "theirs.pt"


# --- names and shapes, in the order in which the files define their modules ---


def conv(name: str, channels: int, width: int, side: int) -> Names:
    yield f"{name}.weight", (width, channels, side, side)


def norm(name: str, width: int) -> Names:
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{leaf}", (width,)
    yield f"{name}.num_batches_tracked", ()


def dense(name: str, entering: int, leaving: int) -> Names:
    yield f"{name}.weight", (leaving, entering)
    yield f"{name}.bias", (leaving,)


def wide_resnet(depth: int = 10, widen: int = 1, classes: int = 4, sub_block: bool = False) -> Names:
    """yaodongyu/TRADES 9ee26f4 models/wideresnet.py, and without the sub-block d3cb332 models/wideresnet_update.py.

    The same classes are in zjfheart/Friendly-Adversarial-Training (models/wide_resnet.py, and models/wrn_madry.py without
    the sub-block), rucy74/DAFA (models/wideresnet.py), boqili/WAT (models/wrn_madry.py) and RobustBench/robustbench
    (model_zoo/architectures/wide_resnet.py, where the sub-block is an option); YisenWang/MART and csdongxian/AWP use them.
    """

    def stage(name: str, channels: int, width: int) -> Names:
        for i in range((depth - 4) // 6):
            block = f"{name}.layer.{i}"
            yield from norm(f"{block}.bn1", channels)
            yield from conv(f"{block}.conv1", channels, width, 3)
            yield from norm(f"{block}.bn2", width)
            yield from conv(f"{block}.conv2", width, width, 3)
            if channels != width:
                yield from conv(f"{block}.convShortcut", channels, width, 1)
            channels = width

    yield from conv("conv1", 3, 16, 3)
    yield from stage("block1", 16, 16 * widen)
    if sub_block:
        yield from stage("sub_block1", 16, 16 * widen)
    yield from stage("block2", 16 * widen, 32 * widen)
    yield from stage("block3", 32 * widen, 64 * widen)
    yield from norm("bn1", 64 * widen)
    yield from dense("fc", 64 * widen, classes)


def stages(
    kind: str, blocks: tuple[int, ...], width: int, bottleneck: bool, shortcut: str, shortcut_norm: bool
) -> Names:
    """layer1 … layer4 of ResNets ("post") and PreActResNets ("pre") by kuangliu, and of torchvision's ResNets."""
    leaving, entering = (4 if bottleneck else 1), width
    for number, count in enumerate(blocks):
        inner = width * 2**number
        for i in range(count):
            block, outer = f"layer{number + 1}.{i}", inner * leaving
            sizes = [(entering, inner, 1), (inner, inner, 3), (inner, outer, 1)]
            if not bottleneck:
                sizes = [(entering, inner, 3), (inner, inner, 3)]
            for k, (channels, filters, side) in enumerate(sizes, start=1):
                if kind == "pre":
                    yield from norm(f"{block}.bn{k}", channels)
                yield from conv(f"{block}.conv{k}", channels, filters, side)
                if kind == "post":
                    yield from norm(f"{block}.bn{k}", filters)
            if entering != outer or (number and not i):
                yield from conv(f"{block}.{shortcut}.0", entering, outer, 1)
                if shortcut_norm:
                    yield from norm(f"{block}.{shortcut}.1", outer)
            entering = outer


def preact(
    blocks=(2, 2, 2, 2), width: int = 4, bottleneck: bool = False, final: bool = True, classes: int = 4
) -> Names:
    """PKU-ML/CFA 877a5b5 model.py and rucy74/DAFA models/preact_resnet.py; without bn hannxu123/fair_robust 18d1177
    pre_resnet.py and zjfheart/Friendly-Adversarial-Training models/preact_resnet.py."""
    yield from conv("conv1", 3, width, 3)
    yield from stages("pre", blocks, width, bottleneck, "shortcut", shortcut_norm=False)
    leaving = width * 8 * (4 if bottleneck else 1)
    if final:
        yield from norm("bn", leaving)
    yield from dense("linear", leaving, classes)


def resnet(blocks=(2, 2, 2, 2), width: int = 4, bottleneck: bool = False, classes: int = 4) -> Names:
    """YisenWang/MART 1c2a930 resnet.py, TrustAI/FAAL b20ee9d resnet.py, boqili/WAT and rucy74/DAFA models/resnet.py."""
    yield from conv("conv1", 3, width, 3)
    yield from norm("bn1", width)
    yield from stages("post", blocks, width, bottleneck, "shortcut", shortcut_norm=True)
    yield from dense("linear", width * 8 * (4 if bottleneck else 1), classes)


def torchvision(
    blocks=(2, 2, 2, 2), width: int = 4, bottleneck: bool = False, classes: int = 4, stem: int = 3
) -> Names:
    """pytorch/vision torchvision/models/resnet.py; its stem has 7 pixels, which many replace by 3 for small images."""
    yield from conv("conv1", 3, width, stem)
    yield from norm("bn1", width)
    yield from stages("post", blocks, width, bottleneck, "downsample", shortcut_norm=True)
    yield from dense("fc", width * 8 * (4 if bottleneck else 1), classes)


def small_cnn(classes: int = 10) -> Names:
    """yaodongyu/TRADES 9ee26f4 models/small_cnn.py; boqili/WAT models/mnist_cnn.py."""
    for i, (channels, width) in enumerate([(1, 32), (32, 32), (32, 64), (64, 64)], start=1):
        yield from conv(f"feature_extractor.conv{i}", channels, width, 3)
        yield f"feature_extractor.conv{i}.bias", (width,)
    for i, (entering, leaving) in enumerate([(64 * 4 * 4, 200), (200, 200), (200, classes)], start=1):
        yield from dense(f"classifier.fc{i}", entering, leaving)


def filled(names: Names, seed: int = 0) -> State:
    """Random tensors of these names: double, so that equal functions give equal logits to twelve digits."""
    generator = torch.Generator().manual_seed(seed)

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            return 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 1:
            return 0.2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(math.prod(shape[1:]))

    return {name: tensor(name, shape) for name, shape in names}


def listed_twice(state: State) -> State:
    """hannxu123/fair_robust 18d1177 wide_resnet.py: ``layer_one`` is conv1, ``other_layers`` lists the rest in order."""
    order = ["block1", "sub_block1", "block2", "block3", "bn1", "fc"]
    twice = {f"layer_one.{key.removeprefix('conv1.')}": each for key, each in state.items() if key.startswith("conv1.")}
    for key, each in state.items():
        first, _, rest = key.partition(".")
        if first in order:
            twice[f"other_layers.{order.index(first)}.{rest}"] = each
    return state | twice


# --- what the published networks compute, on those names ---


def normed(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / torch.sqrt(var + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][:, None, None]


def through(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)


def answer(state: State, name: str, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1).flatten(1) @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def wide_resnet_answers(state: State, x: Tensor) -> Tensor:
    x = through(state, "conv1", x)
    for number in (1, 2, 3):
        i = 0
        while (block := f"block{number}.layer.{i}") + ".conv1.weight" in state:
            stride = 2 if number > 1 and not i else 1
            active = F.relu(normed(state, f"{block}.bn1", x))
            y = F.relu(normed(state, f"{block}.bn2", through(state, f"{block}.conv1", active, stride)))
            changes = f"{block}.convShortcut.weight" in state
            aside = through(state, f"{block}.convShortcut", active, stride) if changes else x
            x = aside + through(state, f"{block}.conv2", y)
            i += 1
    return answer(state, "fc", F.relu(normed(state, "bn1", x)))


def preact_answers(state: State, x: Tensor) -> Tensor:
    x = through(state, "conv1", x)
    for block, stride, strided in walk(state):
        active = y = F.relu(normed(state, f"{block}.bn1", x))
        aside = through(state, f"{block}.shortcut.0", active, stride) if f"{block}.shortcut.0.weight" in state else x
        for k in range(1, 4):
            if f"{block}.conv{k}.weight" in state:
                y = y if k == 1 else F.relu(normed(state, f"{block}.bn{k}", y))
                y = through(state, f"{block}.conv{k}", y, stride if k == strided else 1)
        x = y + aside
    return answer(state, "linear", F.relu(normed(state, "bn", x)) if "bn.weight" in state else x)


def resnet_answers(state: State, x: Tensor) -> Tensor:
    x = F.relu(normed(state, "bn1", through(state, "conv1", x)))
    for block, stride, strided in walk(state):
        y, aside = x, x
        for k in range(1, 4):
            if f"{block}.conv{k}.weight" in state:
                y = y if k == 1 else F.relu(y)
                y = normed(
                    state, f"{block}.bn{k}", through(state, f"{block}.conv{k}", y, stride if k == strided else 1)
                )
        for shortcut in ("shortcut", "downsample"):
            if f"{block}.{shortcut}.0.weight" in state:
                aside = normed(state, f"{block}.{shortcut}.1", through(state, f"{block}.{shortcut}.0", x, stride))
        x = F.relu(y + aside)
    return answer(state, "linear" if "linear.weight" in state else "fc", x)


def walk(state: State) -> Iterator[tuple[str, int, int]]:
    """Every block of layer1 … layer4 with its stride, and which of its convolutions has that stride."""
    for number in range(1, 5):
        i = 0
        while (block := f"layer{number}.{i}") + ".conv1.weight" in state:
            yield block, 2 if number > 1 and not i else 1, 2 if f"{block}.conv3.weight" in state else 1
            i += 1


def small_cnn_answers(state: State, x: Tensor) -> Tensor:
    for i in range(1, 5):
        x = F.relu(F.conv2d(x, *(state[f"feature_extractor.conv{i}.{leaf}"] for leaf in ("weight", "bias"))))
        x = F.max_pool2d(x, 2) if i in (2, 4) else x
    x = x.reshape(len(x), -1)
    for i in range(1, 4):
        x = x @ state[f"classifier.fc{i}.weight"].T + state[f"classifier.fc{i}.bias"]
        x = F.relu(x) if i < 3 else x
    return x


# --- how the repositories save them ---


def bare(state: State) -> object:
    return state


def parallel(state: State) -> object:
    return {f"module.{key}": each for key, each in state.items()}


def training(state: State) -> object:
    return {"epoch": 3, "state_dict": parallel(state), "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}}


def wrapped(state: State) -> object:
    return {"state_dict": parallel(state)}


def last_and_best(state: State) -> object:
    return {"last": state, "best": {key: 0 * each for key, each in state.items()}}


TINY_WRN = {"depth": 10, "widen": 2}
CASES = {
    "trades-wrn": (
        WideResNet(**TINY_WRN, sub_block=True),
        lambda: wide_resnet(10, 2, sub_block=True),
        wide_resnet_answers,
        bare,
    ),
    "trades-wrn-update": (WideResNet(**TINY_WRN), lambda: wide_resnet(10, 2), wide_resnet_answers, bare),
    "trades-small-cnn": (TradesCNN(), small_cnn, small_cnn_answers, bare),
    "mart-wrn": (
        WideResNet(**TINY_WRN, sub_block=True),
        lambda: wide_resnet(10, 2, sub_block=True),
        wide_resnet_answers,
        bare,
    ),
    "mart-resnet18": (ResNet18(width=4), resnet, resnet_answers, bare),
    "awp-wrn": (WideResNet(**TINY_WRN), lambda: wide_resnet(10, 2), wide_resnet_answers, parallel),
    "awp-preact": (PreActResNet18(width=4), preact, preact_answers, bare),
    "fat-wrn": (
        WideResNet(**TINY_WRN, sub_block=True),
        lambda: wide_resnet(10, 2, sub_block=True),
        wide_resnet_answers,
        training,
    ),
    "fat-wrn-madry": (WideResNet(depth=8, widen=2), lambda: wide_resnet(10, 2), wide_resnet_answers, training),
    "fat-resnet18": (ResNet18(width=4), resnet, resnet_answers, training),
    "fat-preact": (PreActResNet18(width=4, final_norm=False), lambda: preact(final=False), preact_answers, training),
    "frl-preact": (PreActResNet18(width=4, final_norm=False), lambda: preact(final=False), preact_answers, bare),
    "frl-wrn": (
        WideResNet(depth=16, widen=1, sub_block=True),
        lambda: wide_resnet(16, 1, sub_block=True),
        wide_resnet_answers,
        listed_twice,
    ),
    "cfa-preact": (PreActResNet18(width=4), preact, preact_answers, bare),
    "faal-preact": (PreActResNet18(width=4), preact, preact_answers, bare),
    "faal-resnet18": (ResNet18(width=4), resnet, resnet_answers, bare),
    "faal-wrn": (WideResNet(**TINY_WRN), lambda: wide_resnet(10, 2), wide_resnet_answers, parallel),
    "wat-resnet18": (ResNet18(width=4), resnet, resnet_answers, training),
    "wat-resnet50": (
        ResNet50(width=4),
        lambda: resnet((3, 4, 6, 3), 4, bottleneck=True),
        resnet_answers,
        training,
    ),
    "wat-wrn": (WideResNet(**TINY_WRN), lambda: wide_resnet(10, 2), wide_resnet_answers, training),
    "wat-mnist-cnn": (TradesCNN(), small_cnn, small_cnn_answers, training),
    "dafa-preact": (PreActResNet18(width=4), preact, preact_answers, wrapped),
    "dafa-wrn": (
        WideResNet(**TINY_WRN, sub_block=True),
        lambda: wide_resnet(10, 2, sub_block=True),
        wide_resnet_answers,
        wrapped,
    ),
    "dafa-resnet18": (ResNet18(width=4), resnet, resnet_answers, parallel),
    "robustbench-wrn": (WideResNet(**TINY_WRN), lambda: wide_resnet(10, 2), wide_resnet_answers, bare),
    "robustbench-preact": (PreActResNet18(width=4), preact, preact_answers, last_and_best),
    "robustbench-preact34": (PreActResNet34(width=4), lambda: preact((3, 4, 6, 3)), preact_answers, bare),
    "robustbench-preact50": (
        PreActResNet50(width=4),
        lambda: preact((3, 4, 6, 3), 4, bottleneck=True),
        preact_answers,
        bare,
    ),
    "torchvision-resnet18": (ResNet18(width=4), torchvision, resnet_answers, bare),
    "torchvision-resnet34": (ResNet34(width=4), lambda: torchvision((3, 4, 6, 3)), resnet_answers, bare),
    "torchvision-resnet50": (
        ResNet50(width=4),
        lambda: torchvision((3, 4, 6, 3), 4, bottleneck=True),
        resnet_answers,
        bare,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_names_of_a_repository_load_and_give_its_logits(case: str, path: Path) -> None:
    builder, names, answers, saved = CASES[case]
    state = filled(names())
    torch.save(saved(state), path)
    shape, classes = ((1, 28, 28), 10) if isinstance(builder, TradesCNN) else (CIFAR, 4)
    model = builder.build(classes, shape).double().eval()
    x = torch.rand(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    load_foreign(model, path)
    ours, theirs = model(x), answers(state, x)
    assert theirs.std() > 1e-3  # they say different things of different images
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-10 * float(theirs.abs().max()))


def count(names: Names) -> int:
    """Parameters; running statistics are none."""
    return sum(math.prod(shape) for name, shape in names if "running" not in name and "num_batches" not in name)


def test_the_lists_of_names_have_the_published_numbers_of_parameters() -> None:
    """Torchvision's own (docs of its weights), and the two that the WideResNet papers give in millions."""
    assert count(torchvision((2, 2, 2, 2), 64, classes=1000, stem=7)) == 11_689_512
    assert count(torchvision((3, 4, 6, 3), 64, classes=1000, stem=7)) == 21_797_672
    assert count(torchvision((3, 4, 6, 3), 64, bottleneck=True, classes=1000, stem=7)) == 25_557_032
    assert round(count(wide_resnet(28, 10, 10)) / 1e6, 1) == 36.5
    assert round(count(wide_resnet(34, 10, 10)) / 1e6, 1) == 46.2


FULL = {
    "wrn-34-10": (WideResNet(), lambda: wide_resnet(34, 10, 10)),
    "wrn-34-10-sub-block": (WideResNet(sub_block=True), lambda: wide_resnet(34, 10, 10, sub_block=True)),
    "wrn-28-10-sub-block": (WideResNet(depth=28, sub_block=True), lambda: wide_resnet(28, 10, 10, sub_block=True)),
    "wrn-34-20": (WideResNet(widen=20), lambda: wide_resnet(34, 20, 10)),
    "fat-wrn-32-10": (WideResNet(depth=32), lambda: wide_resnet(34, 10, 10)),  # counts 6n+2, the names say 6n+4
    "preact18": (PreActResNet18(), lambda: preact(width=64, classes=10)),
    "preact18-frl": (PreActResNet18(final_norm=False), lambda: preact(width=64, classes=10, final=False)),
    "preact34": (PreActResNet34(), lambda: preact((3, 4, 6, 3), 64, classes=10)),
    "preact50": (PreActResNet50(), lambda: preact((3, 4, 6, 3), 64, bottleneck=True, classes=10)),
    "resnet18": (ResNet18(), lambda: resnet(width=64, classes=10)),
    "resnet34": (ResNet34(), lambda: resnet((3, 4, 6, 3), 64, classes=10)),
    "resnet50": (ResNet50(), lambda: torchvision((3, 4, 6, 3), 64, bottleneck=True, classes=10)),
}


@pytest.mark.parametrize("case", FULL)
def test_the_shapes_of_full_size_networks_are_those_of_the_repositories(case: str) -> None:
    builder, names = FULL[case]
    with torch.device("meta"):
        model = builder.build(10, CIFAR)
        mapped = map_keys({name: torch.empty(shape) for name, shape in names()}, model)
    assert {key: each.shape for key, each in mapped.items()} == {
        key: each.shape for key, each in model.state_dict().items()
    }


# --- what must not load in silence ---


@pytest.mark.parametrize(
    ("builder", "names", "told"),
    [
        (WideResNet(**TINY_WRN), lambda: wide_resnet(10, 2, sub_block=True), "build with sub_block=true"),
        (WideResNet(**TINY_WRN, sub_block=True), lambda: wide_resnet(10, 2), "build with sub_block=false"),
        (PreActResNet18(width=4), lambda: preact(final=False), "build with final_norm=false"),
        (PreActResNet18(width=4, final_norm=False), preact, "build with final_norm=true"),
    ],
)
def test_the_traps_of_published_architectures_are_named(builder, names, told: str, path: Path) -> None:
    torch.save(filled(names()), path)
    with pytest.raises(ValueError, match="is not one of this model") as caught:
        load_foreign(builder.build(4, CIFAR), path)
    assert told in str(caught.value).splitlines()[-1]


def test_a_layer_that_is_listed_twice_with_other_weights_is_refused(path: Path) -> None:
    state = listed_twice(filled(wide_resnet(10, 2, sub_block=True)))
    state["other_layers.5.bias"] = state["fc.bias"] + 1
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"holds 'head\.bias' as 'fc\.bias' and as 'other_layers\.5\.bias'"):
        load_foreign(WideResNet(**TINY_WRN, sub_block=True).build(4, CIFAR), path)


def test_the_unused_stage_is_loaded_but_no_image_passes_it(path: Path) -> None:
    state = filled(wide_resnet(10, 2, sub_block=True))
    torch.save(state, path)
    model = WideResNet(**TINY_WRN, sub_block=True).build(4, CIFAR).double().eval()
    load_foreign(model, path)
    assert torch.equal(model.state_dict()["sub_block.0.conv1.weight"], state["sub_block1.layer.0.conv1.weight"])
    x = torch.rand(2, *CIFAR, dtype=torch.float64)
    before = model(x)
    nn.init.zeros_(model.get_parameter("sub_block.0.conv1.weight"))
    assert torch.equal(model(x), before)


def test_a_resnet_does_not_load_into_a_preactivation_one_nor_the_other_way_round(path: Path) -> None:
    for names, builder in ((resnet, PreActResNet18(width=4)), (preact, ResNet18(width=4))):
        torch.save(filled(names()), path)
        with pytest.raises(ValueError, match="is not one of this model"):
            load_foreign(builder.build(4, CIFAR), path)


def test_the_networks_of_deepmind_are_pointed_to_robustbench(path: Path) -> None:
    """RobustBench model_zoo/architectures/dm_wide_resnet.py: strided convolutions padded on one side, same shapes."""
    state = {
        f"layer.{int(name[5]) - 1}.block.{rest}" if name.startswith("block") else f"init_conv.{rest}": each
        for name, each in filled(wide_resnet(10, 2)).items()
        for rest in [name.partition(".layer.")[2].replace("bn1", "batchnorm_0").replace("bn2", "batchnorm_1") or name]
    }
    torch.save(state, path)
    with pytest.raises(ValueError, match="robustbench:MODEL"):
        load_foreign(WideResNet(**TINY_WRN).build(4, CIFAR), path)


def test_a_torchvision_stem_of_seven_pixels_is_the_one_row_of_the_table(path: Path) -> None:
    torch.save(filled(torchvision(stem=7)), path)
    with pytest.raises(ValueError, match=r"\(1 tensors differ\)") as caught:
        load_foreign(ResNet18(width=4).build(4, CIFAR), path)
    assert str(caught.value).splitlines()[1:] == [
        "  in the model              in the file",
        "  stem.weight (4, 3, 3, 3)  conv1.weight (4, 3, 7, 7)",
    ]


def test_every_tensor_of_another_shape_is_in_one_table(path: Path) -> None:
    """A network half as wide: all rows are shown, and they stand below each other."""
    torch.save(filled(preact(width=4)), path)
    model = PreActResNet18(width=8).build(4, CIFAR)
    with pytest.raises(ValueError, match="tensors differ") as caught:
        load_foreign(model, path)
    differing = [name for name in model.state_dict() if not name.endswith(("num_batches_tracked", "head.bias"))]
    head, *rows = str(caught.value).splitlines()[1:]
    assert len(rows) == len(differing)
    column = head.index("in the file")
    for name, row in zip(differing, rows, strict=True):
        assert row.startswith(f"  {name} (")
        assert row[column - 1] == " " != row[column]
    assert rows[-1].split() == ["head.weight", "(4,", "64)", "linear.weight", "(4,", "32)"]


def test_what_fits_can_be_loaded_on_request_and_the_rest_is_told(path: Path) -> None:
    torch.save(state := filled(preact(classes=10)), path)
    model = PreActResNet18(width=4).build(4, CIFAR).double()
    told = rf"(?s)'.*theirs\.pt' {len(state) - 2} tensors were loaded; these differ.*head\.weight \(4, 32\) +linear"
    head = model.head.weight.clone()
    with pytest.warns(UserWarning, match=told):
        load_foreign(model, path, strict=False)
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.stem.weight, read_tensors(path)["conv1.weight"])
    with pytest.raises(ValueError, match="is not one of this model"):
        load_foreign(TradesCNN().build(4, (1, 28, 28)), path, strict=False)


# --- normalisation inside the checkpoint: RobustBench model_zoo/cifar10.py keeps mu and sigma as buffers ---

CONSTANTS = [
    ("mu", "sigma"),
    ("mean", "std"),
    ("normalize.mean", "normalize.std"),
    ("normalizer.new_mean", "normalizer.new_std"),
]


def stating(state: State, names: tuple[str, str], mean=MEAN, std=STD) -> State:
    return {names[0]: torch.tensor(mean).view(1, 3, 1, 1), names[1]: torch.tensor(std).view(1, 3, 1, 1), **state}


@pytest.mark.parametrize("names", CONSTANTS)
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_network_that_normalises_loads_into_one_that_does_so_too(
    names: tuple[str, str], prefix: str, path: Path
) -> None:
    state = filled(preact())
    prefixed = {f"{prefix}{key}": each for key, each in state.items()}
    torch.save(stating(prefixed, names if prefix == "model." else (prefix + names[0], prefix + names[1])), path)
    model = Normalized(PreActResNet18(width=4).build(4, CIFAR), MEAN, STD).double().eval()
    load_foreign(model, path)
    x = torch.rand(2, *CIFAR, dtype=torch.float64)
    mean, std = (torch.tensor(each).double().view(3, 1, 1) for each in (MEAN, STD))
    assert torch.allclose(model(x), preact_answers(state, (x - mean) / std), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda net: net, "and this model does not: load it into"),
        (lambda net: Normalized(net, (0.5,) * 3, (0.5,) * 3), r"does so otherwise \(mean \(0\.5, 0\.5, 0\.5\), std"),
        (lambda net: Normalized(net, MEAN, (*STD[:2], 0.25)), r"does so otherwise \(mean \(0\.4914, 0\.4822"),
    ],
)
def test_a_network_that_normalises_does_not_load_into_one_that_does_not(
    wrap: Callable[[nn.Module], nn.Module], said: str, path: Path
) -> None:
    torch.save(stating(filled(preact()), ("mu", "sigma")), path)
    model = wrap(PreActResNet18(width=4).build(4, CIFAR))
    before = {key: each.clone() for key, each in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"normalises its images \(mean \(0\.4914, .*{said}"):
        load_foreign(model, path)
    assert all(torch.equal(each, before[key]) for key, each in model.state_dict().items())


def test_constants_written_with_fewer_digits_are_the_same_ones(path: Path) -> None:
    torch.save(stating(filled(preact()), ("mu", "sigma"), (0.49139968, 0.48215841, 0.44653091), STD), path)
    load_foreign(Normalized(PreActResNet18(width=4).build(4, CIFAR), MEAN, STD), path)


class Own(nn.Module):
    """A network that keeps constants of these names for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))


def test_constants_that_the_network_itself_has_are_loaded_like_any_tensor(path: Path) -> None:
    model, other = Own(), Own()
    model.mean += 0.5
    torch.save(model.state_dict(), path)
    load_foreign(other, path)
    assert torch.equal(other.mean, model.mean)


def test_names_of_option_a_networks_are_mapped_for_those_only(path: Path) -> None:
    """akamaster's ResNet-20 has kuangliu's names and no tensors in its shortcuts; its zeros lie elsewhere than ours."""
    ours = ResNetCIFAR(depth=8).build(4, CIFAR)
    theirs = {"stem": "conv1", "stem_norm": "bn1", "head": "linear"}
    state = {
        f"{theirs.get(first, first.replace('stage', 'layer'))}.{rest.replace('norm', 'bn')}": each
        for key, each in ours.state_dict().items()
        for first, _, rest in [key.partition(".")]
    }
    torch.save(state, path)
    with pytest.raises(ValueError, match="is not one of this model"):
        load_foreign(ours, path)
