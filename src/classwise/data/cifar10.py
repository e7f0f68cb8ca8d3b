"""CIFAR-10 in its official files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.fetch import ARCHIVES, default_folder, md5_of
from classwise.data.pickles import read_pickle
from classwise.data.source import DataSource
from classwise.registry import register

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Classes in the order of their labels, as documented by the author."""

_MEND = "fetch it with `classwise data fetch cifar10`, or give the official files with --data.folder"


@register("data", "cifar10")
@config
class CIFAR10(DataSource):
    """Photographs of ten classes, 32x32 pixels in colour: 5,000 of each for training, 1,000 for testing.

    Images come as uint8 (N, 3, 32, 32) in the official order, which ``index`` counts: data_batch_1 to 5, and
    test_batch. A file is read once; its published MD5 is checked on the very bytes that are then interpreted.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images"; the "python version" of
    the author's archive.
    """

    folder: str = ""
    """The official files: cifar-10-batches-py or its parent. Empty: where `classwise data fetch` put them."""

    classes = 10

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or is not the published one.
        """
        folder = self._find()
        training = [file for file in ARCHIVES["cifar10"].files if file.startswith("data_batch_")]
        return Dataset(
            "cifar10", train=_read(folder, training), test=lambda: _read(folder, ["test_batch"]), source=self
        )

    def _find(self) -> Path:
        """The folder of the batches, all of them present."""
        archive = ARCHIVES["cifar10"]
        given = Path(self.folder).expanduser() if self.folder else default_folder("cifar10")
        inner = given / archive.folder
        folder = inner if inner.is_dir() else given
        missing = [file for file in archive.files if not (folder / file).is_file()]
        if len(missing) == len(archive.files):
            raise ValueError(f"there is no CIFAR-10 in {str(given)!r}: {_MEND}")
        if missing:
            raise ValueError(f"{str(folder / missing[0])!r} is missing: {_MEND}")
        return folder


def _read(folder: Path, files: list[str]) -> ClassData:
    batches = [_read_batch(folder / file) for file in files]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [label for batch in batches for label in batch[b"labels"]]
    return ClassData(torch.from_numpy(images), torch.tensor(labels), CLASS_NAMES, name="cifar10")


def _read_batch(path: Path) -> dict[bytes, np.ndarray]:
    content = path.read_bytes()
    published, found = ARCHIVES["cifar10"].files[path.name], md5_of(content)
    if found != published:
        raise ValueError(f"{str(path)!r} is damaged (MD5 {found} instead of {published}): {_MEND}")
    batch: dict[bytes, np.ndarray] = read_pickle(content, str(path))
    return batch
