"""Data sets of torchvision."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

from classwise.configuration import config
from classwise.data.adapted import AdaptedData
from classwise.data.dataset import Dataset
from classwise.registry import did_you_mean, register


@register("data", "torchvision")
@config
class TorchvisionData(AdaptedData):
    """A classification data set of ``torchvision.datasets`` by its name, such as Flowers102, read by torchvision itself.

    Its splits are chosen by what its constructor takes: ``split="train"`` and ``split="test"``, or ``train=True`` and
    ``train=False``. A data set that divides its images in another way can be built by hand and handed to
    :func:`classwise.data.from_torch`. Class names are those of its attribute ``classes``.

    Source: https://docs.pytorch.org/vision/stable/datasets.html.
    Tried with torchvision 0.29.2 (its FashionMNIST on files of the official format); downloads were not.
    """

    folder: str = ""
    """Folder of its files, torchvision's ``root``."""
    train: str = "train"
    """Name of the split with the training images, where splits have names."""
    validation: str = ""
    """Name of the split with the validation images; empty: some training images are held out."""
    test: str = "test"
    """Name of the split with the test images, where splits have names."""
    download: bool = False
    """Whether torchvision may download the files; nothing is ever downloaded otherwise."""

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: torchvision, the data set or its files are not there, or its splits are of another kind.
        """
        from classwise.integrations.base import package

        catalogue = package("torchvision.datasets", "pip install torchvision", "data set")
        known = [name for name, each in vars(catalogue).items() if inspect.isclass(each) and not name.startswith("_")]
        if not self.dataset or self.dataset not in known:
            raise ValueError(f"torchvision has no data set {self.dataset!r}{did_you_mean(self.dataset, known)}")
        if not self.folder:
            raise ValueError(f"torchvision's {self.dataset!r} needs a folder for its files: give it with --data.folder")
        make = getattr(catalogue, self.dataset)
        takes = inspect.signature(make).parameters
        if "split" in takes:
            splits: dict[str, dict[str, Any]] = {"train": {"split": self.train}, "test": {"split": self.test}}
            if self.validation:
                splits["validation"] = {"split": self.validation}
        elif "train" in takes:
            splits = {"train": {"train": True}, "test": {"train": False}}
        else:
            raise ValueError(
                f"torchvision's {self.dataset!r} takes neither split nor train: build its parts in Python and read them "
                "with classwise.data.from_torch"
            )
        more = {"download": self.download} if "download" in takes else {}
        parts = {role: partial(self._made, make, chosen | more) for role, chosen in splits.items()}
        return self.divided(self.dataset, parts)

    def _made(self, make: Any, options: dict[str, Any]) -> Any:
        try:
            return make(str(Path(self.folder).expanduser()), **options)
        except Exception as error:  # missing files are a RuntimeError, unknown splits a ValueError
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"torchvision cannot read its {self.dataset!r} in {self.folder!r} ({reason[:300]}): check the folder and the "
                "names of the splits, or allow it to fetch the files with --data.download"
            ) from error
