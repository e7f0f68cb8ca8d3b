"""A size of seconds: everything is trained for two epochs on a few digits and hardly attacked."""

import pytest

from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.experiments.sizes import DIGITS_SCALE, Size, at_epochs, small
from classwise.training import TrainConfig


def few_steps(config: TrainConfig) -> TrainConfig:
    tiny = at_epochs(small(config), 2)
    attacks = {}
    for axis in ("adversary", "validation_attack"):
        attack = getattr(tiny, axis)
        attacks[axis] = replace(attack, steps=2) if isinstance(attack, PGD) else attack
    return replace(tiny, split=replace(tiny.split, at_least=20, train_per_class=13), **attacks)


@pytest.fixture(scope="session")
def tiny() -> Size:
    return Size(
        "small",
        few_steps,
        "a test",
        per_class=6,
        attacks={"standard": "pgd-2", "pgd-20": "pgd-3", "cw-20": "cw-2"},
        scale=DIGITS_SCALE,
        every=12,
        votes=50,
    )
