"""Measure the methods on full CIFAR-10: from random weights in 30 epochs, and as a two-epoch repair of robust networks.

A cell is one row of the tables from one start, attacked by one suite. It is a small file; finished cells are skipped, an
interrupted run goes on from its last epoch and an interrupted audit from its last verdict, so the same command continues
after a stop. All suites share the runs. ``--size small`` does the same on the digits, to try everything in minutes.
``benchmarks/make_results_page.py`` makes docs/results.md from the files.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import classwise as cw
import effects
from classwise.configuration import replace
from classwise.data import Dataset
from classwise.experiments.sizes import Budget
from classwise.progress import Silent
from classwise.run import Run
from classwise.training import Hardware, TrainConfig
from effects_cells import Cell, Folder
from effects_methods import Part
from full_size_methods import PROTOCOLS, REPAIR, SCRATCH, SIZES, Entry, entries

OUT, WORK = Path("benchmarks/results/full_size"), Path("runs/full_size")
STARTS = 3
SUITES = ("pgd-20", "standard")
"""The first one is worked off first; combinations are chosen from its cells."""


def main(
    size: Literal["short", "small"] = "short",
    suite: Literal["pgd-20", "standard"] = "pgd-20",
    minutes: float = 0,
    methods: tuple[str, ...] = (),
    starts: int = STARTS,
    seeds: tuple[int, ...] = (),
    per_class: int = 0,
    data_dir: str = "",
    device: str = "",
    out: Path | None = None,
    work: Path = WORK,
) -> None:
    """Work off the cells that are not finished.

    Args:
        size: short: CIFAR-10, PreActResNet-18, 30 epochs; small: some digits, a small network, 6 epochs, quick for standard.
        suite: Attacks of the audit.
        minutes: Stop after the cell that passes so many minutes; 0: go on to the end.
        methods: Only these rows, such as repair-faal-at; what they go on from is trained as well. Default: all.
        starts: Number of starts that are planned.
        seeds: Only these starts, counted from 0; two processes may share a folder if their seeds differ.
        per_class: Test images of each class; 0: all.
        data_dir: The official files; default: where `classwise data fetch` put them.
        device: Such as cuda:1; default: as the size has it.
        out: Folder for the finished cells; default: benchmarks/results/full_size, of the small size results in WORK.
        work: Folder for the runs.
    """
    made = entries(SIZES[size], data_dir, Hardware(device=device) if device else None)
    folder = out or (OUT if size == "short" else work / "results")
    words = [f"--size {size}" if size != "short" else "", f"--suite {suite}" if suite != SUITES[0] else ""]
    words += [f"--per-class {per_class}" if per_class else "", f"--starts {starts}" if starts != STARTS else ""]
    command = " ".join(["python benchmarks/full_size.py", *filter(None, words)])
    measure(Plan(size, suite, made, folder, work / size, starts, per_class), command, methods, seeds, minutes)


@dataclass(frozen=True)
class Plan:
    """What is planned.

    Attributes:
        size: Of the trainings.
        suite: As asked for; :attr:`attacks` are run.
        entries: All rows by name.
        out: Folder for the finished cells of all sizes and suites.
        work: Folder for the runs of this size.
        starts: Number of starts.
        per_class: Test images of each class; 0: all.
    """

    size: Budget
    suite: str
    entries: Mapping[str, Entry]
    out: Path
    work: Path
    starts: int
    per_class: int = 0

    @property
    def attacks(self) -> str:
        """What is run for the suite in this size."""
        return SIZES[self.size].suite(self.suite)

    def folder(self, suite: str = "") -> Folder:
        """The cells of a suite; default: this one's."""
        return cells_of(self.out, self.size, suite or self.suite)

    def names(self, methods: tuple[str, ...] = ()) -> list[str]:
        """Rows in the order in which they are worked off.

        Of the combinations, suites other than the first have those that were chosen.

        Raises:
            ValueError: A method is not known.
        """
        for name in methods:
            if name not in self.entries:
                raise ValueError(f"method {name!r} is not planned: choose of {', '.join(self.entries)}")
        wanted = [name for name in self.entries if name in (methods or self.entries)]
        if self.suite == SUITES[0]:
            return wanted
        first = self.folder(SUITES[0]).read()
        chosen = {choice(self.entries, first, protocol, self.starts) for protocol in PROTOCOLS}
        return [name for name in wanted if not self.entries[name].combination or name in chosen]


