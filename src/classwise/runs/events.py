"""The event log of a run: one JSON object per line."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from classwise.runs.atomic import cannot_write


class EventLog:
    """Appends events to ``events.jsonl`` and reads them back.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **values: Any) -> None:
        """Add one line with the time; numbers that are not finite are written as null."""
        line = json.dumps({"event": event, "time": time.time(), **_finite(values)}, ensure_ascii=False, allow_nan=False)
        try:
            with self.path.open("ab") as file:
                file.write(line.encode("utf-8") + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def size(self) -> int:
        """Length of the file in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Drop what was written after a checkpoint, when continuing from it."""
        if self.size() > size:
            os.truncate(self.path, size)

    def mend(self) -> None:
        """Drop a last line that a kill cut short, which would spoil the next one."""
        if self.path.exists():
            self.cut(self.path.read_bytes().rfind(b"\n") + 1)

    def read(self, event: str | None = None) -> list[dict[str, Any]]:
        """All whole lines, or those of one kind of event; a last line cut short by a crash is left out.

        Raises:
            ValueError: A line is damaged.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        events = [self._event(number, line) for number, line in enumerate(lines, start=1)]
        return [each for each in events if event is None or each["event"] == event]

    def _event(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            event: dict[str, Any] = json.loads(line)
            return {**event, "event": str(event["event"])}
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"line {number} of {str(self.path)!r} is damaged: delete this line, or restore the file"
            ) from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
