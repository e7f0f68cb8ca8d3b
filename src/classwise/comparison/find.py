"""Runs and audits on disk, gathered under the models that were audited."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from classwise.comparison.recipe import Recipes, Training
from classwise.evaluation.result import SEAL, AuditResult
from classwise.runs import RunDirectory
from classwise.runs.repaired import described
from classwise.trained import selected

OUTCOMES = "outcomes.npz"
UNSEARCHED = ("checkpoints", "report", "plugins")


@dataclass(frozen=True)
class Audited:
    """One model and everything that was measured on it.

    Attributes:
        name: Folder name of its run, or what its audit calls the model.
        audits: Its audits.
        run: Directory of the run it came from, if that is known.
        training: What the run's configuration says.
        checkpoint: Which of the run's checkpoints it is, in words; empty for what the run hands out, and where that is not
            known any more and no other was audited.
    """

    name: str
    audits: tuple[AuditResult, ...]
    run: Path | None = None
    training: Training | None = None
    checkpoint: str = ""


def find(paths: Sequence[Path]) -> tuple[list[Audited], list[str]]:
    """Find the audited models that paths name or hold.

    Args:
        paths: Run directories, audit folders, and folders that are searched for both.

    Returns:
        The models, in the order of the paths and within a folder by name; and sentences on what was found but left out.

    Raises:
        ValueError: A path does not exist or holds nothing; what was named itself has no audit, or a damaged one.
    """
    recipes = Recipes()
    left_out: list[str] = []
    runs: dict[Path, list[Audited]] = {}
    loose: dict[Path, AuditResult] = {}
    for path in paths:
        places = [path] if _is_run(path) or _is_audit(path) else list(_search(path))
        if not places:
            raise ValueError(
                f"{str(path)!r} holds neither a run nor an audit: give a run directory, an audit folder, or a folder with some"
            )
        for place in places:
            try:
                if not _is_run(place):
                    loose.setdefault(place.resolve(), AuditResult.load(place))
                elif place.resolve() not in runs:
                    runs[place.resolve()] = _of_run(place, recipes, left_out)
            except ValueError as error:
                if place == path:
                    raise
                left_out.append(f"{error}.")
    inside = {audit.folder.resolve() for each in runs.values() for one in each for audit in one.audits if audit.folder}
    found = [one for each in runs.values() for one in each]
    for place, audit in loose.items():
        if place not in inside:
            _join(found, audit)
    if not found:
        raise ValueError(f"there is nothing to compare: {' '.join(left_out)}")
    return found, left_out


def _is_run(path: Path) -> bool:
    return RunDirectory(path).exists


def _is_audit(path: Path) -> bool:
    return (path / SEAL).is_file() and (path / "audit.yaml").is_file()


def _search(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        raise ValueError(f"{str(path)!r} does not exist: give a run directory, an audit folder, or a folder with some")
    for folder, inside, _ in os.walk(path):
        inside.sort()
        place = Path(folder)
        if _is_run(place) or _is_audit(place):
            yield place
            inside.clear()
        inside[:] = [name for name in inside if name not in UNSEARCHED and not name.startswith(".")]


def _of_run(run: Path, recipes: Recipes, left_out: list[str]) -> list[Audited]:
    """The models of a run: one, or several where more than one of its checkpoints was audited."""
    training = recipes.of(run)
    models: dict[str, list[AuditResult]] = {}
    for folder in sorted(run.glob("audits/*")):
        if not _is_audit(folder):
            continue
        try:
            audit = AuditResult.load(folder)
        except ValueError as error:
            left_out.append(f"{error}.")
            continue
        models.setdefault(audit.plan.model, []).append(audit)
    if not models:
        raise ValueError(f"{str(run)!r} has no finished audit: run classwise audit {run}")
    return [
        Audited(run.resolve().name, tuple(audits), run, training, _checkpoint(run, words, alone=len(models) == 1))
        for words, audits in models.items()
    ]


def _checkpoint(run: Path, words: str, alone: bool) -> str:
    """Which checkpoint an audit's words for its model speak of; empty for the selected one."""
    which = f"({words.partition(' (')[2]}"
    try:
        folder, averaged = selected(RunDirectory(run))
    except ValueError:  # thrown away since
        return "" if alone else which
    handed_out = f"({described(RunDirectory(run), folder, 'averaged weights' if averaged else 'raw weights')}"
    return "" if which.startswith((f"{handed_out})", f"{handed_out};")) else which


def _join(found: list[Audited], audit: AuditResult) -> None:
    """Add an audit that lies by itself to the model it is of, or as a model of its own."""
    for i, model in enumerate(found):
        known = {(each.plan.model, each.fingerprint) for each in model.audits}
        if audit.fingerprint and (audit.plan.model, audit.fingerprint) in known:
            found[i] = replace(model, audits=(*model.audits, audit))
            return
    found.append(Audited(audit.plan.model, (audit,)))
