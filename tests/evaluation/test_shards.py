"""Parts of an audit are rows of the whole, and are put together only where they belong together and cover everything."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import classwise as cw
from classwise import ClassData
from classwise.configuration import replace as changed
from classwise.evaluation.shards import merged, part
from classwise.progress import Silent

HOW: dict[str, Any] = {
    "threat": [cw.linf("0.12"), cw.linf("0.08")],
    "attacks": "apgd-ce-5+apgd-t-3+fab-t-3+square-8",
    "batch_size": 32,
    "precision": "exact",
    "progress": Silent(),
}


@pytest.fixture(scope="module")
def whole(network: nn.Module, data: ClassData) -> cw.AuditResult:
    return cw.audit(network, data, **HOW)


@pytest.fixture(scope="module", params=[3, 7])
def folder(
    request: pytest.FixtureRequest, network: nn.Module, data: ClassData, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All parts, each made on its own; not to be changed."""
    out = tmp_path_factory.mktemp("shards")
    for number in reversed(range(1, request.param + 1)):
        cw.audit(network, data, **HOW, shard=f"{number}/{request.param}", out=out)
    return out


@pytest.fixture
def three(network: nn.Module, data: ClassData, tmp_path: Path) -> Callable[..., Path]:
    """Makes three small parts, one of them otherwise."""

    def made(second: dict[str, Any] | None = None, model: nn.Module | None = None) -> Path:
        for number in (1, 2, 3):
            how = HOW | {"attacks": "pgd-2"} | ((second or {}) if number == 2 else {})
            net = model if model is not None and number == 2 else network
            cw.audit(net, data, **how, shard=f"{number}/3", out=tmp_path)
        return tmp_path

    return made


def test_every_part_is_rows_of_the_whole(folder: Path, whole: cw.AuditResult, data: ClassData) -> None:
    total = len(list(folder.iterdir()))
    assert total in (3, 7)
    for number in range(1, total + 1):
        one = cw.AuditResult.load(folder / f"shard-{number}-of-{total}")
        assert one.plan.shard == f"{number}/{total}"
        assert one.plan.samples == len(data)
        for name, column in vars(whole.outcomes).items():
            assert np.array_equal(getattr(one.outcomes, name), column[..., number - 1 :: total]), name
        assert np.array_equal(one.outcomes.index, data.index[number - 1 :: total].numpy())


def test_merging_gives_the_whole(folder: Path, whole: cw.AuditResult, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "parts")
    result = cw.merge(copied)
    for name, column in vars(whole.outcomes).items():
        merged_column = getattr(result.outcomes, name)
        assert merged_column.dtype == column.dtype
        assert np.array_equal(merged_column, column), name
    assert result.plan == whole.plan
    assert result.fingerprint == whole.fingerprint
    assert result.folder == copied
    assert str(cw.AuditResult.load(copied)) == str(whole)
    assert len(result.examples.labels) <= 8
    names = whole.plan.class_names
    assert {names[label] for label in result.examples.labels} <= {whole.weakest}


def test_what_was_merged_is_read_by_the_same_call_without_a_shard(
    folder: Path, network: nn.Module, data: ClassData, tmp_path: Path
) -> None:
    copied = shutil.copytree(folder, tmp_path / "parts")
    result = cw.merge(copied)
    again = cw.audit(network, data, **HOW, out=copied)
    assert again.folder == copied
    assert np.array_equal(again.outcomes.margin, result.outcomes.margin)
    assert str(cw.merge(copied)) == str(result)  # merging again changes nothing


def test_pictures_of_the_merged_audit_are_of_its_weakest_class(whole: cw.AuditResult, folder: Path) -> None:
    parts = [cw.AuditResult.load(each) for each in folder.iterdir()]
    result = merged(parts)
    assert result.weakest == whole.weakest
    at_hand = [each for each in parts if each.weakest == whole.weakest]
    assert (len(result.examples.labels) > 0) == any(len(each.examples.labels) for each in at_hand)


def test_a_part_goes_on_after_a_kill(counted: Callable, data: ClassData, tmp_path: Path, whole: cw.AuditResult) -> None:
    with pytest.raises(KeyboardInterrupt):
        cw.audit(counted(stop_at=60), data, **HOW, shard="2/3", out=tmp_path)
    found = cw.audit(counted(), data, **HOW, shard="2/3", out=tmp_path)
    assert np.array_equal(found.outcomes.margin, whole.outcomes.margin[:, 1::3])


def test_a_missing_part_is_named(three: Callable) -> None:
    folder = three()
    shutil.rmtree(folder / "shard-2-of-3")
    with pytest.raises(ValueError, match=r"shard 2/3 is missing: run the audit with --shard 2/3 too"):
        cw.merge(folder)
    assert not (folder / "summary.json").exists()


def test_an_unfinished_part_is_named(three: Callable) -> None:
    folder = three()
    (folder / "shard-3-of-3" / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"shard-3-of-3 in .* is not finished: run the same command again first"):
        cw.merge(folder)