def cells_of(out: Path, size: str, suite: str) -> Folder:
    """The cells of a suite in a size."""
    return Folder(out / f"{size}-{suite}")


def choice(known: Mapping[str, Entry], cells: Mapping[tuple[str, int], Cell], protocol: str, starts: int) -> str | None:
    """The combination with the highest validation score in the mean over the starts; None while a cell is missing."""
    scores = {}
    for name, entry in known.items():
        if entry.combination and entry.protocol == protocol:
            if any((name, seed) not in cells for seed in range(starts)):
                return None
            scores[name] = sum(cells[name, seed].facts["validation_score"] for seed in range(starts)) / starts
    return max(scores, key=scores.__getitem__)


def measure(
    plan: Plan,
    command: str,
    methods: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    minutes: float = 0,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Work off all cells of a plan that are not finished, one start after the other.

    Args:
        plan: What is planned.
        command: What the page prints above the table.
        methods: As of the command.
        seeds: Likewise.
        minutes: Likewise.
        clock: Seconds; given in tests.

    Raises:
        ValueError: A method is not known, or the folder holds cells that were measured in another way.
    """
    begun = clock()
    names = plan.names(methods)
    data = plan.entries[f"{SCRATCH}-at"].config.data.load()
    folder = plan.folder()
    folder.begin(effects.plan_of(_part(plan), data, command) | {"size": plan.size, "asked": plan.suite})
    todo = [(n, seed) for seed in seeds or range(plan.starts) for n in names if not folder.file(n, seed).is_file()]
    for done, (name, seed) in enumerate(todo, 1):
        Bench(plan, seed, data).finish(name)
        if minutes and clock() - begun >= 60 * minutes and done < len(todo):
            print(f"Stopped after {minutes:g} minutes, {len(todo) - done} cells are left: the same command goes on.")
            return
    if len(names) < len(methods or plan.entries):
        print("Combinations are audited by this suite once one was chosen; see the suite pgd-20.")


def _part(plan: Plan) -> Part:
    """What all cells have in common, in the form of the tables on effects."""
    start, repair = (plan.entries[f"{protocol}-at"].config for protocol in (SCRATCH, REPAIR))
    return Part(
        plan.size,
        "",
        start,
        repair,
        methods=(),
        starts=plan.starts,
        suite=plan.attacks,
        gate=0.0,
        per_class=plan.per_class,
    )


@dataclass(frozen=True)
class Bench:
    """All cells of one start.

    Attributes:
        plan: What is planned.
        seed: Number of the start.
        data: The images.
    """

    plan: Plan
    seed: int
    data: Dataset

    def finish(self, name: str) -> None:
        """Train and audit one cell and write it."""
        entry, run = self.plan.entries[name], self.run(name)
        begun = time.perf_counter()
        result = run.audit(attacks=self.plan.attacks, per_class=self.plan.per_class, progress=Silent())
        outcomes, table = result.outcomes, result.table()
        seconds = {"train": effects.seconds_of(run), "audit": time.perf_counter() - begun}
        facts = {
            "label": entry.label,
            "base": entry.base or None,
            "trained": entry.config.epochs > 0,
            "labels_sha256": hashlib.sha256(bytes(outcomes.label.tolist())).hexdigest(),
            "validation_score": run.score(),
            "seconds": seconds,
        }
        self.plan.folder().write(
            name, self.seed, outcomes.clean_correct, outcomes.robust_correct(0), facts | effects.told(run)
        )
        print(
            f"{name}, start {self.seed}: {self.plan.attacks} {table.mean}, weakest class {table.worst}, "
            f"{seconds['train']:.0f} + {seconds['audit']:.0f} s",
            flush=True,
        )

    def run(self, name: str) -> Run:
        """The run of a cell, trained to its end."""
        return cw.train(self.config(name), self.plan.work / f"{name}-{self.seed}", progress=Silent())

    def config(self, name: str) -> TrainConfig:
        """Everything that decides what a cell computes; what it goes on from is trained if it is not yet."""
        entry = self.plan.entries[name]
        start = str(self.run(entry.start).path.resolve()) if entry.start else ""
        return replace(entry.config, start=start, seed=self.seed)


if __name__ == "__main__":
    import tyro  # not on every machine that computes

    tyro.cli(main)
