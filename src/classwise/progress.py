"""Progress of long work: a bar in a terminal, plain lines elsewhere, nothing when it is quick."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells that some units of a task are done."""

    def __call__(self, units: int = 1, note: str = "") -> None:
        """Add units; ``note`` is a short figure to show beside the bar."""


class Progress(Protocol):
    """Shows tasks."""

    def task(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """A task of so many units, shown while the context lasts."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """See :class:`Progress`."""

        def advance(units: int = 1, note: str = "") -> None:
            return None

        yield advance


class PlainLines:
    """A line now and then on standard error, for output that is no terminal; none for work under two seconds."""

    def __init__(self, every: float = 10.0) -> None:
        self.every = every

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """See :class:`Progress`."""
        start = time.monotonic()
        done, shown, latest = 0, start + 2.0 - self.every, ""

        def advance(units: int = 1, note: str = "") -> None:
            nonlocal done, shown, latest
            done, latest = done + units, note or latest
            now = time.monotonic()
            if now - shown >= self.every:
                shown = now
                left = (now - start) / max(done, 1) * (total - done)
                print(
                    f"{label}: {done}/{total}, about {left:.0f} s left  {latest}".rstrip(),
                    file=sys.stderr,
                    flush=True,
                )

        yield advance
        if time.monotonic() - start >= 2:
            print(
                f"{label}: done in {time.monotonic() - start:.0f} s  {latest}".rstrip(),
                file=sys.stderr,
                flush=True,
            )


class Bars:
    """Bars in a terminal (rich)."""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        """See :class:`Progress`."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            handle = bars.add_task(label, total=total, note="")

            def advance(units: int = 1, note: str = "") -> None:
                bars.update(handle, advance=units)
                if note:
                    bars.update(handle, note=note)

            yield advance


def default_progress() -> Progress:
    """Bars in a terminal where rich is installed, plain lines elsewhere; of several processes only the first shows any."""
    if os.environ.get("RANK", "0") != "0":
        return Silent()
    if sys.stderr.isatty():
        try:
            import rich  # noqa: F401 - only whether it is there
        except ImportError:
            return PlainLines()
        return Bars()
    return PlainLines()
