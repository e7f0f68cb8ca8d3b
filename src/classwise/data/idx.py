"""The idx format of MNIST, and data sets that come in its four files."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classwise.data.dataset import ClassData, Dataset
from classwise.data.official import official_bytes, official_folder
from classwise.data.source import DataSource

_LARGEST = 2**28
"""Bytes that a file may unpack to: five times the largest official one."""


def read_idx(content: bytes, where: str, dimensions: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read one file of bytes in idx format.

    Two bytes of zero, the type (8 for bytes), the number of dimensions; each size as a big-endian int32; then the values,
    the last dimension fastest (http://yann.lecun.com/exdb/mnist).

    Args:
        content: The whole file, unpacked.
        where: What the file is called in messages.
        dimensions: How many dimensions it should have: 3 for images, 1 for labels.

    Raises:
        ValueError: It is no such file, or truncated, or longer than it says.
    """
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{where!r} is no idx file of bytes with {dimensions} dimensions: use the official file")
    shape = tuple(int.from_bytes(content[at : at + 4], "big", signed=True) for at in range(4, start, 4))
    if min(shape) < 0 or len(content) - start != math.prod(shape):
        raise ValueError(
            f"{where!r} holds {len(content) - start:,} values where its head announces "
            f"{' x '.join(str(size) for size in shape)}: use the official file"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def idx_dataset(source: DataSource, title: str, folder: str, class_names: tuple[str, ...]) -> Dataset:
    """A data set in the four files of MNIST: train- and t10k-, -images-idx3-ubyte and -labels-idx1-ubyte, each .gz or not.

    Packed files are checked against their published MD5; for unpacked ones none is published, so only their form is.

    Args:
        source: The data source, whose registered name is the data set's name.
        title: Name of the data set in messages.
        folder: Folder that a user gave; empty: where `classwise data fetch` put the files.
        class_names: Names in the order of the labels.

    Raises:
        ValueError: A file is missing, damaged, or the four do not fit together.
    """
    name = source.registered_name
    place = official_folder(name, title, folder, ending=".gz")

    def read(part: str) -> ClassData:
        images = _read(name, place, f"{part}-images-idx3-ubyte", 3)
        labels = _read(name, place, f"{part}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise ValueError(
                f"{part} of {title} in {str(place)!r} has {len(images)} images and {len(labels)} labels: "
                "use official files of one data set"
            )
        return ClassData(
            torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64)), class_names, name=name
        )

    return Dataset(name, train=read("train"), test=lambda: read("t10k"), source=source)


def _read(name: str, place: Path, file: str, dimensions: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    packed = place / f"{file}.gz"
    if not packed.is_file():
        return read_idx((place / file).read_bytes(), str(place / file), dimensions)
    content = official_bytes(name, packed)
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            unpacked = stream.read(_LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{str(packed)!r} cannot be unpacked ({error}): fetch it again") from error
    return read_idx(unpacked, str(packed), dimensions)
