"""Samples of every class, and of its groups in proportion: test images of a collection that has no split of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from classwise.data.dataset import rows_by_group

SHARE = 2**40  # whole numbers, so that equal shares are equal


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
        ValueError: A class has no sample, or one only, or a group would have none in one of the roles.
    """
    generator = torch.Generator().manual_seed(seed)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label, rows in enumerate(rows_by_group(labels, len(names))):
        if not len(rows):
            raise ValueError(f"class_names names {names[label]!r}, which no label uses: leave it out")
        if len(rows) == 1:
            raise ValueError(
                f"class {names[label]!r} has 1 image, too few to divide into training and test images: add some, "
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


def in_proportion(sizes: Sequence[dict[int, int]], wanted: Sequence[int]) -> list[dict[int, int]]:
    """Divide the number wanted of each class among its groups.

    A group's part of a class is its share, rounded down or up. The roundings of a group make up for one another from
    class to class. Then, where a group of two samples or more is left with none taken, or none not taken, one sample is
    exchanged for one of another group of the same class, if that leaves the other group in both.

    Args:
        sizes: For each class, group → its samples in the class, one at the least.
        wanted: Samples to take of each class, no more than it has.

    Returns:
        For each class, group → samples to take; together exactly the number wanted of the class.
    """
    owed: Counter[int] = Counter()  # group → the share of its samples so far, in units of 1 / SHARE, less those taken
    taken = []
    for of_class, number in zip(sizes, wanted, strict=True):
        total = sum(of_class.values())
        part = {}
        for group, size in of_class.items():
            part[group] = number * size // total
            owed[group] += number * size % total * SHARE // total
        split = [group for group, size in of_class.items() if number * size % total]
        for group in sorted(split, key=lambda each: (-owed[each], each))[: number - sum(part.values())]:
            part[group] += 1
            owed[group] -= SHARE
        taken.append(part)
    kept = [
        {group: size - part[group] for group, size in each.items()} for each, part in zip(sizes, taken, strict=True)
    ]
    _into_every_group(taken, kept)
    _into_every_group(kept, taken)
    return taken


def _into_every_group(here: list[dict[int, int]], there: list[dict[int, int]]) -> None:
    """Exchange samples, class by class, until every group that has two or more has one here, as far as possible."""
    held: Counter[int] = Counter()
    left: Counter[int] = Counter()
    for mine, others in zip(here, there, strict=True):
        held.update(mine)
        left.update(others)
    for group in sorted(group for group in left if held[group] == 0 and left[group] > 1):
        exchanges = [
            (held[other], -label, -other)
            for label, mine in enumerate(here)
            if there[label].get(group)
            for other, number in mine.items()
            if number and held[other] > 1
        ]
        if exchanges:
            _, label, other = (abs(each) for each in max(exchanges))
            for one, role, sums in ((1, here, held), (-1, there, left)):
                role[label][group] += one
                role[label][other] -= one
                sums[group] += one
                sums[other] -= one
