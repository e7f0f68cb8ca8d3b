"""The roles of a data set in training: what it came divided into, or what a split makes of it."""

from __future__ import annotations

from classwise.data.dataset import Dataset
from classwise.data.split import Roles, Split


def roles_of(data: Dataset, split: Split) -> Roles:
    """Training and validation images: the data set's own where it has validation images, otherwise held out by the split.

    That both agree on classes, groups and shape is seen to by :class:`~classwise.data.Dataset`.

    Raises:
        ValueError: A class is too small to divide, or the split asks for what cannot be heeded here.
    """
    if data.validation is None:
        return split.apply(data.train)
    if split.train_per_class:
        raise ValueError(
            f"split.train_per_class {split.train_per_class} cannot be heeded: {data.name!r} comes with validation images, so "
            "nothing is divided here; leave it at 0"
        )
    return Roles(train=data.train, validation=data.validation)
