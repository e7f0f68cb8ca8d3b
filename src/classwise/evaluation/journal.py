"""Finished work of an audit on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from classwise.configuration import differences
from classwise.evaluation.board import Board
from classwise.runs.events import EventLog

EVERY = 1.0
"""Seconds between two writes, so that a fast attack does not wait for the disk."""


class Journal:
    """Appends verdicts to a file and reads them back.

    Args:
        path: The file; it need not exist.
        identity: What the verdicts depend on: plan, model. A journal of anything else is refused.

    Raises:
        ValueError: The file is of another audit, or damaged.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.log = EventLog(path)
        self._pending: list[dict[str, Any]] = []
        self._written = time.monotonic()
        self.log.mend()
        found = self.log.read("audit")
        if not found:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.log.append("audit", identity=identity)
        elif different := differences(found[0].get("identity"), identity):
            raise ValueError(
                f"{str(path.parent)!r} holds an unfinished audit of another model, or with other settings "
                f"({'; '.join(different[:3])}): give another folder, or delete this one"
            )

    def replay(self, board: Board, tasks: dict[int, int]) -> int:
        """Tell a board all that is known; returns the number of verdicts.

        Args:
            board: A fresh one.
            tasks: Runs per sample of each attack, by its position.
        """
        count = 0
        for event in self.log.read():
            if event["event"] not in ("clean", "attack"):
                continue
            rows = torch.tensor(event["rows"], dtype=torch.int64)
            prediction, margin = torch.tensor(event["prediction"]), torch.tensor(event["margin"], dtype=torch.float32)
            count += len(rows)
            if event["event"] == "clean":
                board.clean(rows, prediction, margin)
                continue
            number, runs = event["attack"], torch.tensor(event["tasks"], dtype=torch.int64)
            board.judged(event["threat"], number, rows, runs, prediction, margin)
            board.finished(event["threat"], number, tasks[number])[rows, runs] = True
        return count

    def clean(self, rows: Tensor, prediction: Tensor, margin: Tensor) -> None:
        """Note verdicts of clean images."""
        self._note("clean", rows, prediction, margin)

    def attack(self, threat: int, attack: int, rows: Tensor, tasks: Tensor, prediction: Tensor, margin: Tensor) -> None:
        """Note finished runs of an attack."""
        self._note("attack", rows, prediction, margin, threat=threat, attack=attack, tasks=tasks.tolist())

    def tick(self) -> None:
        """Write what is pending if the last time was a second ago; called all along, also while nothing is found."""
        if self._pending and time.monotonic() - self._written >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        for event in self._pending:
            self.log.append(**event)
        self._pending, self._written = [], time.monotonic()

    def _note(self, event: str, rows: Tensor, prediction: Tensor, margin: Tensor, **values: Any) -> None:
        figures = {"rows": rows.tolist(), "prediction": prediction.tolist(), "margin": margin.tolist()}
        self._pending.append({"event": event, **values, **figures})
        self.tick()


class NoJournal:
    """Keeps nothing: for audits without a folder."""

    def replay(self, board: Board, tasks: dict[int, int]) -> int:
        """See :class:`Journal`."""
        return 0

    def clean(self, rows: Tensor, prediction: Tensor, margin: Tensor) -> None:
        """See :class:`Journal`."""

    def attack(self, threat: int, attack: int, rows: Tensor, tasks: Tensor, prediction: Tensor, margin: Tensor) -> None:
        """See :class:`Journal`."""

    def tick(self) -> None:
        """See :class:`Journal`."""

    def flush(self) -> None:
        """See :class:`Journal`."""