def test_a_doubled_part_is_refused(three: Callable) -> None:
    folder = three()
    shutil.copytree(folder / "shard-1-of-3", folder / "shard-1-of-3-copy")
    with pytest.raises(ValueError, match="a part is there twice: remove one of the two folders"):
        cw.merge(folder)


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ({"seed": 1}, "seed: 0 → 1"),
        ({"attacks": "pgd-3"}, "attacks"),
        ({"threat": cw.linf("0.11")}, "threats"),
        ({"batch_size": 31}, "batch_size: 32 → 31"),
        ({"precision": "mixed"}, "precision: .*exact.* → .*mixed"),
        ({"split": "test"}, "split: .* → .*test"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parts_of_other_plans_are_refused(second: dict[str, Any], named: str, three: Callable) -> None:
    found = (
        rf"shards 1/3 and 2/3 are not parts of one audit \({named}.*\): run each with the same model, data and settings"
    )
    with pytest.raises(ValueError, match=found):
        cw.merge(three(second))


def test_a_model_may_have_another_name_in_each_part(three: Callable) -> None:
    """As it has where every machine keeps it in a folder of its own."""
    parts = [cw.AuditResult.load(each) for each in sorted(three().glob("shard-*"))]
    named = [replace(each, plan=changed(each.plan, model=f"/machine{i}/best.pt")) for i, each in enumerate(parts)]
    assert np.array_equal(merged(named).outcomes.margin, merged(parts).outcomes.margin)


def test_parts_on_other_images_are_refused(network: nn.Module, data: ClassData, three: Callable) -> None:
    folder = three()
    shutil.rmtree(folder / "shard-2-of-3")
    other = data.subset(torch.arange(len(data)).flip(0))
    cw.audit(network, other, **HOW | {"attacks": "pgd-2"}, shard="2/3", out=folder)
    with pytest.raises(ValueError, match=r"not parts of one audit \(data_sha256: "):
        cw.merge(folder)


def test_parts_of_other_weights_are_refused(network: nn.Module, three: Callable) -> None:
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[9].bias[0] += 1e-3
    with pytest.raises(ValueError, match=r"shards 1/3 and 2/3 are not parts of one audit \(different models\)"):
        cw.merge(three(model=other))


def test_parts_that_were_cut_differently_are_refused(network: nn.Module, data: ClassData, three: Callable) -> None:
    folder = three()
    cw.audit(network, data, **HOW | {"attacks": "pgd-2"}, shard="2/4", out=folder)
    with pytest.raises(ValueError, match=r"cut differently \(into \[3, 4\]\): use one number of parts"):
        cw.merge(folder)


def test_a_part_that_lost_images_is_refused(three: Callable) -> None:
    parts = [cw.AuditResult.load(each) for each in sorted(three().glob("shard-*"))]
    short = parts[1].outcomes
    cut = type(short)(**{name: column[..., :-1] for name, column in vars(short).items()})
    with pytest.raises(ValueError, match="do not cover every image once"):
        merged([parts[0], replace(parts[1], outcomes=cut), parts[2]])


def test_a_whole_audit_is_no_part(three: Callable) -> None:
    parts = [cw.AuditResult.load(each) for each in sorted(three().glob("shard-*"))]
    no_part = replace(parts[1], plan=changed(parts[1].plan, shard=""))
    with pytest.raises(ValueError, match="is no part of another"):
        merged([parts[0], no_part, parts[2]])


def test_a_folder_without_parts_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no parts of an audit: give the folder that holds shard-1-of-"):
        cw.merge(tmp_path)


def test_merging_into_the_folder_of_another_audit_is_refused(
    network: nn.Module, data: ClassData, three: Callable, tmp_path: Path
) -> None:
    cw.audit(network, data, **HOW | {"attacks": "pgd-3"}, out=tmp_path)
    with pytest.raises(ValueError, match="holds another audit"):
        cw.merge(three())


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5"])
def test_parts_that_do_not_exist_are_refused(text: str, network: nn.Module, data: ClassData) -> None:
    with pytest.raises(ValueError, match="write NUMBER/TOTAL, such as 2/8"):
        cw.audit(network, data, **HOW, shard=text)


def test_the_parts_cover_every_image_once(data: ClassData) -> None:
    for total in (1, 2, 7, 50):
        indices = [i for number in range(total) for i in part(data, f"{number + 1}/{total}").index.tolist()]
        assert sorted(indices) == data.index.tolist()


@pytest.mark.parametrize("total", [6, 13])
def test_parts_may_lack_classes(total: int, network: nn.Module, data: ClassData, tmp_path: Path) -> None:
    """Twenty images of ten classes, in parts of four or three images, and of two or one."""
    few = data.first_per_class(2)
    how = HOW | {"attacks": "pgd-3+apgd-t-2"}
    whole = cw.audit(network, few, **how)
    for number in range(1, total + 1):
        cw.audit(network, few, **how, shard=f"{number}/{total}", out=tmp_path)
    result = cw.merge(tmp_path)
    for name, column in vars(whole.outcomes).items():
        assert np.array_equal(getattr(result.outcomes, name), column), name


def test_more_parts_than_images_are_refused(network: nn.Module, data: ClassData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="10 images cannot be cut into 11 parts: use at most 10"):
        cw.audit(network, data.first_per_class(1), **HOW, shard="2/11", out=tmp_path)
    assert list(tmp_path.iterdir()) == []
