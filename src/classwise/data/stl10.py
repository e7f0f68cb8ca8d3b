"""STL-10 in its official files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.fetch import ARCHIVES, Download, Published
from classwise.data.official import official_bytes, official_folder
from classwise.data.source import DataSource
from classwise.registry import register

CLASS_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
"""Classes in the order of their labels 1 to 10, as in the file class_names.txt."""

ARCHIVES["stl10"] = Published(
    folder="stl10_binary",
    downloads=(
        Download(
            url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            md5="91f7769df0f17e558f3565bffb0c7dfb",
            members={
                "stl10_binary/train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
                "stl10_binary/train_y.bin": "5a34089d4802c674881badbb80307741",
                "stl10_binary/test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
                "stl10_binary/test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
            },
        ),
    ),
)


@register("data", "stl10")
@config
class STL10(DataSource):
    """Photographs of ten classes, 96x96 pixels in colour: 500 of each for training, 800 for testing.

    Images come as uint8 (N, 3, 96, 96) in the official order, which ``index`` counts. The 100,000 unlabelled images and
    the ten folds of the official protocol are left aside.

    Source: Coates, Ng, Lee 2011, "An analysis of single-layer networks in unsupervised feature learning"; the binary files
    of https://cs.stanford.edu/~acoates/stl10: bytes of one channel after the other, each in column-major order, and labels
    from 1 to 10.
    """

    folder: str = ""
    """The official files: stl10_binary or its parent. Empty: where `classwise data fetch` put them."""

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or is not the published one.
        """
        folder = official_folder("stl10", "STL-10", self.folder)
        return Dataset("stl10", train=_read(folder, "train"), test=lambda: _read(folder, "test"), source=self)


def _read(folder: Path, part: str) -> ClassData:
    pixels = np.frombuffer(official_bytes("stl10", folder / f"{part}_X.bin"), dtype=np.uint8)
    labels = np.frombuffer(official_bytes("stl10", folder / f"{part}_y.bin"), dtype=np.uint8)
    if len(pixels) != 3 * 96 * 96 * len(labels):
        raise ValueError(
            f"{part}_X.bin and {part}_y.bin in {str(folder)!r} do not fit together: use the official files"
        )
    images = pixels.reshape(-1, 3, 96, 96).swapaxes(2, 3).copy()  # columns of the file are rows here
    return ClassData(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64) - 1), CLASS_NAMES, name="stl10")
