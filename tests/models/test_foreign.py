"""Foreign checkpoints: wrappers, names, mismatches, damage, and files that want to run code."""

import argparse
import io
import os
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from classwise.models import Linear, Logits, Normalized, PreActResNet18, Resized, ResNetCIFAR, load_foreign
from classwise.models.foreign import WRAPPERS, map_keys, read_tensors

SHAPE = (3, 8, 8)
KEYS = [key for keys in WRAPPERS.values() for key in keys]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "theirs.pth"


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = ResNetCIFAR(depth=8).build(4, SHAPE)
    model(torch.rand(8, *SHAPE))  # moves the running statistics
    return model.eval()


def assert_same(one: nn.Module, two: nn.Module) -> None:
    first, second = one.state_dict(), two.state_dict()
    assert list(first) == list(second)
    for key in first:
        assert torch.equal(first[key], second[key]), key


def published_names(model: nn.Module) -> dict[str, Tensor]:
    """State of our ResNet under the names of the published ResNet-20, written down by hand."""
    parts = {"conv1": "conv_a", "norm1": "bn_a", "conv2": "conv_b", "norm2": "bn_b"}
    names = {"stem": "conv_1_3x3", "stem_norm": "bn_1", "head": "classifier"}
    for stage in "123":
        names |= {f"stage{stage}.0.{ours}": f"stage_{stage}.0.{theirs}" for ours, theirs in parts.items()}
    return {
        f"{names[module]}.{leaf}": each
        for key, each in model.state_dict().items()
        for module, _, leaf in [key.rpartition(".")]
    }


# --- reading ---


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrapper", [(), *((name,) for name in KEYS), ("model", "state_dict"), ("ema", "model", "net"), ("net", "averaged")]
)
def test_wrappers_are_opened(path: Path, wrapper: tuple[str, ...], zipped: bool):
    content: object = {"a.weight": torch.arange(3.0)}
    for name in reversed(wrapper):
        content = {"epoch": 3, "best": torch.tensor(0.5), name: content}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    got = read_tensors(path)
    assert list(got) == ["a.weight"]
    assert torch.equal(got["a.weight"], torch.arange(3.0))


@pytest.mark.parametrize("kind", ["raw", "averaged"])
def test_the_first_wrapper_of_the_documented_order_is_taken(path: Path, kind: str):
    inner = {name: {"w": torch.tensor(float(i))} for i, name in enumerate(WRAPPERS[kind])}
    while inner:
        torch.save(dict(reversed(inner.items())), path)
        first = next(iter(inner))
        assert read_tensors(path)["w"] == WRAPPERS[kind].index(first)
        del inner[first]


def test_the_wrappers_that_programs_use_are_known():
    assert {"state_dict", "model", "model_state_dict", "net"} <= set(WRAPPERS["raw"])
    assert {"ema", "model_ema", "ema_state_dict", "state_dict_ema", "averaged"} <= set(WRAPPERS["averaged"])


@pytest.mark.parametrize("raw", WRAPPERS["raw"])
@pytest.mark.parametrize("averaged", WRAPPERS["averaged"])
@pytest.mark.parametrize("further_in", [False, True])
def test_of_raw_and_averaged_weights_the_averaged_ones_are_taken_unless_asked(
    path: Path, raw: str, averaged: str, further_in: bool
):
    content: object = {raw: {"w": torch.tensor(1.0)}, averaged: {"module.w": torch.tensor(2.0)}, "epoch": 3}
    torch.save({"model": content} if further_in else content, path)
    with pytest.warns(UserWarning, match=rf"raw weights \('{raw}'\) and averaged ones \('{averaged}'\): the averaged"):
        assert read_tensors(path)["w"] == 2
    assert read_tensors(path, "averaged")["w"] == 2
    assert read_tensors(path, "raw")["w"] == 1


def test_the_kind_asked_for_is_loaded(path: Path):
    one, two, model = small(1), small(2), small(3)
    torch.save({"state_dict": one.state_dict(), "state_dict_ema": two.state_dict()}, path)
    load_foreign(model, path, "raw")
    assert_same(model, one)
    load_foreign(model, path, "averaged")
    assert_same(model, two)


