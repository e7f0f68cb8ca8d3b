"""STL-10 from small files in the form of the official ones.

Form: https://cs.stanford.edu/~acoates/stl10 ("Binary files"): train_X.bin, train_y.bin, test_X.bin, test_y.bin, tightly packed
bytes; images in column-major order, one channel at a time (red, green, blue); labels from 1 to 10.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from classwise.data import STL10, load
from classwise.data.stl10 import CLASS_NAMES

RNG = np.random.default_rng(0)


def official(images: np.ndarray) -> bytes:
    """Images (N, height, width, 3) byte by byte: of each image each channel, of each channel column after column."""
    return b"".join(
        bytes(image[:, column, channel]) for image in images for channel in range(3) for column in range(image.shape[1])
    )


@pytest.fixture
def small(publish) -> dict[str, np.ndarray]:
    images = {"train": RNG.integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)}
    images["test"] = images["train"][3:] // 2
    publish(
        "stl10",
        {
            "train_X.bin": official(images["train"]),
            "train_y.bin": bytes([1, 10, 5, 2, 10]),
            "test_X.bin": official(images["test"]),
            "test_y.bin": bytes([3, 1]),
        },
    )
    return images


def test_columns_of_the_file_become_rows_of_images(small, tmp_path: Path):
    data = load("stl10", folder=tmp_path)
    assert data.train.images.shape == (5, 3, 96, 96)
    assert data.train.images.dtype == torch.uint8
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), small["train"])
    np.testing.assert_array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), small["test"])
    data.train.images.zero_()  # the memory is its own


def test_labels_start_at_zero(small, tmp_path: Path):
    data = load("stl10", folder=tmp_path / "stl10_binary")
    assert data.train.labels.tolist() == [0, 9, 4, 1, 9]
    assert data.test.labels.tolist() == [2, 0]
    assert data.class_names == CLASS_NAMES
    assert (CLASS_NAMES[0], CLASS_NAMES[7], CLASS_NAMES[9]) == ("airplane", "monkey", "truck")


def test_other_files_of_the_archive_are_not_needed_and_not_read(small, tmp_path: Path):
    (tmp_path / "stl10_binary" / "unlabeled_X.bin").write_bytes(b"never read")
    (tmp_path / "stl10_binary" / "fold_indices.txt").write_bytes(b"\xff")
    assert len(load("stl10", folder=tmp_path).train) == 5


def test_the_test_images_are_read_only_when_asked_for(small, tmp_path: Path):
    (tmp_path / "stl10_binary" / "test_X.bin").write_bytes(b"spoilt")
    data = load("stl10", folder=tmp_path)
    with pytest.raises(
        ValueError, match=r"test_X\.bin' is damaged \(MD5 .*\): fetch it with `classwise data fetch stl10`"
    ):
        _ = data.test


@pytest.mark.parametrize(("images", "labels"), [(2, 3), (3, 2), (0, 1)])
def test_files_that_do_not_fit_together_are_refused(images: int, labels: int, publish, tmp_path: Path):
    content = {"train_X.bin": bytes(3 * 96 * 96 * images), "train_y.bin": b"\x01" * labels}
    publish("stl10", {**content, "test_X.bin": b"", "test_y.bin": b""})
    with pytest.raises(ValueError, match=r"train_X\.bin and train_y\.bin in .* do not fit together: use the official"):
        load("stl10", folder=tmp_path)


@pytest.mark.parametrize("label", [0, 11])
def test_a_label_outside_1_to_10_is_refused(label: int, publish, tmp_path: Path):
    content = {"train_X.bin": bytes(3 * 96 * 96), "train_y.bin": bytes([label])}
    publish("stl10", {**content, "test_X.bin": b"", "test_y.bin": b""})
    with pytest.raises(ValueError, match=r"must lie in 0\.\.9"):
        load("stl10", folder=tmp_path)


def test_the_name_is_registered():
    assert STL10().registered_name == "stl10"
