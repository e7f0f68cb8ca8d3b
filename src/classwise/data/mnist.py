"""MNIST in its official files."""

from __future__ import annotations

from classwise.configuration import config
from classwise.data.dataset import Dataset
from classwise.data.fetch import ARCHIVES, Download, Published
from classwise.data.idx import idx_dataset
from classwise.data.source import DataSource
from classwise.registry import register

_SITE = "https://ossci-datasets.s3.amazonaws.com/mnist"  # the author's own site no longer hands the files out

ARCHIVES["mnist"] = Published(
    folder="mnist",
    downloads=(
        Download(f"{_SITE}/train-images-idx3-ubyte.gz", md5="f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        Download(f"{_SITE}/train-labels-idx1-ubyte.gz", md5="d53e105ee54ea40749a09fcbcd1e9432"),
        Download(f"{_SITE}/t10k-images-idx3-ubyte.gz", md5="9fb629c4189551a2d022fa330f9573f3"),
        Download(f"{_SITE}/t10k-labels-idx1-ubyte.gz", md5="ec29112dd5afa0611ce80d1b7f02629c"),
    ),
)


@register("data", "mnist")
@config
class MNIST(DataSource):
    """Handwritten digits, 28x28 pixels in grey: 60,000 for training, 10,000 for testing.

    Images come as uint8 (N, 1, 28, 28) in the official order, which ``index`` counts.

    Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition";
    http://yann.lecun.com/exdb/mnist.
    """

    folder: str = ""
    """Folder of the four official files, .gz or unpacked. Empty: where `classwise data fetch` put them."""

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or is not the published one.
        """
        return idx_dataset(self, "MNIST", self.folder, tuple(str(digit) for digit in range(10)))