def test_a_kind_that_is_not_there_is_refused(path: Path):
    torch.save({"ema": {"w": torch.ones(1)}}, path)
    assert read_tensors(path)["w"] == read_tensors(path, "averaged")["w"] == 1
    with pytest.raises(ValueError, match=r"holds averaged weights only: ask for weights='averaged'"):
        read_tensors(path, "raw")
    for content in ({"model": {"w": torch.ones(1)}}, {"w": torch.ones(1)}):
        torch.save(content, path)
        assert read_tensors(path)["w"] == read_tensors(path, "raw")["w"] == 1
        with pytest.raises(ValueError, match=r"holds no averaged weights: ask for weights='raw'"):
            read_tensors(path, "averaged")


@pytest.mark.parametrize("beside", [{}, {"decay": 0.999}, {"updates": {"n": 3}}, None])
def test_settings_of_an_average_are_no_averaged_weights(path: Path, beside: object):
    torch.save({"ema": beside, "model": {"arch": "resnet"}, "net": {"w": torch.ones(1)}}, path)
    assert read_tensors(path)["w"] == 1


def test_a_checkpoint_of_torchs_averaged_model_loads(path: Path):
    model, other = small(0), small(1)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert "n_averaged" in averaged.state_dict()
    torch.save(averaged.state_dict(), path)
    load_foreign(other, path)
    assert_same(model, other)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrapping_modules_are_taken_off(path: Path, prefix: str):
    torch.save(OrderedDict({f"{prefix}body.module.weight": torch.ones(2), "epoch": 3}), path)
    assert list(read_tensors(path)) == ["body.module.weight"]


@pytest.mark.parametrize("name", ["theirs.safetensors", "theirs.pth"])
def test_safetensors_are_recognised_by_their_content(tmp_path: Path, name: str):
    model, other = small(0), small(1)
    save_file(model.state_dict(), tmp_path / name)
    load_foreign(other, tmp_path / name)
    assert_same(model, other)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path: Path, path: Path, zipped: bool, nested: bool):
    bomb = Bomb(tmp_path / "was-run")
    torch.save(
        {"state_dict": {"w": torch.ones(1)}, "extra": bomb} if nested else bomb,
        path,
        _use_new_zipfile_serialization=zipped,
    )
    before = (model := small()).state_dict()
    with pytest.raises(
        ValueError, match=r"theirs\.pth' holds more than tensors \(\w+\.mkdir\).* save model\.state_dict\(\)"
    ):
        load_foreign(model, path)
    assert not (tmp_path / "was-run").exists()
    assert all(torch.equal(each, before[key]) for key, each in model.state_dict().items())
    torch.load(path, weights_only=False)  # the bomb is a real one
    assert (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [argparse.Namespace(lr=0.1), nn.Linear(2, 2)])
def test_objects_beside_the_weights_are_named(path: Path, content: object):
    torch.save({"state_dict": {"w": torch.ones(1)}, "more": content}, path)
    with pytest.raises(
        ValueError,
        match=rf"more than tensors \({re.escape(type(content).__module__)}\.{type(content).__name__}\)",
    ):
        read_tensors(path)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>Sign in</html>",
        b"\xef\xbb\xbf\r\n <html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    ],
)
def test_a_web_page_or_pointer_is_recognised(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"theirs\.pth' is a web page or a pointer, not weights: .*fetch the file itself"
    ):
        read_tensors(path)


def serialised(kind: str, tmp_path: Path) -> bytes:
    state = small().state_dict()
    if kind == "safetensors":
        save_file(state, tmp_path / "whole")
        return (tmp_path / "whole").read_bytes()
    buffer = io.BytesIO()
    torch.save({"state_dict": state}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 5, 9, 100, 0.3, 0.7, 0.99, -1])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path: Path, path: Path, kind: str, keep: float):
    whole = serialised(kind, tmp_path)
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(
        ValueError, match=r"theirs\.pth' is damaged, truncated or no checkpoint .*: fetch or save it again"
    ) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"hello", b"{}", b'{"error": "not found"}', bytes(1000), b"PK\x03\x04nonsense", b"\x80\x02}."]
)
def test_other_files_are_refused(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"theirs\.pth' (is damaged, truncated or no checkpoint|holds no weights)"):
        read_tensors(path)


