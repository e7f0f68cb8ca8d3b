"""Sending the event log of a run to trackers: at once, or while it is written."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from classwise.trackers.log import TrackedLog
from classwise.trackers.scalars import series_of
from classwise.trackers.sink import Sink, sinks_of

EVERY = 2.0
"""Seconds between two looks at a log that is being written."""


class Sender:
    """Sends one log to one tracker, as often as there is something new.

    Args:
        log: The log.
        sink: The tracker.
    """

    def __init__(self, log: TrackedLog, sink: Sink) -> None:
        self.log, self.sink = log, sink
        self.sent = 0
        self._opened = False

    def scalars(self) -> None:
        """Send every number that is settled and not there yet.

        Raises:
            ValueError: The log is damaged, or the tracker refuses it or cannot be reached.
        """
        events = self.log.settled()
        if not events:
            return
        series = series_of(events, self.log.names())
        with self._told():
            if not self._opened:
                self.sink.open(self.log, self.log.identity(events))
                self._opened = True
            for step, when, values in series:
                new = {name: value for name, value in values.items() if not self.sink.has(name, step)}
                if new:
                    self.sink.scalars(new, step, when)
                    self.sent += len(new)

    def pictures_and_report(self) -> None:
        """Send the figures and the HTML report of a run, as they are now; nothing for a monitor's log.

        Raises:
            ValueError: The tracker cannot be reached.
        """
        from classwise.evaluation import AuditResult
        from classwise.report.html import write_report
        from classwise.trackers.pictures import pictures_of

        if not self.log.is_run or not self._opened:
            return
        epochs = [event for event in self.log.settled() if event["event"] == "epoch"]
        pictures = pictures_of(epochs, self.log.names()) if epochs else {}
        audits = [AuditResult.load(each.parent) for each in sorted(self.log.path.glob("audits/*/summary.json"))]
        with tempfile.TemporaryDirectory() as folder:
            report = write_report(Path(folder) / "report.html", audits=audits, runs=[self.log.directory])
            with self._told():
                for name, png in pictures.items():
                    self.sink.picture(name, png, len(epochs))
                self.sink.file(report)
                self.sink.file(self.log.path / "config.yaml")

    def close(self) -> None:
        """Let the tracker write out what it holds back."""
        with self._told():
            self.sink.close(self.log.is_finished)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Trouble of a tracker as one sentence."""
        try:
            yield
        except ValueError:
            raise
        except Exception as error:  # whatever a client library raises where a server is away or a disk is full
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{self.sink.name} cannot be sent to ({reason}): mend that and send again; what arrived is not sent twice"
            ) from error


def track(run: Path | str, to: Sequence[str | Sink], *, follow: bool = False, every: float = EVERY) -> int:
    """Send the event log of a finished or running run, its figures and its report to trackers.

    Called again, it sends what is new: nothing twice, and nothing that the run may take back when it is resumed.

    Args:
        run: A run directory, or the folder of a :class:`classwise.trackers.ClasswiseMonitor` (numbers only).
        to: Trackers: "tensorboard", "tensorboard:FOLDER", "mlflow", "mlflow:URI", or sinks.
        follow: Go on until the run is finished; a monitor's log never is.
        every: Seconds between two looks while following.

    Returns:
        How many numbers were sent, over all trackers.

    Raises:
        ValueError: There is no log, another process is sending it, or a tracker refuses it or cannot be reached.
    """
    log = TrackedLog(run)
    senders = [Sender(log, sink) for sink in sinks_of(to)]
    with _alone(log):
        try:
            mark = log.mark()
            _send(senders)
            while follow and not log.is_finished:
                time.sleep(every)
                now = log.mark()
                if now != mark:
                    mark = now
                    _send(senders)
            _send(senders)
            for sender in senders:
                sender.pictures_and_report()
        finally:
            for sender in senders:
                sender.close()
    return sum(sender.sent for sender in senders)


@contextmanager
def tracking(out: Path | str, to: Sequence[str | Sink], *, every: float = EVERY) -> Iterator[None]:
    """Send the log of a run to trackers while it is written in this block, from a thread of its own.

    A tracker cannot fail or change a run: where sending fails it is tried again later, and if it still fails in the end, a
    warning says how to send what is missing. Of several processes only the first sends.

    Args:
        out: Run directory that the block trains in; it need not exist.
        to: See :func:`track`; empty: nothing is sent.
        every: Seconds between two looks.

    Raises:
        ValueError: A tracker is unknown or not installed; told before the block begins.
    """
    if not to or os.environ.get("RANK", "0") != "0":
        yield
        return
    sinks, stop, trouble = sinks_of(to), threading.Event(), list[Exception]()

    def work() -> None:
        try:
            _until(stop, Path(out), sinks, every)
        except Exception as error:  # whatever it is: the run must not feel it
            trouble.append(error)

    thread = threading.Thread(target=work, name="classwise-tracking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if trouble:
            words = " ".join(each if isinstance(each, str) else each.name.lower() for each in to)
            warnings.warn(
                f"the run is not affected, but not all of its log was sent ({trouble[0]}): "
                f"send the rest with classwise track {out} --to {words}",
                stacklevel=3,
            )


def _until(stop: threading.Event, out: Path, sinks: Sequence[Sink], every: float) -> None:
    """Send until told to stop, then the rest; figures and report only once the run is finished."""
    while not _has_begun(out):
        if stop.wait(every) and not _has_begun(out):
            return
    log = TrackedLog(out)
    senders = [Sender(log, sink) for sink in sinks]
    with _alone(log):
        try:
            mark = None
            while not stop.is_set():
                now = log.mark()  # before sending, so that what is written meanwhile is looked at again
                if now != mark:
                    mark = now if _send(senders, patient=True) else None
                stop.wait(every)
            _send(senders)
            for sender in senders if log.is_finished else ():
                sender.pictures_and_report()
        finally:
            for sender in senders:
                sender.close()


def _send(senders: Sequence[Sender], patient: bool = False) -> bool:
    """Send what is new to every tracker, also where another one fails; whether all went well.

    Raises:
        ValueError: The first failure, in the end, unless it may be tried again later (``patient``).
    """
    failures = []
    for sender in senders:
        try:
            sender.scalars()
        except ValueError as error:
            failures.append(error)
    if failures and not patient:
        raise failures[0]
    return not failures


def _has_begun(out: Path) -> bool:
    """Whether there is a first checkpoint, before which nothing is settled."""
    return (out / "checkpoints" / "last").is_file()


@contextmanager
def _alone(log: TrackedLog) -> Iterator[None]:
    """Keep other processes from sending the same log, which would send figures twice."""
    import filelock

    lock = filelock.FileLock(log.path / "track.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ValueError(f"another process is sending the log of {str(log.path)!r}: let it, or stop it first") from None
    try:
        yield
    finally:
        lock.release()
