"""Which runs repeat one recipe: their configurations without what only tells repetitions apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from classwise.runs.directory import CONFIG

UNHEEDED = ("seed", "keep_epochs", "keep_every")
"""Fields that may differ within a recipe: the seed, and what decides only which files are kept."""
MACHINE = ("device", "threads", "feeding", "workers")
"""The same of the hardware; its precision counts."""
ORIGINS = ("start", "teacher")
"""Fields that may name another run, which stands for its own recipe and repetition."""


@dataclass(frozen=True)
class Training:
    """What a run's configuration says about its place among others.

    Attributes:
        configuration: ``config.yaml`` in plain values.
        key: Digest of the recipe; equal for runs that differ in their seeds alone.
        repetition: Seed of the run, then those of the runs it started from or learnt from.
        starts: Recipe and repetition of the run that it started from, then of the one that that started from, and so on.
    """

    configuration: Mapping[str, Any]
    key: str
    repetition: tuple[int, ...]
    starts: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def start(self) -> str:
        """Key of the recipe of the run that it started from; empty where it has none or that run is gone."""
        return self.starts[0][0] if self.starts else ""

    @property
    def recipe(self) -> str:
        """Name of the recipe it began as; empty where it had none."""
        return str(self.configuration.get("recipe", ""))

    @property
    def seed(self) -> int:
        """Its own seed."""
        return self.repetition[0]


class Recipes:
    """Reads the configurations of runs as plain text, each once: no plug-in has to be there, and none is run."""

    def __init__(self) -> None:
        self._known: dict[Path, Training | None] = {}

    def of(self, run: Path) -> Training:
        """The recipe of a run.

        Args:
            run: Its directory.

        Raises:
            ValueError: The configuration cannot be read, or runs start from each other in a circle.
        """
        place = run.resolve()
        if place not in self._known:
            self._known[place] = None
            try:
                self._known[place] = self._read(place)
            except ValueError:
                del self._known[place]
                raise
        found = self._known[place]
        if found is None:
            raise ValueError(f"{str(run)!r} starts, by way of others, from itself: mend start in its {CONFIG}")
        return found

    def _read(self, run: Path) -> Training:
        configuration = _plain(run / CONFIG)
        heeded = {name: value for name, value in configuration.items() if name not in UNHEEDED}
        if isinstance(heeded.get("hardware"), Mapping):
            heeded["hardware"] = {name: each for name, each in heeded["hardware"].items() if name not in MACHINE}
        seed = configuration.get("seed", 0)
        repetition: tuple[int, ...] = (seed if isinstance(seed, int) else 0,)
        starts: tuple[tuple[str, tuple[int, ...]], ...] = ()
        for name in ORIGINS:
            origin = _origin(str(heeded.get(name) or ""), run)
            if origin is not None:
                earlier = self.of(origin[0])
                heeded[name] = [earlier.key, origin[1]]
                repetition += earlier.repetition
                if name == "start":
                    starts = ((earlier.key, earlier.repetition), *earlier.starts)
        digest = hashlib.sha256(json.dumps(heeded, sort_keys=True, default=str).encode()).hexdigest()
        return Training(configuration, digest[:16], repetition, starts)


def _plain(path: Path) -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times as fast, where it was built
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} cannot be read ({' '.join(str(error).split())[:120]}): restore it") from None
    if not isinstance(found, Mapping):
        raise ValueError(f"{str(path)!r} is no configuration: restore it")
    return found


def _origin(named: str, run: Path) -> tuple[Path, str] | None:
    """The run that a start or teacher belongs to, and the place within it; None where it is none that is still there.

    Runs that were moved together are found beside the one that names them.
    """
    if not named:
        return None
    path = Path(named)
    for folder in (path, *list(path.parents)[:2]):
        within = "" if folder == path else str(path.relative_to(folder))
        for place in (folder, run.parent / folder.name):
            if place.resolve() != run and (place / CONFIG).is_file():
                return place, within
    return None