def test_paths_that_cannot_be_read_are_named(tmp_path: Path):
    for wrong in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(ValueError, match=rf"{wrong.name}' cannot be read .*: check the path"):
            read_tensors(wrong)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"epoch": 3, "loss": 0.5}, "holds no weights, only epoch, loss"),
        ({}, "only an empty dictionary"),
        ({"model": {}}, "only model"),
        ([torch.ones(2)], "holds a list and no dictionary of weights"),
        (torch.ones(2), "holds a Tensor and no dictionary of weights"),
    ],
)
def test_files_without_weights_are_refused(path: Path, content: object, says: str):
    torch.save(content, path)
    with pytest.raises(ValueError, match=says):
        read_tensors(path)


# --- names ---


def test_the_published_resnet_names_are_mapped(path: Path):
    model, other = small(0), small(1)
    theirs = published_names(model)
    assert {"conv_1_3x3.weight", "bn_1.running_var", "stage_2.0.conv_a.weight", "classifier.bias"} <= set(theirs)
    torch.save({"state_dict": {f"module.{key}": each for key, each in theirs.items()}}, path)
    load_foreign(other, path)
    assert_same(model, other)


def test_the_published_checkpoint_has_the_names_written_down_here(shared: Path):
    theirs = read_tensors(shared / "data" / "checkpoints" / "cifar10_resnet20_natural.pth")
    model = ResNetCIFAR().build(10, (3, 32, 32))
    mapped = map_keys(theirs, model)
    assert {key: each.shape for key, each in mapped.items()} == {
        key: each.shape for key, each in model.state_dict().items()
    }
    assert set(published_names(small())) <= set(theirs)


@pytest.mark.parametrize("final_norm", [True, False])
def test_the_preactivation_names_of_the_class_wise_papers_are_mapped(path: Path, final_norm: bool):
    """conv1, layer2.0.{bn1,conv1,bn2,conv2,shortcut.0}, bn (only with a final norm), linear."""
    torch.manual_seed(0)
    builder = PreActResNet18(width=2, final_norm=final_norm)
    model, other = builder.build(4, SHAPE), builder.build(4, SHAPE)
    theirs = {}
    for key, each in model.state_dict().items():
        first, *rest = key.split(".")
        first = {"stem": "conv1", "norm": "bn", "head": "linear"}.get(first, first.replace("stage", "layer"))
        parts = {"norm1": "bn1", "norm2": "bn2", "project": "shortcut.0"}
        theirs[".".join([first, *(parts.get(part, part) for part in rest)])] = each
    assert "layer3.0.shortcut.0.weight" in theirs
    torch.save({"net": theirs}, path)
    load_foreign(other, path)
    assert_same(model, other)


def test_resnets_with_another_shortcut_but_similar_names_do_not_load(path: Path):
    """Their zeros lie elsewhere: same tensors, another function."""
    names = {"stem": "conv1", "stem_norm": "bn1", "head": "linear"}
    theirs = {}
    for key, each in small().state_dict().items():
        first, _, rest = key.partition(".")
        theirs[f"{names.get(first, first.replace('stage', 'layer'))}.{rest.replace('norm', 'bn')}"] = each
    torch.save(theirs, path)
    with pytest.raises(ValueError, match=r"(?m)^  stem_norm\.weight \(16,\) +–$"):
        load_foreign(small(), path)


def test_our_own_names_stay(path: Path):
    model, other = small(0), small(1)
    torch.save(model.state_dict(), path)
    load_foreign(other, path)
    assert_same(model, other)


def test_a_normalised_model_receives_the_weights_inside(path: Path):
    model, other = small(0), small(1)
    shell = Normalized(other, (0.5,) * 3, (0.2,) * 3)
    torch.save(published_names(model), path)
    load_foreign(shell, path)
    assert_same(model, other)
    assert shell.mean.flatten().tolist() == [0.5] * 3


def test_weights_saved_from_a_normalised_model_load_with_and_without_it(path: Path):
    model = small(0)
    torch.save(Normalized(model, (0.5,) * 3, (0.2,) * 3).state_dict(), path)
    for other in (small(1), Normalized(small(1), (0.1,) * 3, (0.9,) * 3)):
        load_foreign(other, path)
        assert_same(model, other.net if isinstance(other, Normalized) else other)


