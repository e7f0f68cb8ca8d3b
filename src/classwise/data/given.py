"""Data that a caller handed over as a live object."""

from __future__ import annotations

from classwise.configuration import config
from classwise.data.dataset import Dataset
from classwise.data.source import DataSource
from classwise.registry import register


@register("data", "given")
@config
class GivenData(DataSource):
    """Stands in a configuration for a data set that was passed to ``train`` or ``finetune`` as an object.

    The checksum of its training images makes sure that a run continues on the same data.
    """

    title: str = ""
    """Name of the data set."""
    sha256: str = ""
    """Checksum of the training images."""

    def load(self) -> Dataset:
        """Refuse: there is nothing to read.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"this run was trained on the data set {self.title!r}, handed over in Python: pass the same data set again"
        )
