"""What the adapters of other packages' data sets share: splits of theirs become roles of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.naming import check_same
from classwise.data.source import DataSource
from classwise.data.torch_dataset import from_torch


@config
class AdaptedData(DataSource):
    """Base class of data sets of another package: read sample by sample and held in memory.

    ``index`` counts training images from 0, then validation images, then test images.
    """

    dataset: str = ""
    """Name of the data set in its package."""
    size: int = 0
    """Height and width that images are resized to, in pixels; 0: as they are, which must be the same for all."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""

    def check(self) -> None:
        """Refuse a negative size."""
        if self.size < 0:
            raise ValueError(f"size {self.size} must be at least 1, or 0 to leave images as they are")

    def divided(
        self, title: str, parts: Mapping[str, Callable[[], Any]], class_names: Sequence[str] = (), **keys: Any
    ) -> Dataset:
        """The data set of some splits.

        Args:
            title: Name of the data set, as printed in tables.
            parts: "train", "test" and perhaps "validation" → a function that makes the split, a sequence of samples.
            class_names: See :func:`classwise.data.from_torch`, as for ``keys``.
            **keys: Where image, label and groups are in a sample.
        """

        def read(role: str, start: int, names: Sequence[str]) -> ClassData:
            made = parts[role]()
            return from_torch(
                made, class_names=names, size=self.size, channels=self.channels, name=title, start=start, **keys
            )

        def like_training(role: str, start: int) -> ClassData:
            data = read(role, start, train.class_names)
            if keys.get("groups") is not None:
                check_same("groups", {"train": train.group_names, role: data.group_names}, title)
            return data

        train = read("train", 0, class_names)
        validation = like_training("validation", len(train)) if "validation" in parts else None
        known = len(train) + (len(validation) if validation is not None else 0)
        return Dataset(
            title, train=train, test=lambda: like_training("test", known), source=self, validation=validation
        )
