"""How unequal the classes are, in a sentence."""

from __future__ import annotations

import torch

from classwise.data.dataset import ClassData

WORTH_SAYING = 1.5
"""Ratio of the largest to the smallest class from which training speaks of imbalance."""


def imbalance(data: ClassData) -> float:
    """Images of the largest class over those of the smallest, of classes that have any; 1 where there are none."""
    counts = torch.bincount(data.labels, minlength=data.num_classes)
    present = counts[counts > 0]
    return int(present.max()) / int(present.min()) if len(present) else 1.0


def describe_balance(data: ClassData) -> str:
    """One sentence on how many images the classes have, and what follows from it."""
    counts = torch.bincount(data.labels, minlength=data.num_classes)
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    if counts[largest] == counts[smallest]:
        return f"The {data.num_classes} classes are balanced: {int(counts[largest])} images each."
    names = data.class_names
    sizes = (
        f"{names[largest]!r} has {int(counts[largest])} images and {names[smallest]!r} {int(counts[smallest])} "
        f"({imbalance(data):.3g} times as many)"
        if counts[smallest]
        else f"{names[largest]!r} has {int(counts[largest])} images and {names[smallest]!r} none"
    )
    if imbalance(data) < WORTH_SAYING and counts[smallest]:
        return f"The {data.num_classes} classes are nearly balanced: {sizes}."
    return (
        f"The {data.num_classes} classes are imbalanced: {sizes}. Every figure of a class is over its own images; "
        "balanced=True (--balanced) draws classes equally often in training."
    )