def test_two_names_for_one_tensor_are_refused():
    model = small()
    both = {**published_names(model), "stem.weight": torch.zeros(16, 3, 3, 3)}
    with pytest.raises(ValueError, match=r"holds 'stem\.weight' as 'conv_1_3x3\.weight' and as 'stem\.weight'"):
        map_keys(both, model)


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "backbone.", "model.backbone.", "module.model.", "_orig_mod.net.", "model.module."]
)
def test_a_prefix_of_every_name_is_taken_off(path: Path, prefix: str):
    """As of a Lightning module, a wrapper around a backbone, or a compiled one; under our names and under theirs."""
    model = small(0)
    for state in (model.state_dict(), published_names(model)):
        other = small(1)
        torch.save({"state_dict": {f"{prefix}{key}": each for key, each in state.items()}}, path)
        load_foreign(other, path)
        assert_same(model, other)


class Backbone(nn.Module):
    """A network whose own names begin with one of the prefixes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 2)


@pytest.mark.parametrize("outer", ["", "model.", "backbone."])
def test_a_prefix_that_is_the_models_own_stays(path: Path, outer: str):
    model, other = Backbone(), Backbone()
    torch.save({f"{outer}{key}": each for key, each in model.state_dict().items()}, path)
    load_foreign(other, path)
    assert_same(model, other)


def test_a_prefix_of_some_names_only_is_ambiguous_and_stays(path: Path):
    state = {f"model.{key}": each for key, each in small().state_dict().items()}
    torch.save({**state, "normalize.mean": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"(?s)is not one of this model.*\n  stem\.weight \(16, 3, 3, 3\) +–\n"):
        load_foreign(small(), path)


def test_every_layer_around_a_network_is_passed_by(path: Path):
    model, other = small(0), small(1)
    shell = Normalized(Resized(Logits(other), (8, 8)), (0.5,) * 3, (0.2,) * 3)
    torch.save(model.state_dict(), path)
    load_foreign(shell, path)
    assert_same(model, other)
    torch.save(shell.state_dict(), path)
    load_foreign(again := small(2), path)
    assert_same(model, again)


# --- strictness ---


@pytest.mark.parametrize("side", ["file", "model"])
def test_the_counter_of_batchnorm_may_be_absent_on_either_side(path: Path, side: str):
    model, other = small(0), small(1)
    if side == "model":
        other = nn.Sequential(nn.Linear(2, 2))
        state = {
            **(want := nn.Sequential(nn.Linear(2, 2)).state_dict()),
            "1.num_batches_tracked": torch.tensor(3),
        }
    else:
        want = {key: each for key, each in model.state_dict().items() if "num_batches" not in key}
        state = want
        other.stem_norm.num_batches_tracked.fill_(77)
    torch.save(state, path)
    load_foreign(other, path)
    assert all(torch.equal(other.state_dict()[key], each) for key, each in want.items())
    if side == "file":
        assert other.state_dict()["stem_norm.num_batches_tracked"] == 77


def test_half_precision_weights_are_cast_to_the_model(path: Path):
    model, other = small(0), small(1)
    torch.save(model.half().state_dict(), path)
    load_foreign(other, path)
    assert all(each.dtype == torch.float32 for each in other.parameters())
    assert torch.equal(other.head.weight, model.head.weight.float())


def test_every_kind_of_mismatch_is_listed_and_nothing_is_loaded(path: Path):
    state = dict(published_names(small(0)))
    del state["bn_1.weight"]
    state["surplus.weight"] = torch.ones(5)
    state["classifier.weight"] = torch.ones(9, 64)
    torch.save(state, path)
    model = small(1)
    before = {key: each.clone() for key, each in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"theirs\.pth' is not one of this model \(3 tensors differ\)") as caught:
        load_foreign(model, path)
    assert str(caught.value).splitlines()[1:] == [
        "  in the model            in the file",
        "  head.weight (4, 64)     classifier.weight (9, 64)",
        "  stem_norm.weight (16,)  –",
        "  –                       surplus.weight (5,)",
    ]
    assert all(torch.equal(each, before[key]) for key, each in model.state_dict().items())


def test_long_lists_of_what_one_side_lacks_are_cut(path: Path):
    torch.save(small().state_dict(), path)
    model = Linear().build(4, SHAPE)
    with pytest.raises(ValueError, match=r"\((\d+) tensors differ\)") as caught:
        load_foreign(model, path)
    lines = str(caught.value).splitlines()
    total = int(re.search(r"\((\d+) tensors", lines[0])[1])
    missing = len(model.state_dict())
    assert [line.split()[0] for line in lines[2 : 2 + missing]] == list(model.state_dict())
    assert len(lines) == 2 + missing + 10 + 1
    assert lines[-1].split("  ")[-1] == f"… and {total - missing - 10} more"
