"""TensorBoard as a sink."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from classwise.integrations.base import package
from classwise.runs.atomic import write_text
from classwise.trackers.log import TrackedLog

MARK = "classwise-run"
"""File in the folder of a run that says which run it is."""


class TensorBoard:
    """Writes event files for ``tensorboard --logdir``, and files such as the report beside them.

    What the folder's event files hold is read first, and only what is missing is added.

    Args:
        folder: Where a folder of the run's name is made; None: ``tensorboard/`` in the run itself.

    Raises:
        ValueError: The package is not installed.
    """

    name = "TensorBoard"

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        package("tensorboard", 'pip install "classwise[tensorboard]"', "tracker")
        self._there: set[tuple[str, int]] = set()
        self._writer: Any = None

    def open(self, log: TrackedLog, identity: str) -> None:
        """See :class:`classwise.trackers.Sink`."""
        from torch.utils.tensorboard import SummaryWriter

        self.path = log.path / "tensorboard" if self.folder is None else self.folder / log.name
        mark = self.path / MARK
        if mark.is_file() and mark.read_text(encoding="utf-8").strip() != identity:
            raise ValueError(
                f"{str(self.path)!r} holds the figures of another run: delete it, or give another folder for TensorBoard"
            )
        write_text(mark, f"{identity}\n")
        self._there = _figures(self.path)
        self._writer = SummaryWriter(str(self.path))

    def has(self, name: str, step: int) -> bool:
        """See :class:`classwise.trackers.Sink`."""
        return (name, step) in self._there

    def scalars(self, values: Mapping[str, float], step: int, time: float) -> None:
        """See :class:`classwise.trackers.Sink`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, walltime=time)
            self._there.add((name, step))
        self._writer.flush()

    def picture(self, name: str, png: bytes, step: int) -> None:
        """See :class:`classwise.trackers.Sink`; a figure of a step that is there stays as it is."""
        from PIL import Image

        if not self.has(name, step):
            pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            self._writer.add_image(name, pixels, step, dataformats="HWC")
            self._there.add((name, step))

    def file(self, path: Path) -> None:
        """See :class:`classwise.trackers.Sink`; TensorBoard shows no files, so it lies beside the event files."""
        shutil.copyfile(path, self.path / path.name)

    def close(self, finished: bool) -> None:
        """See :class:`classwise.trackers.Sink`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _figures(folder: Path) -> set[tuple[str, int]]:
    """Names and steps of all numbers and pictures in a folder's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(folder.glob("events.out.tfevents.*")):
        return set()
    everything = {"scalars": 0, "images": 0}
    found = EventAccumulator(str(folder), size_guidance=everything, purge_orphaned_data=False).Reload()
    tags = found.Tags()
    numbers = {(tag, event.step) for tag in tags["scalars"] for event in found.Scalars(tag)}
    return numbers | {(tag, event.step) for tag in tags["images"] for event in found.Images(tag)}
