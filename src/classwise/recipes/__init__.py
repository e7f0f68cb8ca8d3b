"""Named experiments: functions that return a full configuration, with their source in the docstring."""

from __future__ import annotations

from typing import Any

from classwise import registry
from classwise.configuration import replace
from classwise.recipes import cfa, cifar10, companions, digits, faal, frl, mixup, repairs, smoothing
from classwise.training import TrainConfig

__all__ = ["cfa", "cifar10", "companions", "digits", "faal", "frl", "mixup", "recipe", "repairs", "smoothing"]


def recipe(name: str, **changes: Any) -> TrainConfig:
    """The configuration of a named experiment, with some fields changed.

    Args:
        name: A registered name; ``classwise recipes`` lists them.
        **changes: Fields of :class:`TrainConfig` and their new values, such as ``policy=cw.policies.KLDRO()``.

    Raises:
        ValueError: The name or a field is unknown.
    """
    made: TrainConfig = replace(registry.get("recipe", name)(), recipe=name)
    return replace(made, **changes)
