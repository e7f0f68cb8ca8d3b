"""Test images held out of a collection that has no split of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from classwise.data.dataset import rows_by_group


def hold_out(
    labels: Tensor,
    groups: Tensor,
    names: Sequence[str],
    group_names: Sequence[str],
    fraction: float,
    seed: int,
) -> Tensor:
    """Choose test samples: the same share of every class, and of its groups in proportion.

    Of a class, the fraction is rounded to the nearest number of samples, but is at least one. Its samples are put in
    random order, then side by side by group, and taken at even distances. The choice depends on nothing but the
    arguments, so it is the same whenever the same collection is read.

    Args:
        labels: (N,), int64.
        groups: (N,), int64; where they are the labels, they change nothing.
        names: Of the classes.
        group_names: Of the groups.
        fraction: Share of a class, in (0, 1).
        seed: Of the random order.

    Returns:
        (N,), bool: whether a sample is a test sample.

    Raises:
        ValueError: A class has one sample only, or a group would have none in one of the roles.
    """
    generator = torch.Generator().manual_seed(seed)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label, rows in enumerate(rows_by_group(labels, len(names))):
        if len(rows) < 2:
            raise ValueError(
                f"class {names[label]!r} has {len(rows)} image, too few to divide into training and test images: add some, "
                "leave the class out, or divide the images yourself"
            )
        wanted = min(max(1, int(fraction * len(rows) + 0.5)), len(rows) - 1)
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        side_by_side = shuffled[groups[shuffled].argsort(stable=True)]
        even = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * len(rows) / wanted).long()
        is_test[side_by_side[even]] = True
    for group, rows in enumerate(rows_by_group(groups, len(group_names))):
        taken = int(is_test[rows].sum())
        if taken in (0, len(rows)):
            raise ValueError(
                f"group {group_names[group]!r} with {len(rows)} images has none left for {'training' if taken else 'test'}: "
                "change test_fraction or test_seed, or divide the images yourself"
            )
    return is_test
