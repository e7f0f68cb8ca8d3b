"""Where data come from: a registered component with a ``load`` method."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from classwise import registry
from classwise.configuration import Component, config, from_plain
from classwise.data.dataset import Dataset


@config
class DataSource(Component):
    """Base class of data sources."""

    kind: ClassVar[str] = "data"

    @abstractmethod
    def load(self) -> Dataset:
        """Read the training images; arrange that test images are read when asked for."""


def load(name: str, **fields: Any) -> Dataset:
    """Load a data set by name.

    Args:
        name: A registered name, such as ``"digits"`` or ``"cifar10"``.
        **fields: Fields of the data source, such as ``folder="…/cifar-10-batches-py"``.

    Raises:
        ValueError: The name or a field is unknown, or the files are missing or damaged.
    """
    source = registry.get("data", name)
    fields = {key: str(value) if isinstance(value, Path) else value for key, value in fields.items()}
    made: DataSource = from_plain(DataSource, {"name": source.registered_name, **fields}, where="data")
    return made.load()
