"""Training and validation roles: disjoint, stratified, kept with the run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.dataset import ClassData, rows_by_group
from classwise.data.stratify import in_proportion


@config
class Split:
    """How many training images of each class are held out for validation.

    Default: 5 % of a class, at least 20. The choice is random with its own seed, the same in every run that
    does not ask otherwise, so that runs with different training seeds are selected on the same images. "first" and
    "last" take those of each class in the data set's order, as the code of CFA and of FRL does; "permutation" is the
    rule of the code of Rice et al. 2020 (robust overfitting): the head of NumPy's permutation of the whole set, whatever
    the classes are.

    Where groups are not the classes (:attr:`ClassData.groups`: the site an image is from), the number held out of a class
    is the same, and each group's part of it is its share of the class, rounded down or up, or one more or less where the
    group would otherwise have no image in one of the roles; ``train_per_class`` goes by the same rule. So every class
    and every group has training and validation images, or the split is refused and says which has not. Validation images
    of a group may be few: ``at_least`` is a number of a class. A permutation looks at neither, and is refused alike.

    Where samples come in units (:attr:`ClassData.units`: the frames of one traffic sign) a unit is never divided. Whole
    units are held out, in random order or that of the data set, until a class has at least the number asked for, and
    with ``per_class`` exactly that number. Groups then take turns in proportion, as near as units allow; one that has
    still none gives one unit more, except with ``per_class``.
    """

    fraction: float = 0.05
    """Share of each class, in [0, 1)."""
    at_least: int = 20
    """Images of each class at the least."""
    choice: Literal["random", "first", "last", "permutation"] = "random"
    """Which images of a class are held out."""
    seed: int = 0
    """Seed of random choices."""
    train_per_class: int = 0
    """Training images of each class that are kept, chosen at random; 0: all that are not held out."""
    per_class: int = 0
    """Images of each class that are held out, exactly, in place of fraction and at_least; 0: as these say."""

    def check(self) -> None:
        """Refuse shares outside [0, 1), negative numbers and a number per class that a permutation cannot keep."""
        if self.train_per_class < 0:
            raise ValueError(f"train_per_class {self.train_per_class} must not be negative: 0 keeps all")
        if not 0 <= self.fraction < 1 or self.at_least < 0:
            raise ValueError(
                f"fraction {self.fraction} must lie in [0, 1) and at_least {self.at_least} must not be negative"
            )
        if self.per_class < 0:
            raise ValueError(f"per_class {self.per_class} must not be negative: 0 goes by fraction and at_least")
        if self.per_class and self.choice == "permutation":
            raise ValueError(
                "a permutation of the whole set does not heed classes: leave per_class at 0, or use random"
            )

    def apply(self, data: ClassData) -> Roles:
        """Divide training data into training and validation images.

        Raises:
            ValueError: A class is too small, or has too few units, to leave both roles a sample; its units cannot make up
                ``per_class`` images; or a class or a group would have none in one of the roles.
        """
        generator = torch.Generator().manual_seed(self.seed)
        classes = rows_by_group(data.labels, data.num_classes)
        wanted = self._wanted([len(rows) for rows in classes], data.class_names)
        shuffled = [rows[torch.randperm(len(rows), generator=generator)] for rows in classes]
        ordered = shuffled if self.choice == "random" else [rows.flip(0) for rows in classes]
        if self.choice == "first":
            ordered = list(classes)
        if self.choice == "permutation":
            is_held_out = self._permuted(data)
        elif data.units is not None:
            is_held_out = self._whole_units(data, data.units, ordered, wanted)
        else:
            is_held_out = _first(ordered, data.groups, wanted)
        left = [rows[~is_held_out[rows]] for rows in shuffled]
        is_trained_on = _first(left, data.groups, [min(len(rows), self.train_per_class or len(rows)) for rows in left])
        _refuse_absence(data, {"training": is_trained_on, "validation": is_held_out})
        return Roles(
            train=data.subset(is_trained_on.nonzero()[:, 0]),
            validation=data.subset(is_held_out.nonzero()[:, 0]),
        )

    def _wanted(self, sizes: list[int], names: Sequence[str]) -> list[int]:
        """Images of each class to hold out."""
        wanted = [self.per_class or max(math.ceil(self.fraction * size), self.at_least) for size in sizes]
        for size, number, name in zip(sizes, wanted, names, strict=True):
            if size and not number:
                raise ValueError("nothing would be held out for validation: set split.at_least (--split.at-least 20)")
            if size <= number:
                raise ValueError(
                    f"class {name!r} has {size} training images, too few to hold out {number} "
                    f"for validation and train on the rest: {self._mend(sizes, size)}drop the class"
                )
        return wanted

    def _mend(self, sizes: list[int], size: int) -> str:
        """Numbers that leave half of the smallest class that can be divided."""
        if size < 2:
            return "add images, or "
        half = min(each for each in sizes if each > 1) // 2
        if self.per_class:
            return f"lower split.per_class (--split.per-class {half}), or "
        lower = []
        if self.at_least >= size:
            lower.append(f"split.at_least (--split.at-least {half})")
        if math.ceil(self.fraction * size) >= size:
            lower.append("split.fraction (--split.fraction 0.5)")
        return f"lower {' and '.join(lower)}, or "

    def _permuted(self, data: ClassData) -> Tensor:
        """Which positions the head of a permutation of the whole set holds out."""
        if data.units is not None:
            raise ValueError(
                f"the images of {data.name!r} come in units that stay together, and split.choice 'permutation' looks at "
                "single images: use random, first or last"
            )
        held_out = max(math.ceil(self.fraction * len(data)), self.at_least * data.num_groups)
        is_held_out = torch.zeros(len(data), dtype=torch.bool)
        is_held_out[torch.from_numpy(np.random.RandomState(self.seed).permutation(len(data))[:held_out])] = True
        return is_held_out

    def _whole_units(self, data: ClassData, units: Tensor, ordered: list[Tensor], wanted: list[int]) -> Tensor:
        """Which positions are held out when units stay whole; a unit may have samples of several classes."""
        is_held_out = torch.zeros(len(data), dtype=torch.bool)
        turns = [_taking_turns(rows, data.groups) for rows in ordered]
        for rows, least in zip(turns, wanted, strict=True):
            missing = least - int(is_held_out[rows].sum())
            sizes = Counter(units[rows[~is_held_out[rows]]].tolist())  # in the order of their first samples
            chosen = _exactly(sizes, missing) if self.per_class else _at_least(sizes, missing)
            is_held_out |= torch.isin(units, torch.tensor(chosen, dtype=torch.int64))
        for group in range(0 if self.per_class else data.num_groups):
            rows = torch.cat([rows[data.groups[rows] == group] for rows in turns])
            if len(rows) and not is_held_out[rows].any():
                is_held_out |= units == units[rows[0]]
        for rows, name, least in zip(ordered, data.class_names, wanted, strict=True):
            found = int(is_held_out[rows].sum())
            if found == len(rows):
                raise ValueError(
                    f"class {name!r} has {len(rows)} training images in {len(set(units[rows].tolist()))} unit(s) that stay "
                    f"together, too few to hold out {least} for validation and train on the rest: hold out fewer, or drop "
                    "the class"
                )
            if self.per_class and found != least:
                raise ValueError(
                    f"the units of class {name!r}, which stay together, cannot make up exactly {least} images: choose "
                    "another split.per_class, or 0 to go by split.fraction and split.at_least"
                )
        return is_held_out


def _first(ordered: list[Tensor], groups: Tensor, wanted: list[int]) -> Tensor:
    """Which positions are the first of each class, so many as wanted, its groups in proportion."""
    sizes = [dict(sorted(Counter(groups[rows].tolist()).items())) for rows in ordered]
    is_first = torch.zeros(len(groups), dtype=torch.bool)
    for rows, parts in zip(ordered, in_proportion(sizes, wanted), strict=True):
        for group, number in parts.items():
            is_first[rows[groups[rows] == group][:number]] = True
    return is_first


def _taking_turns(rows: Tensor, groups: Tensor) -> Tensor:
    """The samples of one class, each group's in their order and evenly spread; as they are where there is one group."""
    place = torch.zeros(len(rows), dtype=torch.float64)
    for group in set(groups[rows].tolist()):
        mine = groups[rows] == group
        size = int(mine.sum())
        place[mine] = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return rows[place.argsort(stable=True)]


