"""MNIST and Fashion-MNIST from small files in the form of the official ones.

Form: http://yann.lecun.com/exdb/mnist: magic number 2051 (images) or 2049 (labels), sizes, all as big-endian int32, then bytes
row by row. https://github.com/zalandoresearch/fashion-mnist uses the same form and names. Class names: its README.
"""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from classwise.data import load
from classwise.data.fashion_mnist import CLASS_NAMES
from classwise.data.idx import read_idx

RNG = np.random.default_rng(0)
PARTS = {"train": [5, 0, 9, 1], "t10k": [7, 2]}
IMAGES = {part: RNG.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8) for part, labels in PARTS.items()}


def images(pixels: np.ndarray) -> bytes:
    return struct.pack(">iiii", 2051, *pixels.shape) + pixels.tobytes()


def labels(values: list[int]) -> bytes:
    return struct.pack(">ii", 2049, len(values)) + bytes(values)


def official() -> dict[str, bytes]:
    files = {}
    for part, values in PARTS.items():
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(images(IMAGES[part]))
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(labels(values))
    return files


@pytest.mark.parametrize(
    "unpacked", [(), ("train-images",), ("train-images", "train-labels", "t10k-images", "t10k-labels")]
)
@pytest.mark.parametrize(("name", "class_names"), [("mnist", tuple("0123456789")), ("fashion-mnist", CLASS_NAMES)])
def test_four_files_packed_or_not(name: str, class_names, unpacked, publish, tmp_path: Path):
    folder = publish(name, official())
    for path in folder.glob("*.gz"):
        if path.name.startswith(unpacked):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    data = load(name, folder=tmp_path)
    assert data.train.images.dtype == torch.uint8
    np.testing.assert_array_equal(data.train.images[:, 0].numpy(), IMAGES["train"])
    np.testing.assert_array_equal(data.test.images[:, 0].numpy(), IMAGES["t10k"])
    assert data.train.labels.tolist() == PARTS["train"]
    assert data.test.labels.tolist() == PARTS["t10k"]
    assert data.train.shape == (1, 28, 28)
    assert data.class_names == class_names
    assert data.name == data.train.name == name
    data.train.images.zero_()  # the memory is its own


def test_names_of_fashion():
    assert CLASS_NAMES[0] == "T-shirt/top"
    assert CLASS_NAMES[6] == "Shirt"
    assert CLASS_NAMES[9] == "Ankle boot"
    assert len(set(CLASS_NAMES)) == 10


def test_a_missing_file_is_named(publish, tmp_path: Path):
    folder = publish("mnist", official())
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        ValueError, match=r"t10k-labels-idx1-ubyte\.gz' is missing: fetch it with `classwise data fetch mnist`"
    ):
        load("mnist", folder=tmp_path)


def test_test_images_are_read_only_when_asked_for(publish, tmp_path: Path):
    folder = publish("mnist", official())
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"spoilt")
    data = load("mnist", folder=tmp_path)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz' is damaged"):
        _ = data.test


def test_files_of_two_data_sets_are_refused(publish, tmp_path: Path):
    files = official()
    publish("mnist", {**files, "train-labels-idx1-ubyte.gz": gzip.compress(labels([1, 2, 3]))})
    with pytest.raises(ValueError, match=r"train of MNIST in .* has 4 images and 3 labels"):
        load("mnist", folder=tmp_path)


def test_a_packed_file_with_the_right_sum_that_is_truncated_is_refused(publish, tmp_path: Path):
    files = official()
    packed = files["train-images-idx3-ubyte.gz"]
    publish("mnist", {**files, "train-images-idx3-ubyte.gz": packed[: len(packed) // 2]})
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz' cannot be unpacked \(.*\): fetch"):
        load("mnist", folder=tmp_path)


def test_a_packed_bomb_is_not_unpacked_whole(publish, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("classwise.data.idx._LARGEST", 10_000)
    head = struct.pack(">iiii", 2051, 10**4, 28, 28)
    publish("mnist", {**official(), "train-images-idx3-ubyte.gz": gzip.compress(head + bytes(784 * 10**4))})
    with pytest.raises(ValueError, match=r"holds 9,984 values where its head announces 10000 x 28 x 28"):
        load("mnist", folder=tmp_path)


# --- the format ---


def test_sizes_are_big_endian():
    content = bytes([0, 0, 8, 1, 0, 0, 1, 2]) + bytes(range(256)) + b"\x07\x08"
    got = read_idx(content, "x", 1)
    assert got.shape == (258,)
    assert got[-2:].tolist() == [7, 8]
    assert int.from_bytes(content[:4], "big") == 2049


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<iiii", 2051, 1, 28, 28),  # little-endian
        struct.pack(">iiii", 2049, 1, 28, 28),  # labels
        struct.pack(">iiii", 0x0D03, 1, 28, 28),  # floats
        struct.pack(">iiii", 0x0804, 1, 28, 28),
        b"<!DOCTYPE html>.",
        b"",
    ],
)
def test_another_magic_number_is_refused(head: bytes):
    with pytest.raises(ValueError, match="'x' is no idx file of bytes with 3 dimensions: use the official file"):
        read_idx(head + bytes(784), "x", 3)


def test_every_length_but_the_right_one_is_refused():
    whole = labels([1, 2, 3])
    assert read_idx(whole, "x", 1).tolist() == [1, 2, 3]
    for content in [*(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        with pytest.raises(ValueError, match=r"'x' (is no idx file|holds . values where its head announces 3)"):
            read_idx(content, "x", 1)


@pytest.mark.parametrize("shape", [(-1, -28, 28), (2**31 - 1,) * 3, (0, 28, 27)])
def test_sizes_are_not_believed(shape):
    with pytest.raises(ValueError, match="'x' holds 784 values"):
        read_idx(struct.pack(">iiii", 2051, *shape) + bytes(784), "x", 3)
