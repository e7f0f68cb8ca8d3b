"""CIFAR-10 in its official files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.fetch import ARCHIVES, Download, Published
from classwise.data.official import official_bytes, official_folder
from classwise.data.pickles import read_pickle
from classwise.data.source import DataSource
from classwise.registry import register

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Classes in the order of their labels, as documented by the author."""

ARCHIVES["cifar10"] = Published(
    folder="cifar-10-batches-py",
    downloads=(
        Download(
            url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
            members={
                "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
                "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
                "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
            },
        ),
    ),
)


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

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or is not the published one.
        """
        folder = official_folder("cifar10", "CIFAR-10", self.folder)
        training = [folder / f"data_batch_{number}" for number in range(1, 6)]
        return Dataset("cifar10", train=_read(training), test=lambda: _read([folder / "test_batch"]), source=self)


def _read(files: list[Path]) -> ClassData:
    batches = [read_pickle(official_bytes("cifar10", path), str(path)) for path in files]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [label for batch in batches for label in batch[b"labels"]]
    return ClassData(torch.from_numpy(images), torch.tensor(labels), CLASS_NAMES, name="cifar10")
