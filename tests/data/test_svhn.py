"""SVHN from small files in the form of the official ones.

Form: http://ufldl.stanford.edu/housenumbers ("Format 2"): MATLAB 5 files with X, bytes of shape (32, 32, 3, N), and y, of shape
(N, 1); "1" has label 1, "9" has label 9 and "0" has label 10.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from classwise.configuration import from_plain, to_plain
from classwise.data import SVHN, DataSource, load

RNG = np.random.default_rng(0)


def official(labels: list[int], images: np.ndarray | None = None) -> tuple[bytes, np.ndarray]:
    """A file, and its images as (N, height, width, 3)."""
    images = RNG.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8) if images is None else images
    return matlab({"X": images.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, None]}), images


def matlab(content: dict) -> bytes:
    file = io.BytesIO()
    savemat(file, content, do_compression=True)
    return file.getvalue()


@pytest.fixture
def small(publish) -> dict[str, np.ndarray]:
    parts = {
        "train": official([1, 10, 9, 2, 10, 3, 4, 5, 6, 7, 8]),
        "test": official([10, 5]),
        "extra": official([7, 10, 1]),
    }
    publish("svhn", {f"{part}_32x32.mat": parts[part][0] for part in ("train", "test")})
    publish("svhn-extra", {"extra_32x32.mat": parts["extra"][0]})
    return {part: images for part, (_, images) in parts.items()}


def test_height_width_and_channels_come_in_our_order(small, tmp_path: Path):
    data = load("svhn", folder=tmp_path)
    assert data.train.images.dtype == torch.uint8
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), small["train"])
    np.testing.assert_array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), small["test"])
    assert data.train.images.is_contiguous()


def test_label_10_is_the_digit_0(small, tmp_path: Path):
    data = load("svhn", folder=tmp_path)
    assert data.train.labels.tolist() == [1, 0, 9, 2, 0, 3, 4, 5, 6, 7, 8]
    assert data.test.labels.tolist() == [0, 5]
    assert data.class_names == tuple("0123456789")


def test_the_extra_images_follow_if_wanted(small, tmp_path: Path):
    data = load("svhn", folder=tmp_path / "svhn", extra=True)
    want = np.concatenate([small["train"], small["extra"]])
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), want)
    assert data.train.labels.tolist()[-3:] == [7, 0, 1]
    assert data.train.index.tolist() == list(range(14))
    assert len(data.test) == 2
    (tmp_path / "svhn" / "extra_32x32.mat").unlink()
    assert len(load("svhn", folder=tmp_path).train) == 11
    with pytest.raises(ValueError, match=r"no extra part of SVHN in .*`classwise data fetch svhn-extra`"):
        load("svhn", folder=tmp_path, extra=True)


BYTES = np.zeros((32, 32, 3, 2), np.uint8)
LABELS = np.ones((2, 1), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": BYTES.astype(object), "y": LABELS}, "X in .* holds object"),
        ({"X": {"a": 1}, "y": LABELS}, "X in .* holds"),
        ({"X": BYTES.astype(float), "y": LABELS}, "X in .* holds float64"),
        ({"X": BYTES[:28], "y": LABELS}, r"shape \(28, 32, 3, 2\)"),
        ({"X": BYTES.transpose(3, 0, 1, 2), "y": LABELS}, r"shape \(2, 32, 32, 3\)"),
        ({"X": BYTES, "y": LABELS[:1]}, "does not hold one label"),
        ({"X": BYTES, "y": LABELS.T}, "does not hold one label"),
        ({"X": BYTES, "y": LABELS * 0}, "does not hold one label of 1..10"),
        ({"X": BYTES, "y": LABELS * 11}, "does not hold one label of 1..10"),
        ({"X": BYTES, "y": LABELS.astype(object)}, "does not hold one label"),
        ({"X": BYTES}, r"no MATLAB file with X and y \('y'\)"),
    ],
)
def test_other_arrays_are_refused(content, message: str, small, publish, tmp_path: Path):
    publish("svhn", {"train_32x32.mat": matlab(content), "test_32x32.mat": b""})
    with pytest.raises(ValueError, match=message + r".*use the official file$"):
        load("svhn", folder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(600), b"<html>", bytes(2000)])
def test_what_is_no_matlab_file_is_refused(content: bytes, publish, tmp_path: Path):
    publish("svhn", {"train_32x32.mat": content, "test_32x32.mat": b""})
    with pytest.raises(ValueError, match="no MATLAB file with X and y") as caught:
        load("svhn", folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused(publish, tmp_path: Path):
    whole, _ = official([1, 2])
    for length in range(0, len(whole) - 1, len(whole) // 40):
        publish("svhn", {"train_32x32.mat": whole[:length], "test_32x32.mat": b""})
        with pytest.raises(ValueError, match="use the official file"):
            load("svhn", folder=tmp_path)


def test_it_is_a_component():
    source = SVHN(extra=True)
    assert to_plain(source) == {"name": "svhn", "folder": "", "extra": True}
    assert from_plain(DataSource, to_plain(source)) == source
