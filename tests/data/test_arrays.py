"""Arrays of NumPy as people keep them: names, axes, types, labels, roles, groups, and what is refused."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import classwise as cw
from classwise.data import Arrays, load
from classwise.data.roles import roles_of
from classwise.data.split import Split
from classwise.data.stored import MappedImages

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (60, 3, 6, 5), dtype=np.uint8)
LABELS = np.arange(60) % 3


def saved(folder: Path, **arrays: Any) -> Arrays:
    np.savez(folder / "mine.npz", **arrays)
    return Arrays(folder=str(folder))


def halves(images: Any, labels: Any = LABELS) -> dict[str, Any]:
    return {"x_train": images[:42], "y_train": labels[:42], "x_test": images[42:], "y_test": labels[42:]}


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda x: x, torch.uint8),
        (lambda x: x.transpose(0, 2, 3, 1), torch.uint8),
        (lambda x: x.astype(np.float64), torch.uint8),
        (lambda x: x.astype(np.int64).transpose(0, 2, 3, 1), torch.uint8),
        (lambda x: (x / 255).astype(np.float32), torch.float32),
        (lambda x: (x / 255).transpose(0, 2, 3, 1), torch.float32),
    ],
    ids=["bytes nchw", "bytes nhwc", "floats to 255", "integers nhwc", "floats to 1", "doubles to 1 nhwc"],
)
def test_axes_and_types_give_the_same_pixels(change: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    data = saved(tmp_path, **halves(change(PIXELS))).load()
    assert data.name == "mine"
    for images, rows in ((data.train, slice(0, 42)), (data.test, slice(42, 60))):
        assert images.images.dtype == dtype
        pixels = torch.as_tensor(images.images)
        pixels = pixels if dtype == torch.uint8 else (255 * pixels).round().byte()
        assert torch.equal(pixels, torch.from_numpy(PIXELS[rows]))
        assert images.labels.tolist() == LABELS[rows].tolist()
        assert images.class_names == ("0", "1", "2")
        assert images.index.tolist() == list(range(60))[rows]


def test_grey_images_without_an_axis_of_channels(tmp_path: Path) -> None:
    assert saved(tmp_path, **halves(PIXELS[:, 0])).load().train.shape == (1, 6, 5)


def test_channels_that_cannot_be_told(tmp_path: Path) -> None:
    both = RNG.integers(0, 256, (60, 3, 4, 3), dtype=np.uint8)
    source = saved(tmp_path, **halves(both))
    with pytest.raises(ValueError, match=r"shape \(42, 3, 4, 3\), which does not tell .* give layout nchw or nhwc"):
        source.load()
    assert load("arrays", folder=tmp_path, layout="nhwc").train.shape == (3, 3, 4)
    assert load("arrays", folder=tmp_path, layout="nchw").train.shape == (3, 4, 3)
    with pytest.raises(ValueError, match=r"which is not nhw: give images with these axes"):
        load("arrays", folder=tmp_path, layout="nhw")


def test_dark_test_images_are_of_the_training_images_kind(tmp_path: Path) -> None:
    floats = PIXELS.astype(np.float32)
    floats[42:] = floats[42:] % 2  # bytes that look like floats in [0, 1]
    data = saved(tmp_path, **halves(floats)).load()
    assert data.test.images.dtype == torch.uint8
    assert torch.equal(torch.as_tensor(data.test.images), torch.from_numpy(floats[42:]).byte())
    floats = (PIXELS / 255).astype(np.float32)
    source = saved(tmp_path, **(halves(floats) | {"x_test": PIXELS[42:]}))
    with pytest.raises(
        ValueError, match=r"x_test.* holds whole numbers in 0\.\.255 and the training images are floats in"
    ):
        _ = source.load().test


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("images_training", "targets_training", "images_testing", "targets_testing"),
    ],
)
@pytest.mark.parametrize("single", [False, True])
def test_names_and_kinds_of_files(names: tuple[str, ...], single: bool, tmp_path: Path) -> None:
    arrays = dict(zip(names, halves(PIXELS).values(), strict=True))
    if single:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
    else:
        np.savez_compressed(tmp_path / "mine.npz", **arrays)
    data = Arrays(folder=str(tmp_path)).load()
    assert torch.equal(torch.as_tensor(data.train.images), torch.from_numpy(PIXELS[:42]))
    assert data.test.labels.tolist() == LABELS[42:].tolist()


def test_the_file_itself_may_be_given(tmp_path: Path) -> None:
    saved(tmp_path, **halves(PIXELS))
    np.savez(tmp_path / "other.npz", **halves(PIXELS[::-1]))
    data = load("arrays", folder=tmp_path / "mine.npz")
    assert data.source == Arrays(folder=str(tmp_path), file="mine.npz")
    with pytest.raises(ValueError, match=r"holds 2 \.npz files, such as 'mine\.npz': say which, with --data\.file"):
        load("arrays", folder=tmp_path)


def test_arrays_that_are_not_divided_are(tmp_path: Path) -> None:
    data = saved(tmp_path, images=PIXELS, labels=LABELS, site=np.array(["a", "b"])[np.arange(60) // 3 % 2]).load()
    assert torch.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert sorted(data.train.index.tolist() + data.test.index.tolist()) == list(range(60))
    grouped = load("arrays", folder=tmp_path, groups="site")
    assert grouped.test.group_names == ("a", "b")
    assert torch.bincount(grouped.test.groups).tolist() == [6, 6]  # in proportion within each class
    assert grouped.test.groups.tolist() == [row // 3 % 2 for row in grouped.test.index.tolist()]


@pytest.mark.parametrize("on_disk", [False, True])
def test_images_are_part_of_what_a_run_held_out(on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if on_disk:
        monkeypatch.setattr("classwise.data.arrays.IN_MEMORY", 0)
        monkeypatch.setattr("classwise.data.stored.CHUNK", 1000)  # several of them

    def held_out(images: Any) -> Any:
        np.save(tmp_path / "images.npy", images)
        np.save(tmp_path / "labels.npy", LABELS)
        data = Arrays(folder=str(tmp_path)).load()
        assert isinstance(data.train.images, MappedImages) == on_disk
        return data.held_out

    first, changed, order = held_out(PIXELS), PIXELS.copy(), np.arange(60)
    changed[59, 2, 5, 4] ^= 1
    order[[0, 3]] = 3, 0  # of the same label
    assert held_out(PIXELS) == first
    for other in (held_out(changed), held_out(PIXELS[order])):
        assert other.index == first.index
        assert other.sha256 != first.sha256


def test_validation_arrays_and_groups_of_each_role(tmp_path: Path) -> None:
    more = {"val_images": PIXELS[:6] ^ 1, "val_labels": LABELS[:6]}
    sites = {f"{role}_Site": np.arange(n) % 2 for role, n in (("train", 42), ("val", 6), ("test", 18))}
    data = saved(tmp_path, **halves(PIXELS), **more, **sites).load()
    assert data.train.group_names == ("0", "1", "2")
    grouped = load("arrays", folder=tmp_path, groups="site")
    assert grouped.validation is not None
    assert grouped.validation.index.tolist() == list(range(42, 48))
    assert grouped.test.index.tolist() == list(range(48, 66))
    assert grouped.validation.groups.tolist() == [0, 1] * 3
    assert roles_of(grouped, Split()).validation is grouped.validation


@pytest.mark.parametrize("text", [False, True])
def test_names_of_classes(text: bool, tmp_path: Path) -> None:
    names = np.array(["cat", "ant", "bee"])
    labels = names[LABELS] if text else LABELS[:, None].astype(np.uint8)
    data = saved(tmp_path, **halves(PIXELS, labels), class_names=names).load()
    assert data.class_names == ("cat", "ant", "bee")  # in the order given
    assert data.train.labels.tolist() == LABELS[:42].tolist()
    bare = saved(tmp_path, **halves(PIXELS, names[LABELS])).load()
    assert bare.class_names == ("ant", "bee", "cat")
    assert [bare.class_names[i] for i in bare.train.labels.tolist()] == names[LABELS][:42].tolist()
    shifted = saved(tmp_path, **halves(PIXELS, LABELS + 9)).load()
    assert (shifted.class_names, shifted.test.labels.tolist()) == (("9", "10", "11"), LABELS[42:].tolist())


def test_a_large_file_of_bytes_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "images.npy", PIXELS.transpose(0, 2, 3, 1))
    np.save(tmp_path / "labels.npy", LABELS)
    kept = Arrays(folder=str(tmp_path)).load()
    monkeypatch.setattr("classwise.data.arrays.IN_MEMORY", PIXELS.nbytes - 1)
    mapped = Arrays(folder=str(tmp_path)).load()
    assert isinstance(mapped.train.images, MappedImages)
    assert mapped.train.checksum() == kept.train.checksum()
    assert mapped.test.checksum() == kept.test.checksum()


def objects(labels: Any) -> Any:
    return np.array([{"label": int(label)} for label in labels], dtype=object)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            halves(PIXELS, objects(LABELS)),
            r"y_train.* holds Python objects, which are not read because they can run code",
        ),
        (
            halves(PIXELS - 128.5),
            r"runs from -.* in type float64: give whole numbers in 0\.\.255, or floats scaled to \[",
        ),
        (halves(PIXELS.astype(np.int64) * 3), r"runs from 0 to 765 in type int64: give whole numbers in 0\.\.255"),
        (halves(PIXELS > 9), r"has type bool: give images as whole numbers"),
        (halves(PIXELS[0, 0]), r"shape \(6, 5\): give images with axes nchw, nhwc or nhw"),
        (halves(PIXELS, np.eye(3)[LABELS]), r"shape \(42, 3\) and type float64: give one .* y_train\.argmax\(1\)"),
        (
            halves(PIXELS, LABELS / 2),
            r"'y_train' of .* type float64: give one whole number or word per image \(of floats y_train\.astype\(int\), missing",
        ),
        (halves(PIXELS, np.r_[LABELS[:42], LABELS[42:] + 1]), r"only in train: '0'; only in test: '3'\): spell them"),
        (halves(PIXELS, LABELS * 0), r"holds 1 class: give images of two at least"),
        ({"x_train": PIXELS, "labels": LABELS}, r"has 'x_train' but no labels to go with it: its arrays are x_train"),
        ({"train": PIXELS}, r"has no training images; its arrays are train: call them train_images and train_labels"),
        ({"x_test": PIXELS, "y_test": LABELS}, r"has no training images"),
        (halves(PIXELS) | {"x": PIXELS, "y": LABELS}, r"holds 'x' and 'x_train': rename or remove one"),
        (halves(PIXELS) | {"train_images": PIXELS}, r"which mean the same: remove one"),
        (halves(PIXELS) | {"classes": np.array(["a", "b"])}, r"has 2 names and none for the label '2': name every"),
        (halves(PIXELS) | {"y_train": LABELS[:40]}, r"x_train.* holds 42 images and there are 40 labels for them"),
        (
            halves(PIXELS) | {"x_train": np.full((42, 6, 5), np.nan)},
            r"42 images of 'mine' hold values that are not num",
        ),
    ],
)
def test_what_cannot_be_used_is_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = saved(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message):
        source.load()


def test_files_that_are_missing_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, message in (("", "there is no folder ''"), (str(tmp_path / "gone"), "there is no folder '.*gone'")):
        with pytest.raises(ValueError, match=message + ": give the one that holds the arrays"):
            Arrays(folder=folder).load()
    with pytest.raises(ValueError, match=r"holds no \.npz and no \.npy file: give the folder of the arrays"):
        Arrays(folder=str(tmp_path)).load()
    with pytest.raises(ValueError, match=r"no \.npz file that can be read \(No such file or directory\): check"):
        Arrays(folder=str(tmp_path), file="x.npz").load()
    source = saved(tmp_path, **halves(PIXELS))
    with pytest.raises(ValueError, match=r"has no array 'train_site': its arrays are x_train, y_train, x_test, y_test"):
        Arrays(folder=str(tmp_path), groups="site").load()
    with monkeypatch.context() as small:
        small.setattr("classwise.data.named_arrays.TOTAL", 1000)
        with pytest.raises(ValueError, match=r"unpacks to more than 0 GiB: save each array as a \.npy file"):
            source.load()
    content = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"mine\.npz' is no \.npz file that can be read"):
        source.load()
    broken = bytearray(content)
    broken[len(content) // 3] ^= 255
    (tmp_path / "mine.npz").write_bytes(broken)
    with pytest.raises(ValueError, match=r"array 'x_train' of .* cannot be read \(Bad CRC.*\): save it again"):
        source.load()
    (tmp_path / "mine.npz").unlink()
    (tmp_path / "images.npy").write_bytes(b"\x80\x04\x95 a pickle, so to say")
    np.save(tmp_path / "labels.npy", LABELS)
    with pytest.raises(ValueError, match=r"images\.npy' (cannot be read|holds Python objects)"):
        Arrays(folder=str(tmp_path)).load()


def test_no_pickle_is_ever_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "labels.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "images.npy", PIXELS)
    with pytest.raises(ValueError, match="holds Python objects"):
        Arrays(folder=str(tmp_path)).load()
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.write(tmp_path / "labels.npy", "labels.npy")
        archive.write(tmp_path / "images.npy", "images.npy")
    with pytest.raises(ValueError, match="holds Python objects"):
        Arrays(folder=str(tmp_path), file="mine.npz").load()
    assert not (tmp_path / "sprung").exists()


def test_a_run_on_arrays(tmp_path: Path) -> None:
    source = saved(tmp_path, images=PIXELS, labels=LABELS, class_names=np.array(["ant", "bee", "cat"]))
    config = cw.recipe(
        "digits-pgd-at",
        data=source,
        model=cw.models.Linear(),
        split=Split(at_least=2),
        epochs=1,
        adversary=cw.attacks.PGD(steps=1),
        validation_attack=cw.attacks.PGD(steps=1),
    )
    run = cw.train(config, tmp_path / "run", progress=cw.progress.Silent())
    assert run.audit(attacks="fgsm", progress=cw.progress.Silent()).table().names == ("ant", "bee", "cat")
