"""``classwise track``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise.cli.flags import parse
from classwise.trackers import track


@dataclass(frozen=True)
class Flags:
    """Send the event log of a run, its figures and its report to TensorBoard or MLflow; again, to send what is new."""

    run: tyro.conf.Positional[Path]
    """A run directory, finished or not, or the folder that a ClasswiseMonitor writes to."""
    to: tuple[str, ...]
    """tensorboard, tensorboard:FOLDER, mlflow or mlflow:URI; several of them are several words."""
    follow: bool = False
    """Go on until the run is finished."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "track", arguments)
    sent = track(flags.run, flags.to, follow=flags.follow)
    print(f"{sent} numbers sent to {', '.join(flags.to)}." if sent else "Nothing new to send.")
    return 0
