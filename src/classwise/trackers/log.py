"""The event log that is sent: of a run, or of a monitor in somebody's own training loop."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from classwise.runs import RunDirectory
from classwise.runs.checkpoints import read_meta

Event = dict[str, Any]


class TrackedLog:
    """An event log, as far as it will not change any more.

    An interrupted run goes on from its last checkpoint, and what its log says of later epochs is written anew. So only what
    the last checkpoint covers is read here, and nothing is ever sent that a run takes back.

    Args:
        path: A run directory, or the folder of a :class:`classwise.trackers.ClasswiseMonitor`.

    Raises:
        ValueError: It is neither.
    """

    def __init__(self, path: Path | str) -> None:
        self.directory = RunDirectory(path)
        self.is_run = self.directory.exists
        if not self.is_run and not self.directory.events.path.is_file():
            raise ValueError(
                f"{str(path)!r} holds no event log: give a run directory, or the folder that a ClasswiseMonitor writes to"
            )

    @property
    def path(self) -> Path:
        """The folder."""
        return self.directory.path

    @property
    def name(self) -> str:
        """What the run is called in a tracker: the name of its folder."""
        return self.path.resolve().name

    @property
    def is_finished(self) -> bool:
        """Whether nothing will be added; never known of a monitor's log."""
        return self.is_run and self.directory.status["state"] == "finished"

    def mark(self) -> tuple[Any, ...]:
        """Something that changes when there may be new entries, and costs little to look at."""
        return self.directory.events.size(), self.directory.checkpoints.pointed("last"), self.is_finished

    def settled(self) -> list[Event]:
        """Entries that will not change.

        Raises:
            ValueError: A line is damaged.
        """
        finished, last = self.is_finished, self.directory.checkpoints.pointed("last")
        events = self.directory.events.read()
        if not self.is_run or finished:
            return events
        if last is None:
            return []
        known = [event for event in events if event["event"] in ("start", "epoch")]
        return [event for event in known if event["event"] == "start" or event["epoch"] < last]

    def names(self) -> tuple[str, ...]:
        """Names of the classes (or groups) that figures are of.

        Raises:
            ValueError: The run has no checkpoint yet, or it cannot be read.
        """
        if not self.is_run:
            return tuple(self.directory.events.read("monitor")[-1]["names"])
        last = self.directory.checkpoints.pointed("last")
        if last is None:
            raise ValueError(f"the run {str(self.path)!r} has not begun to train: wait for its first checkpoint")
        return tuple(read_meta(self.directory.checkpoints.path(last))["group_names"])

    @staticmethod
    def identity(events: list[Event]) -> str:
        """Tells a run from every other, wherever its folder is moved or copied: a digest of its first entry and its time.

        Args:
            events: At least one settled entry.
        """
        return hashlib.sha256(json.dumps(events[0], sort_keys=True).encode()).hexdigest()[:32]

    def settings(self) -> dict[str, str]:
        """Every field of the run's configuration, such as "threat.radius" → "8/255"; of a monitor what it measures."""
        import yaml

        if not self.is_run:
            event = self.directory.events.read("monitor")[-1]
            return {key: str(event[key]) for key in ("threat", "attacks", "seed")}
        plain = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        return dict(_flat("", plain))


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, each in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else str(key), each)]
    return [(prefix, json.dumps(value) if isinstance(value, list) else str(value))]
