"""The folder of one run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from classwise.configuration import differences, from_yaml, to_yaml
from classwise.runs.atomic import write_bytes, write_json, write_text
from classwise.runs.checkpoints import Shelf
from classwise.runs.events import EventLog

T = TypeVar("T")

CONFIG = "config.yaml"


class RunDirectory:
    """Names and reads what lies in a run's folder.

    ``config.yaml``, ``environment.json``, ``status.json``, ``splits.json``, ``events.jsonl``, ``plugins/``,
    ``checkpoints/``, ``audits/``, ``report/``.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.events = EventLog(self.path / "events.jsonl")
        self.checkpoints = Shelf(self.path / "checkpoints")

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / CONFIG).is_file()

    @property
    def status(self) -> dict[str, Any]:
        """State of the run: "state" is "running" or "finished"."""
        path = self.path / "status.json"
        if not path.is_file():
            return {"state": "new"}
        try:
            status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return {**status, "state": str(status["state"])}
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{str(path)!r} is damaged: delete it, and training continues from the last checkpoint"
            ) from None

    def set_status(self, state: str, **facts: Any) -> None:
        """Write the state of the run."""
        write_json(self.path / "status.json", {"format": 1, "state": state, **facts})

    def require(self) -> None:
        """Raise ``ValueError`` where no run was begun."""
        if not self.exists:
            raise ValueError(
                f"{str(self.path)!r} is no run directory: it has no {CONFIG}; give the folder that training wrote"
            )

    def read_config(self, kind: type[T]) -> T:
        """The configuration of the run.

        Args:
            kind: Its type.

        Raises:
            ValueError: It is damaged, or names a component of a plug-in that was not loaded.
        """
        try:
            return from_yaml(kind, self.path / CONFIG)
        except ValueError as error:
            plugins = sorted((self.path / "plugins").glob("*.py"))
            if not plugins:
                raise
            given = " ".join(f"--plugin {plugin}" for plugin in plugins)
            raise ValueError(
                f"{error}; the run was made with plug-ins, which may be missing: where you trust them, give {given} "
                "(in Python: classwise.registry.load_plugin)"
            ) from error

    def admit(self, config: Any) -> None:
        """Check that a run may be written here: nothing is here yet, or the same run was begun earlier.

        Raises:
            ValueError: The folder holds another run, or something else.
        """
        if self.exists:
            changed = differences(self.read_config(type(config)), config)
            if changed:
                raise ValueError(
                    f"{str(self.path)!r} holds another run ({'; '.join(changed[:4])}{' …' if len(changed) > 4 else ''}): "
                    "give another output folder, or repeat the configuration it was begun with"
                )
            return
        ours = ("run.lock", f".{CONFIG}.")  # the lock, and what a run leaves that died while it wrote its configuration
        foreign = [each.name for each in self.path.glob("*") if not each.name.startswith(ours)]
        if foreign:
            raise ValueError(
                f"{str(self.path)!r} is not empty and holds no run ({', '.join(sorted(foreign)[:3])}): "
                "give another output folder"
            )

    def begin(self, config: Any) -> None:
        """Write the configuration, or check that the run begun here earlier has the same; see :meth:`admit`."""
        self.admit(config)
        if not self.exists:
            write_text(self.path / CONFIG, to_yaml(config))

    def keep_plugin(self, path: Path) -> None:
        """Copy a plug-in file into the run, for the record, its hash in the name."""
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        write_bytes(self.path / "plugins" / f"{path.stem}-{digest}.py", content)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from writing here; released by the system when the process dies.

        Raises:
            ValueError: Another process is writing here, or the folder cannot be made.
        """
        import filelock

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / "run.lock", timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise ValueError(
                f"another process is writing to {str(self.path)!r}: wait for it, or give another output folder"
            ) from None
        except OSError as error:
            raise ValueError(
                f"cannot use {str(self.path)!r} as output folder: {error.strerror}; give another one"
            ) from None
        try:
            yield
        finally:
            lock.release()
