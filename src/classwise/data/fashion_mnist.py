"""Fashion-MNIST in its official files."""

from __future__ import annotations

from classwise.configuration import config
from classwise.data.dataset import Dataset
from classwise.data.fetch import ARCHIVES, Download, Published
from classwise.data.idx import idx_dataset
from classwise.data.source import DataSource
from classwise.registry import register

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Classes in the order of their labels, as documented by the authors."""

_SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

ARCHIVES["fashion-mnist"] = Published(
    folder="fashion-mnist",
    downloads=(
        Download(f"{_SITE}/train-images-idx3-ubyte.gz", md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        Download(f"{_SITE}/train-labels-idx1-ubyte.gz", md5="25c81989df183df01b3e8a0aad5dffbe"),
        Download(f"{_SITE}/t10k-images-idx3-ubyte.gz", md5="bef4ecab320f06d8554ea6380940ec79"),
        Download(f"{_SITE}/t10k-labels-idx1-ubyte.gz", md5="bb300cfdad3c16e7a12a480ee83cd310"),
    ),
)


@register("data", "fashion-mnist")
@config
class FashionMNIST(DataSource):
    """Articles of clothing, 28x28 pixels in grey: 6,000 of each of ten classes for training, 1,000 for testing.

    Images come as uint8 (N, 1, 28, 28) in the official order, which ``index`` counts.

    Source: Xiao, Rasul, Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms"; https://github.com/zalandoresearch/fashion-mnist. The files are called like those of MNIST.
    """

    folder: str = ""
    """Folder of the four official files, .gz or unpacked. Empty: where `classwise data fetch` put them."""

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or is not the published one.
        """
        return idx_dataset(self, "Fashion-MNIST", self.folder, CLASS_NAMES)
