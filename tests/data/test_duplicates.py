"""The same image in two roles is found, told, and kept with the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import classwise as cw
from classwise.data import ClassData, Dataset, Split, load
from classwise.data.duplicates import KEPT, find_duplicates, image_hashes
from classwise.data.stored import FolderImages, MappedImages
from classwise.progress import Silent


def images(count: int, seed: int = 0, start: int = 0, **fields: Any) -> ClassData:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 3, 3), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    return ClassData(pixels, labels, ("a", "b"), index=torch.arange(start, start + count), **fields)


def with_copies(data: ClassData, of: ClassData, pairs: list[tuple[int, int]], flip: bool = False) -> ClassData:
    """Put images of another set, by their index, in the place of some."""
    pixels, labels = torch.as_tensor(data.images).clone(), data.labels.clone()
    for here, there in pairs:
        row = of.index.tolist().index(there)
        pixels[data.index.tolist().index(here)] = torch.as_tensor(of.images)[row]
        labels[data.index.tolist().index(here)] = of.labels[row] ^ flip
    return ClassData(pixels, labels, ("a", "b"), index=data.index)


def test_counts_and_pairs_are_those_of_a_search_by_hand() -> None:
    train = images(40)
    validation = with_copies(images(10, 1, 100), train, [(103, 7), (105, 7), (109, 0)])
    test = with_copies(images(8, 2, 200), validation, [(201, 100), (202, 109)], flip=True)
    roles = {"train": train, "validation": validation, "test": test}
    found = {(each.first, each.second): each for each in find_duplicates(roles)}
    for (first, second), each in found.items():
        here, there = roles[first], roles[second]
        equal = (torch.as_tensor(here.images)[:, None] == torch.as_tensor(there.images)[None]).flatten(2).all(2)
        assert each.images == int(equal.any(0).sum())
        assert each.of == len(there)
        assert all(equal[here.index.tolist().index(a), there.index.tolist().index(b)] for a, b in each.pairs)
    assert set(found) == {("train", "validation"), ("train", "test"), ("validation", "test")}
    assert found["train", "validation"].pairs == ((7, 103), (7, 105), (0, 109))
    assert found["train", "validation"].relabelled == 0
    assert found["validation", "test"].relabelled == 2
    only = find_duplicates(roles, only="test")
    assert [(each.first, each.second) for each in only] == [("train", "test"), ("validation", "test")]
    assert find_duplicates({"train": train, "test": images(10, 9)}) == ()


def test_one_changed_value_is_another_image() -> None:
    train = images(5)
    pixels = torch.as_tensor(train.images).clone()
    pixels[2, 0, 1, 1] ^= 1
    changed = ClassData(pixels, train.labels, ("a", "b"))
    assert find_duplicates({"train": train, "test": changed})[0].images == 4
    wide = ClassData(torch.zeros(1, 1, 2, 6, dtype=torch.uint8), torch.tensor([0]), ("a", "b"))
    assert len(set(image_hashes(train))) == 5
    assert len(image_hashes(wide)) == 1


def test_many_are_counted_and_the_first_are_kept() -> None:
    train = images(3000)  # more than one block
    copy = ClassData(train.images, train.labels, ("a", "b"))
    (found,) = find_duplicates({"train": train, "test": copy})
    assert found.images == found.of == 3000
    assert found.pairs[:2] == ((0, 0), (1, 1))
    assert len(found.pairs) == KEPT
    assert found.sentence().startswith(
        "3000 of 3000 test images are train images too, pixel by pixel (0 in test = 0 in train, 1 in test = 1 in train, "
        "2 in test = 2 in train, …): figures on them are too high; keep each image in one role only"
    )


def test_files_are_compared_without_being_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    files = [FolderImages([tmp_path / name for name in names], 4) for names in ("ab", "c")]
    train, test = (ClassData(each, torch.tensor([0, 1][: len(each)]), ("x", "y")) for each in files)
    (found,) = find_duplicates({"train": train, "test": test})
    assert (found.images, found.pairs) == (1, ((0, 0),))


def config(**changes: Any) -> cw.TrainConfig:
    fields = {
        "model": cw.models.Linear(),
        "split": Split(at_least=4),
        "epochs": 1,
        "adversary": cw.attacks.PGD(steps=1),
        "validation_attack": cw.attacks.PGD(steps=1),
    }
    return cw.recipe("digits-pgd-at", **(fields | changes))


def test_a_run_warns_and_keeps_them(tmp_path: Path) -> None:
    data = images(40)
    free = Split(at_least=4).apply(data)
    outside = int(free.validation.index[0])
    inside = next(int(i) for i in free.train.index if data.labels[i] == data.labels[outside])  # the split stays
    doubled = with_copies(data, data, [(outside, inside)])
    dataset = Dataset("pairs", doubled, lambda: pytest.fail("read"), called=lambda i: f"'{i}.png'")
    with pytest.warns(
        UserWarning, match=rf"1 of 8 validation images .*\('{outside}\.png' in .* = '{inside}\.png' in tr"
    ):
        cw.train(config(), tmp_path / "run", data=dataset, progress=Silent())
    kept = json.loads((tmp_path / "run" / "splits.json").read_text())["duplicates"]
    assert kept == [
        {"first": "train", "second": "validation", "images": 1, "of": 8, "relabelled": 0, "pairs": [[inside, outside]]}
    ]


def test_an_audit_warns_of_test_images_that_were_trained_on(tmp_path: Path) -> None:
    train = images(40)
    test = with_copies(images(10, 1, 100), train, [(100, 3), (104, 5)])
    data = Dataset("pairs", train, lambda: test)
    run = cw.train(config(), tmp_path / "run", data=data, progress=Silent())
    assert json.loads((tmp_path / "run" / "splits.json").read_text())["duplicates"] == []
    with pytest.warns(
        UserWarning, match=r"2 of 10 test images are train images too, pixel by pixel \(100 in test = 3 in"
    ):
        run.audit(attacks="fgsm", progress=Silent())


@pytest.mark.parametrize("kind", ["in memory", "the same object"])
def test_no_false_alarm(kind: str) -> None:
    train = images(10)
    assert len(Dataset("x", train, lambda: images(10, 1) if kind == "in memory" else train).test) == 10


def test_the_digits_have_none() -> None:
    assert len(load("digits").test) == 596  # a warning would be an error here


@pytest.mark.slow
def test_cifar10_against_a_search_by_sorting(shared: Path, tmp_path: Path) -> None:
    """The known near-duplicates of CIFAR-10 are none pixel by pixel, or as many as sorting all images finds."""
    import subprocess
    import sys

    script = shared / "data" / "read_cifar10.py"
    subprocess.run([sys.executable, script, "official", tmp_path], check=True, capture_output=True)
    data = load("cifar10", folder=tmp_path)
    with pytest.MonkeyPatch.context() as silent:
        silent.setattr("classwise.data.duplicates.find_duplicates", lambda *_, **__: ())
        test = data.test
    found = find_duplicates({"train": data.train, "test": test})
    seen = {bytes(image.numpy().tobytes()) for image in torch.as_tensor(data.train.images)}
    by_hand = sum(bytes(image.numpy().tobytes()) in seen for image in torch.as_tensor(test.images))
    assert sum(each.images for each in found) == by_hand


def test_a_callable_names_files(tmp_path: Path) -> None:
    called: Callable[[int], str] = "file {}".format
    train = images(4)
    (found,) = find_duplicates({"train": train, "test": with_copies(images(2, 5, 9), train, [(10, 1)])})
    assert "(file 10 in test = file 1 in train)" in found.sentence(called)


def stored(folder: Path, contents: list[int], kind: str, start: int = 0) -> ClassData:
    """Grey images of one colour each, kept on disk."""
    folder.mkdir()
    labels, index = torch.arange(len(contents)) % 2, torch.arange(start, start + len(contents))
    if kind == "mapped":
        np.save(folder / "x.npy", np.repeat(np.uint8(contents), 16).reshape(-1, 1, 4, 4))
        return ClassData(MappedImages(folder / "x.npy"), labels, ("a", "b"), index)
    paths = [folder / f"{k}.png" for k in range(len(contents))]
    for path, colour in zip(paths, contents, strict=True):
        Image.new("L", (4, 4), colour).save(path)
    return ClassData(FolderImages(paths, 4, 1), labels, ("a", "b"), index)


@pytest.mark.parametrize(("one", "other"), [("files", "files"), ("mapped", "mapped"), ("mapped", "files")])
def test_images_on_disk_are_compared_too(one: str, other: str, tmp_path: Path) -> None:
    train, test = stored(tmp_path / "1", [1, 2, 3, 4], one), stored(tmp_path / "2", [9, 3, 8], other, 10)
    with pytest.warns(UserWarning, match=r"1 of 3 test images are train images too, .*\(11 in test = 2 in train\)"):
        assert Dataset("x", train, lambda: test).test is test
    assert len(Dataset("x", train, lambda: stored(tmp_path / "3", [7], other, 10)).test) == 1


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    train, test = stored(tmp_path / "1", [1, 2], "files"), stored(tmp_path / "2", [1], "files", 10)
    (tmp_path / "1" / "1.png").unlink()
    with pytest.warns(UserWarning, match=r"test images of 'x' were not compared with its train images, .*1\.png"):
        assert Dataset("x", train, lambda: test).test is test


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"class_names": ("b", "a")},
            r"classes of 'x' are \('a', 'b'\) in training and \('b', 'a'\) in ROLE: name them",
        ),
        ({"groups": torch.zeros(3, dtype=torch.int64), "group_names": ("s",)}, r"groups of 'x' are .*\('s',\) in ROLE"),
        (
            {"images": torch.zeros(3, 1, 3, 4, dtype=torch.uint8)},
            r"\(1, 3, 3\) in training and \(1, 3, 4\) in ROLE: give",
        ),
    ],
)
def test_roles_must_agree(change: dict[str, Any], message: str) -> None:
    fields = {"images": images(3, 1).images, "labels": torch.tensor([0, 1, 0]), "class_names": ("a", "b")}
    other = ClassData(**(fields | change))
    with pytest.raises(ValueError, match=message.replace("ROLE", "validation")):
        Dataset("x", images(10), lambda: images(3, 1), validation=other)
    data = Dataset("x", images(10), lambda: other)
    with pytest.raises(ValueError, match=message.replace("ROLE", "test")):
        _ = data.test
