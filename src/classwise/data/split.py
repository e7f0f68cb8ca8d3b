"""Training and validation roles: disjoint, stratified, kept with the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.dataset import ClassData, rows_by_group


@config
class Split:
    """How many training images of each class are held out for validation.

    Default: 5 % of a class, at least 20. The choice is random with its own seed, the same in every run that
    does not ask otherwise, so that runs with different training seeds are selected on the same images. "first" and
    "last" take those of each class in the data set's order, as the code of CFA and of FRL does; "permutation" is the
    rule of the code of Rice et al. 2020 (robust overfitting): the head of NumPy's permutation of the whole set, whatever
    the classes are.
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

    def check(self) -> None:
        """Refuse shares outside [0, 1)."""
        if self.train_per_class < 0:
            raise ValueError(f"train_per_class {self.train_per_class} must not be negative: 0 keeps all")
        if not 0 <= self.fraction < 1 or self.at_least < 0:
            raise ValueError(
                f"fraction {self.fraction} must lie in [0, 1) and at_least {self.at_least} must not be negative"
            )

    def apply(self, data: ClassData) -> Roles:
        """Divide training data into training and validation images.

        Raises:
            ValueError: A class is too small to leave both roles a sample.
        """
        generator = torch.Generator().manual_seed(self.seed)
        head = self._permuted(data) if self.choice == "permutation" else None
        train, validation = [], []
        for group, rows in enumerate(rows_by_group(data.groups, data.num_groups)):
            held_out = max(math.ceil(self.fraction * len(rows)), self.at_least)
            if len(rows) <= held_out or held_out == 0:
                raise ValueError(
                    f"class {data.group_names[group]!r} has {len(rows)} training images, too few to hold out {held_out} "
                    "for validation and train on the rest: lower split.at_least, or drop the class"
                )
            shuffled = rows[torch.randperm(len(rows), generator=generator)]
            if head is not None:
                chosen = rows[torch.isin(rows, head)]
            else:
                chosen = {"random": shuffled, "first": rows, "last": rows.flip(0)}[self.choice][:held_out]
            validation.append(chosen)
            left = shuffled[~torch.isin(shuffled, chosen)]
            train.append(left[: self.train_per_class or None])
        return Roles(
            train=data.subset(torch.cat(train).sort().values),
            validation=data.subset(torch.cat(validation).sort().values),
        )

    def _permuted(self, data: ClassData) -> Tensor:
        """Positions that a permutation of the whole set holds out."""
        held_out = max(math.ceil(self.fraction * len(data)), self.at_least * data.num_groups)
        return torch.from_numpy(np.random.RandomState(self.seed).permutation(len(data))[:held_out])


@dataclass(frozen=True, eq=False)
class Roles:
    """What training may see. There is no test role here: test images cannot be reached from training."""

    train: ClassData
    validation: ClassData