def _refuse_absence(data: ClassData, roles: dict[str, Tensor]) -> None:
    """Refuse a division that leaves a class or a group without an image in a role."""
    kinds = [("class", data.labels, data.class_names), ("group", data.groups, data.group_names)]
    for kind, numbers, names in kinds:
        for role, is_in in roles.items():
            for name, count, found in zip(
                names,
                numbers.bincount(minlength=len(names)).tolist(),
                numbers[is_in].bincount(minlength=len(names)).tolist(),
                strict=True,
            ):
                if not found:
                    raise ValueError(
                        f"{kind} {name!r} has {count} training image{'' if count == 1 else 's'}, and the split leaves none "
                        f"for {role}: hold out {'fewer' if role == 'training' else 'more'} of each class "
                        f"(split.at_least), add images, or drop the {kind}"
                    )


def _at_least(sizes: dict[int, int], number: int) -> list[int]:
    """The first units that together have a number of samples."""
    chosen = []
    for unit, size in sizes.items():
        if number <= 0:
            break
        chosen.append(unit)
        number -= size
    return chosen


def _exactly(sizes: dict[int, int], number: int) -> list[int]:
    """Early units that together have exactly a number of samples; none where no choice has."""
    reached: dict[int, tuple[int, int]] = {0: (0, 0)}  # sum of sizes → the sum before its last unit, and that unit
    for unit, size in sizes.items():
        for total in [each for each in reached if each + size <= number]:
            reached.setdefault(total + size, (total, unit))
        if number in reached:
            break
    chosen = []
    while number > 0 and number in reached:
        number, unit = reached[number]
        chosen.append(unit)
    return chosen


@dataclass(frozen=True, eq=False)
class Roles:
    """What training may see. There is no test role here: test images cannot be reached from training."""

    train: ClassData
    validation: ClassData
