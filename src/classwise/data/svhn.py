"""SVHN, cropped digits, in its official files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.fetch import ARCHIVES, Download, Published
from classwise.data.official import official_bytes, official_folder
from classwise.data.source import DataSource
from classwise.registry import register

_SITE = "http://ufldl.stanford.edu/housenumbers"

ARCHIVES["svhn"] = Published(
    folder="svhn",
    downloads=(
        Download(f"{_SITE}/train_32x32.mat", md5="e26dedcc434d2e4c54c9b2d4a06d8373"),
        Download(f"{_SITE}/test_32x32.mat", md5="eb5a983be6a315427106f1b164d9cef3"),
    ),
)
ARCHIVES["svhn-extra"] = Published(
    folder="svhn", downloads=(Download(f"{_SITE}/extra_32x32.mat", md5="a93ce644f1a588dc4d68dda5feec44a7"),)
)


@register("data", "svhn")
@config
class SVHN(DataSource):
    """House numbers: digits cropped to 32x32 pixels in colour, 73,257 for training and 26,032 for testing.

    The classes are not balanced ("1" is about three times as frequent as "9"). Images come as uint8 (N, 3, 32, 32) in the
    official order, which ``index`` counts. Labels are the digits themselves.

    Source: Netzer et al. 2011, "Reading digits in natural images with unsupervised feature learning"; "Format 2" of
    http://ufldl.stanford.edu/housenumbers: MATLAB files with X (32, 32, 3, N) and y (N, 1), where label 10 is the digit 0.
    """

    folder: str = ""
    """Folder of train_32x32.mat and test_32x32.mat. Empty: where `classwise data fetch` put them."""
    extra: bool = False
    """Whether the 531,131 easier images of extra_32x32.mat are added, after the others, to those for training. They take
    1.6 GB of memory; fetch them with `classwise data fetch svhn-extra`."""

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or is not the published one.
        """
        folder = official_folder("svhn", "SVHN", self.folder)
        files = [("svhn", folder / "train_32x32.mat")]
        if self.extra:
            files.append(
                ("svhn-extra", official_folder("svhn-extra", "extra part of SVHN", self.folder) / "extra_32x32.mat")
            )
        return Dataset(
            "svhn", train=_data(files), test=lambda: _data([("svhn", folder / "test_32x32.mat")]), source=self
        )


def _data(files: list[tuple[str, Path]]) -> ClassData:
    parts = [_read(official_bytes(name, path), str(path)) for name, path in files]
    images, labels = (torch.cat(each) for each in zip(*parts, strict=True))
    return ClassData(images, labels, tuple(str(digit) for digit in range(10)), name="svhn")


def _read(content: bytes, where: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) and digits (N,) of one MATLAB file."""
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(cast(Any, io.BytesIO(content)), variable_names=("X", "y"))
        images, labels = found["X"], found["y"]
    except Exception as error:  # a damaged file raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where!r} is no MATLAB file with X and y ({reason}): use the official file") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise ValueError(f"X in {where!r} holds {images.dtype} of shape {images.shape}: use the official file")
    if (
        labels.dtype.kind not in "iuf"
        or labels.shape != (images.shape[3], 1)
        or not np.isin(labels, range(1, 11)).all()
    ):
        raise ValueError(f"y in {where!r} does not hold one label of 1..10 per image: use the official file")
    return torch.from_numpy(images.transpose(3, 2, 0, 1).copy()), torch.from_numpy(labels[:, 0].astype(np.int64) % 10)
