"""The global random generators, which components must leave alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from classwise.testing.demand import BreachError

MEND = (
    "draw from what is handed in (noise, where there is one), never from torch's, numpy's or Python's global generator, and "
    "keep no counters outside what is handed in and returned"
)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Give the global generators of torch, numpy and Python a seed, and put their states back afterwards."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global generator is what is meant
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        random.setstate(kept[2])


def undrawn(what: str, make: Callable[[], Any]) -> Any:
    """What a function returns.

    Raises:
        BreachError: It drew from a global generator.
    """
    with seeded(0):
        before = _states()
        made = make()
        after = _states()
    for name in before:
        if before[name] != after[name]:
            raise BreachError(f"{what} drew from {name}'s global random generator", MEND)
    return made


def _states() -> dict[str, Any]:
    """The states in a form that can be compared."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": {
            **numpy_state,
            "state": {key: np.asarray(value).tolist() for key, value in numpy_state["state"].items()},
        },
        "Python": random.getstate(),
    }
