"""Whether a component stays on the device: computed with tensors that have a device and a shape, but no values."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from classwise.testing.demand import BreachError, raised

DEVICE = "meta"
"""What needs a value raises there, and so does what mixes this device with another."""

MEND = (
    "make tensors with device=… of what is handed in, and use torch.where in place of float(), bool(), if, item(), nonzero() "
    "and indexing by a mask"
)


def stays(where: str, act: Callable[[], object]) -> None:
    """Refuse that something reads a value of a tensor on ``DEVICE``, or mixes devices.

    Args:
        where: Begins the sentence about what was seen, such as "at linf 0.1, "; may be empty.
        act: Calls the component.

    Raises:
        BreachError: It does.
    """
    try:
        act()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        if last.filename.endswith("autocast_mode.py"):
            return  # torch.autocast knows no such device; what comes after it cannot be looked at
        raise BreachError(f"{where}on a device of its own it raised {raised(error)}") from error
