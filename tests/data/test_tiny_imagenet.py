"""Tiny-ImageNet-200 from its official files, which are made here in small.

The archive holds wnids.txt (one class a line, in no order), words.txt (class, tab, words; of all WordNet), for each
class train/<class>/images/<class>_<n>.JPEG with train/<class>/<class>_boxes.txt (file and box, separated by tabs), and
val/images/val_<n>.JPEG with val/val_annotations.txt (file, class and box). Some JPEG files are grey.
"""

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from classwise.data import ClassData, TinyImageNet, load
from classwise.data.fetch import ARCHIVES

WNIDS = ["n03126707", "n01443537", "n02012849", "n02124075"]
"""Not in order, as in the official list."""
NAMES = ("goldfish", "crane (n02012849)", "Egyptian cat", "crane (n03126707)")
"""In the order of the labels: two of the classes have the same first word."""
WORDS = """n00001740\tentity
n01443537\tgoldfish, Carassius auratus
n02012849\tcrane
n02124075\tEgyptian cat
n03126707\tcrane, machine
n99999999\tnot in this data set"""
VAL = [(3, 0), (0, 2), (2, 1), (1, 3)]
"""Number of the file and position of its class in WNIDS, in the order of val_annotations.txt."""


def picture(rng: np.random.Generator, grey: bool) -> bytes:
    """A smooth picture of 64x64 pixels as JPEG."""
    coarse = rng.integers(0, 256, (8, 8) if grey else (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((64, 64)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def pixels(path: Path) -> np.ndarray:
    """What Pillow says of a file, grey ones with three equal channels, (3, 64, 64)."""
    array = np.array(Image.open(path))
    return np.stack([array] * 3) if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The unpacked folder tiny-imagenet-200: four classes with three training images each, the second of them grey."""
    root, rng = tmp_path / "tiny-imagenet-200", np.random.default_rng(0)
    for wnid in WNIDS:
        (root / "train" / wnid / "images").mkdir(parents=True)
        for number in range(3):
            path = root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
            path.write_bytes(picture(rng, grey=number == 1))
        boxes = "".join(f"{wnid}_{number}.JPEG\t0\t10\t63\t58\n" for number in range(3))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
    (root / "val" / "images").mkdir(parents=True)
    for number, _ in VAL:
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(picture(rng, grey=number == 2))
    rows = "".join(f"val_{number}.JPEG\t{WNIDS[position]}\t0\t32\t44\t62\n" for number, position in VAL)
    (root / "val" / "val_annotations.txt").write_text(rows)
    (root / "test" / "images").mkdir(parents=True)
    (root / "test" / "images" / "test_0.JPEG").write_bytes(picture(rng, grey=False))
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    (root / "words.txt").write_text(WORDS)
    return root


@pytest.fixture
def packed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The official archive in a folder of its own; its MD5 replaces the published one."""
    (tmp_path / "packed").mkdir()
    path = tmp_path / "packed" / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packing:
        for file in sorted(folder.rglob("*")):
            packing.write(file, file.relative_to(folder.parent).as_posix())  # folders too, as in the official one
    published = ARCHIVES["tiny-imagenet"]
    (download,) = published.downloads
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(ARCHIVES, "tiny-imagenet", replace(published, downloads=(replace(download, md5=md5),)))
    return path.parent


def check(train: ClassData, test: ClassData, folder: Path) -> None:
    """Labels follow the sorted class numbers; pixels are those of each file."""
    files = [folder / "train" / wnid / "images" / f"{wnid}_{n}.JPEG" for wnid in sorted(WNIDS) for n in range(3)]
    assert train.labels.tolist() == [label for label in range(4) for _ in range(3)]
    assert train.index.tolist() == list(range(12))
    assert train.images.dtype == torch.uint8
    np.testing.assert_array_equal(torch.as_tensor(train.images).numpy(), np.stack([pixels(file) for file in files]))
    files = [folder / "val" / "images" / f"val_{number}.JPEG" for number, _ in VAL]
    assert test.labels.tolist() == [sorted(WNIDS).index(WNIDS[position]) for _, position in VAL] == [3, 1, 0, 2]
    np.testing.assert_array_equal(torch.as_tensor(test.images).numpy(), np.stack([pixels(file) for file in files]))
    assert train.class_names == test.class_names == NAMES
    assert train.units is None


@pytest.mark.parametrize("inner", ["", "tiny-imagenet-200"])
def test_the_unpacked_folder(folder: Path, inner: str) -> None:
    data = load("tiny-imagenet", folder=folder.parent / inner)
    check(data.train, data.test, folder)
    assert (data.name, data.train.shape) == ("tiny-imagenet", (3, 64, 64))


def test_the_archive(folder: Path, packed: Path) -> None:
    data = load("tiny-imagenet", folder=packed)
    check(data.train, data.test, folder)
    assert not (packed / "tiny-imagenet-200").exists()


def test_a_fetched_archive_lies_in_the_cache(folder: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = packed / "cache"
    (cache / "tiny-imagenet-200").mkdir(parents=True)
    (packed / "tiny-imagenet-200.zip").rename(cache / "tiny-imagenet-200" / "tiny-imagenet-200.zip")
    monkeypatch.setenv("CLASSWISE_DATA", str(cache))
    data = load("tiny-imagenet")
    check(data.train, data.test, folder)


def test_decoded_images_are_kept_beside_the_data(folder: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (folder, packed):
        first = load("tiny-imagenet", folder=place)
        _ = first.test
        assert len(list(place.glob("tiny-imagenet-train-*.npy"))) == 1
        assert len(list(place.glob("tiny-imagenet-val-*.npy"))) == 1

    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("classwise.data.decoded.decode", never)
    for place in (folder, packed):
        data = load("tiny-imagenet", folder=place)
        check(data.train, data.test, folder)


def test_test_images_are_read_only_when_asked_for(folder: Path) -> None:
    (folder / "val" / "val_annotations.txt").unlink()
    data = load("tiny-imagenet", folder=folder)
    assert len(data.train) == 12
    with pytest.raises(ValueError, match=r"val_annotations.txt' is missing"):
        _ = data.test


# --- what does not fit ---


def test_images_without_a_row_are_refused(folder: Path) -> None:
    boxes = folder / "train" / WNIDS[0] / f"{WNIDS[0]}_boxes.txt"
    whole = boxes.read_text()
    boxes.write_text("".join(whole.splitlines(keepends=True)[:2]))
    with pytest.raises(
        ValueError, match=r"n03126707_2.JPEG' is in no list, so its class is not known \(1 such images\)"
    ):
        load("tiny-imagenet", folder=folder)
    boxes.write_text(whole)
    rows = folder / "val" / "val_annotations.txt"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[1:]))
    data = load("tiny-imagenet", folder=folder)
    with pytest.raises(ValueError, match=r"val_3.JPEG' is in no list"):
        _ = data.test


def test_a_class_left_out_of_wnids_is_noticed(folder: Path) -> None:
    (folder / "wnids.txt").write_text("\n".join(WNIDS[:3]))
    with pytest.raises(ValueError, match=r"n02124075_0.JPEG' is in no list, .* \(3 such images\)"):
        load("tiny-imagenet", folder=folder)


def test_rows_without_an_image_are_refused(folder: Path) -> None:
    (folder / "val" / "images" / "val_1.JPEG").unlink()
    data = load("tiny-imagenet", folder=folder)
    with pytest.raises(ValueError, match=r"val_1.JPEG' is missing: use the official files"):
        _ = data.test


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("val/val_annotations.txt", "val_0.JPEG", "val_3.JPEG", r"lists 'val_3.JPEG' twice \(line 2\)"),
        ("val/val_annotations.txt", "val_0.JPEG", "../../x.JPEG", r"line 2 of .* is not as in the official file"),
        ("val/val_annotations.txt", "val_0.JPEG\t", "val_0.JPEG ", r"line 2 of .* is not as in the official file"),
        (
            "val/val_annotations.txt",
            "\tn02012849",
            "\tn00001740",
            r"gives 'val_0.JPEG' the class 'n00001740', not in wnids",
        ),
        (
            "train/n01443537/n01443537_boxes.txt",
            "n01443537_1",
            "n01443537_0",
            r"lists 'n01443537_0.JPEG' twice \(line 2\)",
        ),
        (
            "train/n01443537/n01443537_boxes.txt",
            "n01443537_1",
            "n02124075_1",
            r"line 2 of .* is not as in the official",
        ),
        ("wnids.txt", "n02124075", "n01443537", r"wnids.txt' is no list of different WordNet numbers"),
        ("wnids.txt", "n02124075", "../cat", r"wnids.txt' is no list of different WordNet numbers"),
        ("words.txt", "n02124075\tEgyptian cat\n", "", r"words.txt' has no words for 'n02124075'"),
        ("words.txt", "Egyptian cat", "", r"words.txt' has no words for 'n02124075'"),
    ],
)
def test_a_list_that_is_not_the_official_one(folder: Path, file: str, old: str, new: str, message: str) -> None:
    text = (folder / file).read_text()
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        _ = load("tiny-imagenet", folder=folder).test


def test_a_list_that_is_no_text_is_named(folder: Path) -> None:
    (folder / "words.txt").write_bytes(b"n02124075\t\xff\xfe")
    with pytest.raises(ValueError, match=r"words.txt' is no text: use the official files"):
        load("tiny-imagenet", folder=folder)


def test_a_damaged_image_is_named(folder: Path) -> None:
    path = folder / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_2.JPEG"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"n01443537_2.JPEG' is no image that can be read"):
        load("tiny-imagenet", folder=folder)
    assert not list(folder.glob("*.npy*"))


def test_a_damaged_archive_is_not_opened(packed: Path) -> None:
    path = packed / "tiny-imagenet-200.zip"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"tiny-imagenet-200.zip' is damaged \(MD5 \w+ instead of \w+\)"):
        load("tiny-imagenet", folder=packed)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"neither tiny-imagenet-200.zip nor tiny-imagenet-200/wnids.txt in .*nowhere'"
    ):
        load("tiny-imagenet", folder=tmp_path / "nowhere")


def test_it_has_one_archive_with_a_published_sum() -> None:
    assert TinyImageNet.registered_name == "tiny-imagenet"
    assert ARCHIVES["tiny-imagenet"].files == {"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"}
