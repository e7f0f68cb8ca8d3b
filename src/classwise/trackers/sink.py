"""What a tracker has to be able to do, and trackers by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from classwise.registry import did_you_mean
from classwise.trackers.log import TrackedLog
from classwise.trackers.mlflow import MLflow
from classwise.trackers.tensorboard import TensorBoard


class Sink(Protocol):
    """Where figures of a run are sent. What it holds decides what is still to be sent, so nothing is sent twice."""

    name: str
    """As printed in messages."""

    def open(self, log: TrackedLog, identity: str) -> None:
        """Begin, or go on with, the tracker's record of a run.

        Args:
            log: The run.
            identity: Tells it from all others; see :meth:`TrackedLog.identity`.

        Raises:
            ValueError: The tracker holds another run in this place.
        """

    def has(self, name: str, step: int) -> bool:
        """Whether a figure is there already."""

    def scalars(self, values: Mapping[str, float], step: int, time: float) -> None:
        """Add numbers of one step; ``time`` is in seconds since 1970."""

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Add or replace a figure."""

    def file(self, path: Path) -> None:
        """Add or replace a file, such as the report."""

    def close(self, finished: bool) -> None:
        """Write out what is held back; ``finished`` says that nothing will be added."""


def sink_named(word: str) -> Sink:
    """A tracker by one word.

    Args:
        word: ``tensorboard`` (writes to ``tensorboard/`` in the run), ``tensorboard:FOLDER`` (a folder of the run's name in
            it), ``mlflow`` (where MLflow itself is set to send) or ``mlflow:URI`` (such as ``mlflow:http://host:5000``).

    Raises:
        ValueError: There is no such tracker, or its package is not installed.
    """
    name, colon, where = word.partition(":")
    if name not in ("tensorboard", "mlflow") or (colon and not where):
        raise ValueError(
            f"unknown tracker {word!r}{did_you_mean(name, ['tensorboard', 'mlflow'])}: "
            "write tensorboard, tensorboard:FOLDER, mlflow or mlflow:URI"
        )
    if name == "mlflow":
        return MLflow(where)
    return TensorBoard(where or None)


def sinks_of(given: Sequence[str | Sink]) -> list[Sink]:
    """Trackers, by name or as they are.

    Raises:
        ValueError: None is given, or one is unknown.
    """
    if not given:
        raise ValueError("no tracker given: name tensorboard or mlflow")
    return [sink_named(each) if isinstance(each, str) else each for each in given]
