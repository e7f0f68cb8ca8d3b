"""Measure what class-wise methods do: each against its base method, from the same starts and for the same number of epochs.

A cell is one method from one start: train, attack the test images with one suite, and keep every verdict in a small file.
Finished cells are skipped, and an interrupted run goes on from its last epoch, so the same command continues after a stop.
Starts are worked off one after the other, so that a benchmark that was stopped early has all methods from fewer starts.
A cell is not measured again when the settings of its method change: delete its file and its run then.
``benchmarks/make_effects_page.py`` makes docs/effects.md from the files.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import classwise as cw
from classwise.configuration import replace, to_plain
from classwise.data import Dataset
from classwise.evaluation import AuditResult
from classwise.progress import Silent
from classwise.run import Run
from classwise.runs.acted import first_acts
from classwise.training import Hardware, TrainConfig
from effects_cells import Folder
from effects_methods import (
    BASES,
    METHODS,
    STARTS,
    Part,
    Situation,
    cifar10_part,
    digits_part,
    on,
    published_part,
)

OUT, WORK = Path("benchmarks/results/effects"), Path("runs/effects")


def digits(
    methods: tuple[str, ...] = (),
    starts: int = 5,
    seeds: tuple[int, ...] = (),
    out: Path = OUT,
    work: Path = WORK,
) -> None:
    """All policies on the digits.

    Args:
        methods: Only these methods, with their base methods; default: all.
        starts: Number of starts that are planned.
        seeds: Only these starts, counted from 0; two processes may share a folder if their seeds differ.
        out: Folder for the finished cells.
        work: Folder for the runs.
    """
    command = _command("digits", ("starts", starts, 5))
    measure(replace(digits_part(), starts=starts), command, methods, seeds, out, work)


def cifar10(
    data_dir: str = "",
    per_class: int = 200,
    methods: tuple[str, ...] = (),
    starts: int = 3,
    seeds: tuple[int, ...] = (),
    device: str = "cpu",
    threads: int = 0,
    out: Path = OUT,
    work: Path = WORK,
) -> None:
    """Methods that need images: a small CNN on a fifth of CIFAR-10's training images.

    Args:
        data_dir: The official files; default: where `classwise data fetch` put them.
        per_class: Test images of each class.
        methods: Only these methods, with their base methods; default: all.
        starts: Number of starts that are planned.
        seeds: Only these starts, counted from 0; two processes may share a folder if their seeds differ.
        device: Where all of it runs.
        threads: Threads of the processor; 0: torch's default.
        out: Folder for the finished cells.
        work: Folder for the runs.
    """
    part = on(cifar10_part(data_dir, per_class), Hardware(device=device, threads=threads))
    options = ("data-dir", data_dir and "FOLDER", ""), ("per-class", per_class, 200), ("starts", starts, 3)
    command = _command("cifar10", *options, ("device", device, "cpu"))
    measure(replace(part, starts=starts), command, methods, seeds, out, work)


def published(
    checkpoint: str,
    data_dir: str = "",
    per_class: int = 200,
    methods: tuple[str, ...] = (),
    starts: int = 3,
    seeds: tuple[int, ...] = (),
    device: str = "cpu",
    threads: int = 0,
    out: Path = OUT,
    work: Path = WORK,
) -> None:
    """Two epochs from a robust ResNet-20 that is given, on a fifth of CIFAR-10's training images.

    Args:
        checkpoint: Weights of the ResNet-20.
        data_dir: The official files; default: where `classwise data fetch` put them.
        per_class: Test images of each class.
        methods: Only these methods, with their base methods; default: all.
        starts: Number of runs that go on from it.
        seeds: Only these runs, counted from 0; two processes may share a folder if their seeds differ.
        device: Where all of it runs.
        threads: Threads of the processor; 0: torch's default.
        out: Folder for the finished cells.
        work: Folder for the runs.
    """
    part = on(published_part(data_dir, checkpoint, per_class), Hardware(device=device, threads=threads))
    options = ("checkpoint", "FILE", ""), ("data-dir", data_dir and "FOLDER", ""), ("per-class", per_class, 200)
    command = _command("published", *options, ("starts", starts, 3), ("device", device, "cpu"))
    measure(replace(part, starts=starts), command, methods, seeds, out, work)


def _command(name: str, *options: tuple[str, object, object]) -> str:
    """What the page prints above a table; each option with its value and its default."""
    words = [f"--{option} {value}" for option, value, default in options if value != default]
    return " ".join(["python benchmarks/effects.py", name, *words])


def measure(part: Part, command: str, methods: tuple[str, ...], seeds: tuple[int, ...], out: Path, work: Path) -> None:
    """Work off all cells of a part that are not finished.

    Args:
        part: What is planned.
        command: What the page prints above the table.
        methods: As of the commands.
        seeds: Likewise.
        out: Likewise.
        work: Likewise.

    Raises:
        ValueError: A method is not planned, or the folder holds cells that were measured in another way.
    """
    unknown = [name for name in methods if name not in part.methods]
    if unknown:
        raise ValueError(f"method {unknown[0]!r} is not planned for {part.name}: choose of {', '.join(part.methods)}")
    folder, data = Folder(out / part.name), part.start.data.load()
    folder.begin(plan_of(part, data, command))
    for seed in seeds or range(part.starts):
        bench = Bench(part, seed, data, folder, work / part.name)
        for name in bench.names(methods or part.methods):
            if not folder.file(name, seed).is_file():
                bench.finish(name)


def plan_of(part: Part, data: Dataset, command: str) -> dict[str, Any]:
    """What all cells of a part have in common, in plain values."""
    test = data.test.first_per_class(part.per_class) if part.per_class else data.test
    roles = part.start.split.apply(data.train)
    labels = bytes(test.labels.tolist())
    return {
        "command": command,
        "starts": part.starts,
        "start": Path(part.checkpoint).name,
        "start_epochs": part.start.epochs,
        "epochs": part.repair.epochs,
        "threat": str(part.start.threat),
        "suite": part.suite,
        "train_images": len(roles.train),
        "validation_images": len(roles.validation),
        "test_images": len(test),
        "class_names": list(test.class_names),
        "start_config": _settings(part.start),
        "config": _settings(part.repair),
        "labels": labels.hex(),
        "labels_sha256": hashlib.sha256(labels).hexdigest(),
    }


@dataclass(frozen=True)
class Bench:
    """All cells of one start.

    Attributes:
        part: What is planned.
        seed: Number of the start.
        data: The images.
        folder: Where finished cells go.
        work: Where runs are kept.
    """

    part: Part
    seed: int
    data: Dataset
    folder: Folder
    work: Path

    def names(self, methods: tuple[str, ...]) -> Iterator[str]:
        """Cells in the order in which they are worked off: starts, base methods, methods.

        A given checkpoint is the same for every seed, so it makes one cell.
        """
        needed = [METHODS[name].base for name in methods]
        bases = [name for name in self.part.bases() if name in needed]
        used = {name for base in bases for name in (BASES[base].start, BASES[base].teacher)}
        for name in self.part.start_names():
            if (self.part.checkpoint and self.seed == 0) or name in used:
                yield f"start-{name}"
        yield from bases
        yield from methods

    def finish(self, name: str) -> None:
        """Train and audit one cell and write it."""
        run = None if name == "start-given" else self.run(name)
        begun = time.perf_counter()
        result = self._audit(run)
        seconds = {"train": seconds_of(run) if run else 0.0, "audit": time.perf_counter() - begun}
        facts = {
            "label": _label(name, self.part),
            "base": METHODS[name].base if name in METHODS else None,
            "trained": not (name in METHODS and METHODS[name].after_base),
            "labels_sha256": hashlib.sha256(bytes(result.outcomes.label.tolist())).hexdigest(),
            "seconds": seconds,
        }
        outcomes = result.outcomes
        self.folder.write(
            name, self.seed, outcomes.clean_correct, outcomes.robust_correct(0), facts | (told(run) if run else {})
        )
        table = result.table()
        print(
            f"{self.part.name} {name}, start {self.seed}: robust {table.mean}, weakest class {table.worst}, "
            f"{seconds['train']:.0f} + {seconds['audit']:.0f} s",
            flush=True,
        )

    def run(self, name: str) -> Run:
        """The run of a cell, trained to its end."""
        return cw.train(self.config(name), self.work / f"{name}-{self.seed}", progress=Silent())

    def config(self, name: str) -> TrainConfig:
        """Everything that decides what a cell computes."""
        part, seed = self.part, self.seed
        if name.startswith("start-"):
            return replace(part.start, objective=STARTS[name.removeprefix("start-")], seed=seed)
        base = BASES[METHODS[name].base if name in METHODS else name]
        after_base = name in METHODS and METHODS[name].after_base
        config = replace(
            part.repair,
            objective=base.objective,
            start=str(self.run(METHODS[name].base).path.resolve()) if after_base else self._start(base.start),
            teacher=self._start(base.teacher) if base.teacher else "",
            seed=seed,
        )
        if name not in METHODS:
            return config
        first = self.run(METHODS[name].base).directory.events.read("start")[0]
        situation = Situation(
            config.epochs, part.gate, tuple(first["validation"]["raw"]["robust"]), part.repair.adversary
        )
        return replace(config, **METHODS[name].change(situation))

    def _start(self, name: str) -> str:
        """Where the weights of a start are; it is trained if it is not yet."""
        return str(Path(self.part.checkpoint or self.run(f"start-{name}").path).resolve())

    def _audit(self, run: Run | None) -> AuditResult:
        if run is not None:
            return run.audit(attacks=self.part.suite, per_class=self.part.per_class, progress=Silent())
        test = self.data.test.first_per_class(self.part.per_class) if self.part.per_class else self.data.test
        start = self.part.start
        return cw.audit(
            self.part.checkpoint,
            test,
            threat=start.threat,
            attacks=self.part.suite,
            network=start.model,
            device=start.hardware.device,
            progress=Silent(),
        )


def _label(name: str, part: Part) -> str:
    if name in METHODS:
        return METHODS[name].label
    if name in BASES:
        return BASES[name].label
    return {"start-given": "the start", "start-pgd-at": "PGD-AT start", "start-trades": "TRADES start"}[name]


def seconds_of(run: Run) -> float:
    """What training took, over all calls that went on with it."""
    return float(sum(entry["seconds"]["all"] for entry in run.history) + run.repair.get("seconds", 0.0))


def told(run: Run) -> dict[str, Any]:
    """What a run tells of itself: its configuration without places on this machine, and what acted in how many epochs."""
    history = run.history
    each = [first_acts([entry]) for entry in history]
    knobs = {knob for acts in each for knob in acts}
    return {
        "epochs": len(history),
        "selected": run.checkpoint()[0].name,
        "selected_is_average": run.checkpoint()[1],
        "acted": {
            knob: {"first": run.acted[knob], "epochs": sum(knob in acts for acts in each)} for knob in sorted(knobs)
        },
        "averaged_epochs": sum("averaged" in entry["validation"] for entry in history),
        "config": _settings(run.config) | {"hardware": to_plain(run.config.hardware)},
    }


def _settings(config: TrainConfig) -> dict[str, Any]:
    """A configuration in plain values, without places on this machine and without the machine."""
    plain: dict[str, Any] = to_plain(config)
    plain |= {key: Path(plain[key]).name for key in ("start", "teacher")}
    plain["data"].pop("folder", None)
    plain.pop("hardware")
    return plain


if __name__ == "__main__":
    import tyro  # not on every machine that computes

    tyro.extras.subcommand_cli_from_dict({"digits": digits, "cifar10": cifar10, "published": published})
