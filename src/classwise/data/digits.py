"""The 1,797 handwritten digits bundled with scikit-learn: real images that need no download."""

from __future__ import annotations

import numpy as np
import torch

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset, rows_by_group
from classwise.data.source import DataSource
from classwise.registry import register


@register("data", "digits")
@config
class Digits(DataSource):
    """Handwritten digits, 8x8 pixels, one channel, 17 grey levels, about 180 of each class.

    The bundled set has no official split: here every third image of each class, in file order, is a test image
    (596 images). Values k/16 of the file are kept exactly, as float32.

    Source: UCI "Optical Recognition of Handwritten Digits" (Alpaydin, Kaynak 1998), test part, as bundled with
    scikit-learn (``sklearn.datasets.load_digits``).
    """

    def load(self) -> Dataset:
        """Read the bundled file."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = torch.from_numpy((bunch.images / 16).astype(np.float32))[:, None]
        labels = torch.from_numpy(bunch.target.astype(np.int64))
        whole = ClassData(images, labels, tuple(str(digit) for digit in range(10)), name=self.registered_name)
        is_test = torch.zeros(len(whole), dtype=torch.bool)
        for rows in rows_by_group(labels, 10):
            is_test[rows[2::3]] = True
        return Dataset(
            "digits",
            train=whole.subset((~is_test).nonzero()[:, 0]),
            test=lambda: whole.subset(is_test.nonzero()[:, 0]),
            source=self,
        )
