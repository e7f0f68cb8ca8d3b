"""Names of classes and groups: their order, their numbers, and whether the roles agree on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

ROLES = {
    "train": ("train", "training", "train_set", "training_set"),
    "validation": ("validation", "val", "valid", "dev", "validation_set", "val_set", "valid_set", "dev_set"),
    "test": ("test", "testing", "test_set", "testing_set"),
}
"""Words that people use for each role, in lower case."""


def role_named(word: str) -> str | None:
    """The role that a word means, whatever its case and with any of "_", "-" and a space in it; None where it means none."""
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    return next((role for role, words in ROLES.items() if plain in words), None)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the order of the classes: by value where all are whole numbers, otherwise by letter."""
    different = set(names)
    if all(name.isdecimal() for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def numbers(values: Sequence[str], names: Sequence[str]) -> Tensor:
    """The number of each value among the names, (N,), int64."""
    number = {name: i for i, name in enumerate(names)}
    return torch.tensor([number[value] for value in values], dtype=torch.int64)


def check_same(what: str, of: Mapping[str, Collection[str]], where: str) -> None:
    """Refuse roles whose names differ, as "Cats" in training and "cats" in test do.

    Args:
        what: What is named, such as "classes".
        of: Role → its names; the first role is compared with each other one.
        where: The place, for the message.

    Raises:
        ValueError: With the names of either side that the other lacks.
    """
    (first, known), *others = of.items()
    for role, names in others:
        sides = [(first, ordered(set(known) - set(names))), (role, ordered(set(names) - set(known)))]
        if any(only for _, only in sides):
            told = "; ".join(f"only in {side}: {_listed(only)}" for side, only in sides)
            raise ValueError(
                f"the {what} of {first} and {role} in {where!r} differ ({told}): spell them alike, and give every role "
                "samples of each"
            )


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:most]) or "none"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
