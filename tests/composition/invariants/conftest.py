"""Small worlds of 2 to 200 classes, most of them absent from a batch or from all of training, in every norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from classwise import ClassData, ThreatModel
from classwise.configuration import replace
from classwise.data import Roles

WORLDS: dict[int, tuple[tuple[int, int, int], int, int]] = {
    2: ((1, 3, 5), 5, 3),
    3: ((3, 4, 4), 3, 1),
    10: ((2, 4, 3), 9, 5),
    43: ((1, 5, 5), 6, 4),
    200: ((1, 4, 4), 3, 1),
}
"""Classes → shape of an image, training images, images of a batch. Most classes have no images, some batches one."""

NORMS = ("linf", "l2", "l1")
RADII = {"linf": "0.1", "l2": "0.4", "l1": "1.0"}


class World:
    """Images of some classes, a network for them, and a norm."""

    def __init__(self, lab: Any, classes: int, norm: Any) -> None:
        shape, count, batch_size = WORLDS[classes]
        draw = torch.Generator().manual_seed(classes)

        def some(number: int, seed: int) -> ClassData:
            labels = torch.randint(classes, (number,), generator=draw)
            return ClassData(lab.patterns(labels, shape, seed), labels, tuple(f"class {i}" for i in range(classes)))

        self.lab, self.norm, self.classes = lab, norm, classes
        self.roles = Roles(train=some(count, 1), validation=some(8, 2))
        self.start, self.teacher = lab.warmed(self.roles.train, seed=3), lab.warmed(self.roles.train, seed=4)
        self.config = replace(lab.base, threat=ThreatModel(norm=norm, radius=RADII[norm]), batch_size=batch_size)
        self._outcomes: dict[str, Any] = {}

    def run(self, fields: Mapping[str, Any]) -> Any:
        """Train with some fields of the configuration."""
        taught = "objective" in fields and fields["objective"].taught
        config = replace(self.config, **fields, teacher="a robust network" if taught else "")
        key = repr(config)
        if key not in self._outcomes:
            self._outcomes[key] = self.lab.run_on(self.roles, self.start, config, self.teacher)
        return self._outcomes[key]


class Worlds:
    """All of them, each made when it is first asked for."""

    def __init__(self, lab: Any) -> None:
        self._lab = lab
        self._made: dict[tuple[int, int], World] = {}

    def of(self, classes: int, norm: int) -> World:
        """The world with so many classes and the norm of a number, whatever the number."""
        key = classes, norm % len(NORMS)
        if key not in self._made:
            self._made[key] = World(self._lab, classes, NORMS[key[1]])
        return self._made[key]


@pytest.fixture(scope="session")
def worlds(lab: Any) -> Worlds:
    """Small worlds of 2 to 200 classes in every norm."""
    return Worlds(lab)
