"""Small runs on the digits for claims that the cells of the tables on effects cannot decide.

The tables on effects compare short repairs of trained networks. Several claims are about training from random weights: what
adversarial training does to hard classes, what a larger radius or beta does, how the worst class moves from epoch to epoch, what
is left of it in the last epoch. These runs are for them: 24 epochs with rate drops after half and three quarters, as the papers
have it in their 200, and attacks of 5 steps in training, where the papers take 10, to keep a run below a minute.

Every start holds out other validation images, so that what is read from validation curves varies with images and starts alike.
Finished runs are skipped and an interrupted one goes on from its last epoch. ``benchmarks/make_claims_page.py`` reads the cells.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

import classwise as cw
from classwise.attacks import PGD
from classwise.averaging import EpochEMA, Gated
from classwise.configuration import replace, to_plain
from classwise.objectives import Natural, Trades
from classwise.policies import CalibratedRadius, CalibratedRegularisation, Combined, Fixed
from classwise.progress import Silent
from classwise.run import Run
from classwise.training import SGD, Steps, TrainConfig
from effects import plan_of
from effects_cells import Folder
from effects_methods import Part, digits_part

OUT, WORK = Path("benchmarks/results/claims"), Path("runs/claims")
EPOCHS, MORE = 24, 6
"""Epochs from random weights, and of the runs that go on from there."""
CLASSES, ONE = 10, 8
"""Number of classes, and the one whose weight or radius is raised alone: the weakest in a trial run."""
GATE = 0.35
"""FAWA's threshold: about as far below the worst class that is reached as the paper's 0.2 is on CIFAR-10."""
RAW = {"averaged": "best", "final": "last"}
"""Raw weights that stand in for averaged ones where there are none."""


@dataclass(frozen=True)
class Planned:
    """One run of every start.

    Attributes:
        label: As on the page.
        change: Fields of the configuration that differ from PGD-AT's.
        checkpoints: Which checkpoints are audited; "best" and "averaged" are chosen on validation images by robust accuracy,
            of which natural training has none. "last" are the raw weights of the last epoch, "final" its averaged ones.
        after: Run from whose best weights it goes on for a few epochs; empty: from random weights.
    """

    label: str
    change: dict[str, Any]
    checkpoints: tuple[str, ...] = ("best",)
    after: str = ""


def _all(value: float) -> tuple[float, ...]:
    return (value,) * CLASSES


def _one(value: float) -> tuple[float, ...]:
    return tuple(value if c == ONE else 1.0 for c in range(CLASSES))


EMA = EpochEMA(decay=0.85, start=EPOCHS // 4)
FAWA = Gated(decay=0.85, start=EPOCHS // 4, threshold=GATE)
CFA = Combined(members=(CalibratedRadius(offset=0.3, begin=5), CalibratedRegularisation(offset=0.5, begin=5)))
RUNS = {
    "natural": Planned("natural training", {"objective": Natural()}, ("last",)),
    "at": Planned("PGD-AT", {}, ("best", "last")),
    "at-1.5": Planned("PGD-AT at 1.5 times the radius", {"policy": Fixed(radius=_all(1.5))}, ("best", "last")),
    "trades-1": Planned("TRADES (beta 1)", {"objective": Trades(beta=1)}),
    "trades": Planned("TRADES (beta 6)", {"objective": Trades(beta=6), "averaging": EMA}, ("best", "averaged", "last")),
    "fawa": Planned("TRADES with FAWA", {"objective": Trades(beta=6), "averaging": FAWA}, ("averaged",)),
    "cfa": Planned(
        "CFA on TRADES",
        {"objective": Trades(beta=6), "policy": CFA, "averaging": FAWA},
        ("best", "averaged", "final"),
    ),
    "more": Planned("TRADES, six epochs more", {"objective": Trades(beta=1)}, after="trades-1"),
    "more-weight": Planned(
        "the same with weight 4.5 for one class",
        {"objective": Trades(beta=1), "policy": Fixed(robust=_one(4.5))},
        after="trades-1",
    ),
    "more-margin": Planned(
        "the same with margin 2.5 for one class",
        {"objective": Trades(beta=1), "policy": Fixed(radius=_one(2.5))},
        after="trades-1",
    ),
}


def part(epochs: int = EPOCHS, more: int = MORE, starts: int = 5) -> Part:
    """What all runs have in common.

    Args:
        epochs: From random weights.
        more: Of the runs that go on.
        starts: Number of starts.
    """
    planned = digits_part()
    start = replace(
        planned.start,
        adversary=PGD(steps=5),
        optimizer=SGD(lr=0.05, weight_decay=5e-4),
        schedule=Steps(drops=(max(1, epochs // 2), max(2, epochs * 3 // 4))),
        epochs=epochs,
    )
    further = replace(start, optimizer=SGD(lr=0.01, weight_decay=5e-4), schedule=Steps(drops=(more,)), epochs=more)
    return replace(planned, start=start, repair=further, methods=(), starts=starts, suite="pgd-20")


def main(
    seeds: tuple[int, ...] = (),
    names: tuple[str, ...] = (),
    epochs: int = EPOCHS,
    more: int = MORE,
    starts: int = 5,
    out: Path = OUT,
    work: Path = WORK,
) -> None:
    """Work off all runs that are not finished.

    Args:
        seeds: Only these starts, counted from 0; two processes may share a folder if their seeds differ.
        names: Only these runs; those that they go on from are trained too.
        epochs: Epochs from random weights.
        more: Epochs of the runs that go on from there.
        starts: Number of starts that are planned.
        out: Folder for the finished cells.
        work: Folder for the runs.

    Raises:
        ValueError: A run is not planned, or the folder holds cells that were measured in another way.
    """
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise ValueError(f"run {unknown[0]!r} is not planned: choose of {', '.join(RUNS)}")
    common = part(epochs, more, starts)
    folder = Folder(out / "digits")
    folder.begin(plan_of(common, common.start.data.load(), "python benchmarks/claims_runs.py"))
    for seed in seeds or range(starts):
        for name in names or RUNS:
            if any(not folder.file(each, seed).is_file() for each in cells_of(name)):
                _finish(name, seed, common, folder, work / "digits")


def cells_of(name: str) -> list[str]:
    """Names of the cells of a run: ``scratch-at`` for its best weights, ``scratch-at@last`` for others."""
    return [_cell(name, which) for which in RUNS[name].checkpoints]


def config(name: str, seed: int, common: Part, work: Path) -> TrainConfig:
    """Everything that decides what a run computes."""
    planned = RUNS[name]
    base = common.repair if planned.after else common.start
    start = str(_run(planned.after, seed, common, work).checkpoint("best")[0].resolve()) if planned.after else ""
    return replace(base, start=start, seed=seed, split=replace(base.split, seed=seed), **planned.change)


def _run(name: str, seed: int, common: Part, work: Path) -> Run:
    """A run, trained to its end."""
    return cw.train(config(name, seed, common, work), work / f"{name}-{seed}", progress=Silent())


def _finish(name: str, seed: int, common: Part, folder: Folder, work: Path) -> None:
    """Train and audit one run and write those of its cells that are not there."""
    run = _run(name, seed, common, work)
    told = _told(run)
    for which in RUNS[name].checkpoints:
        if folder.file(_cell(name, which), seed).is_file():
            continue
        # Where no epoch passed the gate there is no average, and the raw weights stand in for it.
        missing = which in ("averaged", "final") and run.directory.checkpoints.pointed("averaged") is None
        outcomes = run.audit(
            attacks=common.suite, checkpoint=RAW[which] if missing else which, progress=Silent()
        ).outcomes
        sha = hashlib.sha256(bytes(outcomes.label.tolist())).hexdigest()
        facts = told | {"checkpoint": which, "average_missing": missing, "labels_sha256": sha}
        folder.write(_cell(name, which), seed, outcomes.clean_correct, outcomes.robust_correct(0), facts)
    print(f"{name}, start {seed}: {told['seconds']:.0f} s", flush=True)


def _cell(name: str, which: str) -> str:
    return f"scratch-{name}" + ("" if which == "best" else f"@{which}")


def _told(run: Run) -> dict[str, Any]:
    """What a run tells of itself: its validation accuracies over the epochs, its class knobs, what it cost."""
    history = run.history
    plain: dict[str, Any] = to_plain(run.config)
    plain |= {key: Path(plain[key]).name for key in ("start", "teacher")}
    plain["data"].pop("folder", None)
    return {
        "epochs": len(history),
        "seconds": sum(entry["seconds"]["all"] for entry in history),
        "curve": [{kind: table["robust"] for kind, table in entry["validation"].items()} for entry in history],
        "knobs": {
            knob: [entry["knobs"][knob] for entry in history]
            for knob in ("radius", "robust")
            if any(value != 1 for entry in history for value in entry["knobs"][knob])
        },
        "config": plain,
    }


if __name__ == "__main__":
    tyro.cli(main)
