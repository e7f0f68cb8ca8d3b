"""The monitor as a Lightning callback."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from classwise.integrations.base import package
from classwise.trackers.monitor import ClasswiseMonitor
from classwise.trackers.scalars import table_scalars

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def lightning_callback(
    monitor: ClasswiseMonitor, *, every_n_epochs: int = 1, network: Callable[[Any], nn.Module] | None = None
) -> Any:
    """A Lightning callback that measures class-wise accuracy at the end of training epochs and logs it.

    The figures go to whatever logger the trainer has, and to its callbacks: ``ModelCheckpoint(monitor="robust/worst",
    mode="max", save_on_train_epoch_end=True)`` keeps the epoch with the strongest weakest class. Every process measures
    the same images, so all have the same figures.

    Args:
        monitor: What is measured; the step in its own log is the number of epochs done.
        every_n_epochs: Measure after every so many epochs.
        network: Takes the classifier on [0, 1] input from the LightningModule, such as
            ``lambda module: cw.Normalized(module.net, mean, std)``; default: the module itself, whose ``forward`` is used.

    Returns:
        A ``Callback`` of the Lightning package that is in use (``lightning`` or ``pytorch_lightning``); its ``table`` is the
        latest class table, None before the first.

    Raises:
        ValueError: Neither package is installed, or every_n_epochs is below 1.
    """
    if every_n_epochs < 1:
        raise ValueError(f"every_n_epochs {every_n_epochs} must be at least 1")
    base: Any = _lightning().Callback

    class ClasswiseCallback(base):  # type: ignore[misc]
        """Calls the monitor; made here, so that Lightning is imported only where it is used."""

        table = None

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Measure and log."""
            done = trainer.current_epoch + 1
            if done % every_n_epochs:
                return
            model = pl_module if network is None else network(pl_module)
            self.table = monitor(model, done)
            pl_module.log_dict(table_scalars(self.table, self.table.names), on_step=False, on_epoch=True)

    return ClasswiseCallback()


def _lightning() -> Any:
    """The Lightning package that the program uses, or else one that is installed."""
    for name in _PACKAGES:
        if sys.modules.get(name) is not None:
            return importlib.import_module(name)
    try:
        return package(_PACKAGES[0], 'pip install "classwise[lightning]"', "callback")
    except ValueError:
        try:
            return importlib.import_module(_PACKAGES[1])
        except ImportError:
            pass
        raise
