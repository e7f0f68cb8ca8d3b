"""Data sets of Hugging Face's datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from classwise.configuration import config
from classwise.data.adapted import AdaptedData
from classwise.data.dataset import Dataset
from classwise.data.images import decode
from classwise.data.stratify import check_apart
from classwise.registry import did_you_mean, register

INSTALL = "pip install datasets"


@register("data", "huggingface")
@config
class HuggingFaceData(AdaptedData):
    """Images of a data set on the Hugging Face hub, or in a folder, read with the package datasets.

    Images come as uint8 and are decoded here, with a limit of pixels. Class names are those of the label's ClassLabel, or
    else the labels that occur. Code that a repository brings along is never run (datasets before version 4 would ask).

    Source: https://huggingface.co/docs/datasets/image_load (``load_dataset``, ``Image(decode=False)``, ``ClassLabel``).
    Tried with datasets 5.2.0 on a folder that save_to_disk wrote; downloads were not.
    """

    folder: str = ""
    """A folder that save_to_disk wrote, in place of a data set on the hub."""
    configuration: str = ""
    """Which configuration of the data set; empty: its only one."""
    revision: str = ""
    """Commit or tag on the hub, so that a run can be repeated; empty: the newest."""
    train: str = "train"
    """Name of the split with the training images."""
    validation: str = ""
    """Name of the split with the validation images; empty: some training images are held out."""
    test: str = "test"
    """Name of the split with the test images."""
    image: str = "image"
    """Column of the images."""
    label: str = "label"
    """Column of the labels."""
    groups: str = ""
    """Column that takes the label's place in every policy, audit and gate, such as site; empty: the label."""
    units: str = ""
    """Column whose equal entries say that images belong together and stay in one role, such as patient; empty: none do."""

    def load(self) -> Dataset:
        """Read the training images, from the hub where need be; test images are read at their first use.

        Raises:
            ValueError: The package datasets or the data set is not there, splits or columns are not as named, or splits
                share a unit.
        """
        from classwise.integrations.base import package

        if bool(self.dataset) == bool(self.folder):
            raise ValueError(
                "data source 'huggingface' needs a data set: name one on the hub with --data.dataset, or give a folder that "
                "save_to_disk wrote with --data.folder"
            )
        datasets = package("datasets", INSTALL, "data set")
        splits = self._splits(datasets)
        wanted = {"train": self.train, "test": self.test} | ({"validation": self.validation} if self.validation else {})
        for role, name in wanted.items():
            if name not in splits:
                raise ValueError(
                    f"{self._called!r} has no split {name!r}{did_you_mean(name, list(splits))} (--data.{role})"
                )
            self._check_columns(splits[name])
        if self.units:
            check_apart(
                self.units,
                {
                    role: {str(unit) for unit in splits[name].unique(self.units) if unit is not None}
                    for role, name in wanted.items()
                },
                self._called,
            )
        feature = splits[self.train].features[self.label]
        return self.divided(
            self._called.rstrip("/").rpartition("/")[2],
            {role: self._decoded(datasets, splits[name]) for role, name in wanted.items()},
            class_names=tuple(getattr(feature, "names", None) or ()),
            image=self.image,
            label=self.label,
            groups=self.groups or None,
            units=self.units or None,
        )

    @property
    def _called(self) -> str:
        return self.dataset or self.folder

    def _splits(self, datasets: Any) -> Any:
        """Name → split."""
        try:
            if self.folder:
                return datasets.load_from_disk(str(Path(self.folder).expanduser()))
            return datasets.load_dataset(self.dataset, self.configuration or None, revision=self.revision or None)
        except Exception as error:  # of its own many kinds, of requests and of pyarrow
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{self._called!r} cannot be loaded ({reason[:300]}): check its name, --data.configuration and the network"
            ) from error

    def _check_columns(self, split: Any) -> None:
        for field in ("image", "label", "groups", "units"):
            column = getattr(self, field)
            if column and column not in split.column_names:
                raise ValueError(
                    f"{self._called!r} has no column {column!r}{did_you_mean(column, list(split.column_names))} "
                    f"(--data.{field})"
                )

    def _decoded(self, datasets: Any, split: Any) -> Callable[[], Any]:
        """Makes a split whose images are decoded here."""
        kept = [column for column in (self.image, self.label, self.groups, self.units) if column]
        return lambda: _Rows(split.select_columns(kept).cast_column(self.image, datasets.Image(decode=False)), self)


class _Rows:
    """Rows of a split, with images as tensors and groups by their names."""

    def __init__(self, split: Any, source: HuggingFaceData) -> None:
        self.split, self.source = split, source
        self.group_names = getattr(split.features[source.groups], "names", None) if source.groups else None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, number: int) -> dict[str, Any]:
        row, source = dict(self.split[number]), self.source
        stored = row[source.image]
        where = f"image {number} of {source._called}"
        if stored is None:
            raise ValueError(f"{where!r} is missing: filter the data set first")
        content = stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
        row[source.image] = decode(content, where, source.size or None, source.channels)
        if self.group_names is not None:
            row[source.groups] = self.group_names[row[source.groups]]
        return row
