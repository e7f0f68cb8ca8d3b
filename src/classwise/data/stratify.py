"""Samples of every class, of its groups in proportion, of units whole: test images of a collection without a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from classwise.data.dataset import rows_by_group
from classwise.data.naming import ordered

SHARE = 2**40  # whole numbers, so that equal shares are equal

_Kind = tuple[str, int]
"""A class or a group: ("class", label) or ("group", group)."""


def hold_out(
    labels: Tensor,
    groups: Tensor,
    names: Sequence[str],
    group_names: Sequence[str],
    fraction: float,
    seed: int,
    units: Tensor | None = None,
) -> Tensor:
    """Choose test samples: the same share of every class, and of its groups in proportion.

    Of a class, the fraction is rounded to the nearest number of samples, but is at least one. Its samples are put in
    random order, then side by side by group, and taken at even distances. The choice depends on nothing but the
    arguments, so it is the same whenever the same collection is read.

    Where samples come in units (the images of one patient) these stay whole. Units are gone through in random order, classes
    and their groups taking turns in proportion, and each is taken that brings its class nearer to that number, as long as
    every class and group keeps two, for training and validation; one where it has two in all. A class or group that has still
    none gives its smallest one that leaves all others one. Of a unit with samples of several classes, gains and losses count
    together.

    Args:
        labels: (N,), int64.
        groups: (N,), int64; where they are the labels, they change nothing.
        names: Of the classes.
        group_names: Of the groups.
        fraction: Share of a class, in (0, 1).
        seed: Of the random order.
        units: (N,), int64; samples with the same number stay together. Default: every sample is on its own.

    Returns:
        (N,), bool: whether a sample is a test sample.

    Raises:
        ValueError: A class has no sample, or one only; a class or a group would have none in one of the roles; or no division
            of units was found, which another seed may find.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = rows_by_group(labels, len(names))
    for label, rows in enumerate(classes):
        if not len(rows):
            raise ValueError(f"class_names names {names[label]!r}, which no label uses: leave it out")
        if len(rows) == 1:
            raise ValueError(
                f"class {names[label]!r} has 1 image, too few to divide into training and test images: add some, "
                "leave the class out, or divide the images yourself"
            )
    numbers = [min(max(1, int(fraction * len(rows) + 0.5)), len(rows) - 1) for rows in classes]
    if units is not None:
        chosen = _Units(units, labels, groups, generator).choose(numbers, names, group_names)
        return torch.isin(units, torch.tensor(chosen, dtype=torch.int64))
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for rows, wanted in zip(classes, numbers, strict=True):
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


def check_apart(column: str, of: Mapping[str, Collection[str]], where: str) -> None:
    """Refuse roles that came divided and share a unit.

    Args:
        column: What names the units, such as "patient".
        of: Role → the units of its images.
        where: The place, for the message.

    Raises:
        ValueError: With the first such unit.
    """
    roles: dict[str, list[str]] = {}
    for role, units in of.items():
        for unit in set(units):
            roles.setdefault(unit, []).append(role)
    shared = ordered(unit for unit, found in roles.items() if len(found) > 1)
    if shared:
        raise ValueError(
            f"unit {shared[0]!r} ({column}) has images in {' and '.join(roles[shared[0]])} in {where!r} ({len(shared)} such "
            "units): put all images of a unit into one role; where equal entries mean different units, write them apart "
            "(train-7, test-7)"
        )


class _Units:
    """Units that stay whole, and which are taken so far.

    Args:
        units: (N,), int64.
        labels: (N,), int64.
        groups: (N,), int64.
        generator: Of the random order of the units.
    """

    def __init__(self, units: Tensor, labels: Tensor, groups: Tensor, generator: torch.Generator) -> None:
        content: dict[int, Counter[_Kind]] = {}  # in the order of their first samples, whatever their numbers
        for unit, label, group in zip(units.tolist(), labels.tolist(), groups.tolist(), strict=True):
            content.setdefault(unit, Counter()).update((("class", label), ("group", group)))
        found = list(content)
        self.content = {found[i]: content[found[i]] for i in torch.randperm(len(found), generator=generator).tolist()}
        self.holders: dict[_Kind, list[int]] = {}
        for unit, held in self.content.items():
            for kind in held:
                self.holders.setdefault(kind, []).append(unit)
        self.left = Counter({kind: len(holders) for kind, holders in self.holders.items()})
        self.chosen: dict[int, None] = {}

    def choose(self, wanted: Sequence[int], names: Sequence[str], group_names: Sequence[str]) -> list[int]:
        """Units that together have about so many samples of each class, and some of every class and group."""
        missing = {("class", label): number for label, number in enumerate(wanted)}
        for unit in self._in_turn():
            sizes = {kind: size for kind, size in self.content[unit].items() if kind in missing}
            gain = sum(abs(missing[kind]) - abs(missing[kind] - size) for kind, size in sizes.items())
            if gain > 0 and self._fits(unit, 2):
                self._take(unit)
                missing |= {kind: missing[kind] - size for kind, size in sizes.items()}
        called = {("class", number): name for number, name in enumerate(names)}
        called |= {("group", number): name for number, name in enumerate(group_names)}
        for kind, name in called.items():
            holders = self.holders.get(kind, [])
            if self.left[kind] < len(holders):
                continue
            possible = [unit for unit in holders if self._fits(unit, 1)]
            if not possible:
                raise ValueError(self._not_divided(kind, name))
            self._take(min(possible, key=lambda unit: self.content[unit][kind]))
        return list(self.chosen)

    def _not_divided(self, kind: _Kind, name: str) -> str:
        """What to say of a class or group that cannot give a unit; with one unit it never can."""
        holders = self.holders[kind]
        size = sum(self.content[unit][kind] for unit in holders)
        otherwise = f"add units, leave the {kind[0]} out, or divide the images yourself"
        if len(holders) == 1:
            return (
                f"{kind[0]} {name!r} has {size} images in 1 unit(s) that stay together, too few to divide into training and test "
                f"images: {otherwise}"
            )
        return (
            f"no division into training and test images was found: {kind[0]} {name!r} has {size} images in {len(holders)} units "
            "that stay together, and giving any of these for testing would leave another class or group without training images: "
            f"another test_seed may find one; otherwise {otherwise}"
        )

    def _fits(self, unit: int, kept: int) -> bool:
        """Whether it is not taken yet, and every class and group keeps so many without it, or all but one of what it has."""
        return unit not in self.chosen and all(
            self.left[kind] > max(1, min(kept, len(self.holders[kind]) - 1)) for kind in self.content[unit]
        )

    def _take(self, unit: int) -> None:
        self.chosen[unit] = None
        self.left.subtract(self.content[unit].keys())

    def _in_turn(self) -> list[int]:
        """All units, those of each class and group in their order and evenly spread; most of its samples say which it is."""
        alike: dict[tuple[_Kind, ...], list[int]] = {}
        for unit, held in self.content.items():
            most = {kind[0]: kind for kind, _ in reversed(held.most_common())}
            alike.setdefault((most["class"], most["group"]), []).append(unit)
        place = {unit: (i + 0.5) / len(units) for units in alike.values() for i, unit in enumerate(units)}
        return sorted(self.content, key=lambda unit: place[unit])


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
