"""Write ``docs/results.md`` from the cells that ``benchmarks/full_size.py`` finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from classwise.published import cells as cells_printed
from effects_cells import Cell, Folder
from effects_figures import Bools, Figure, average, class_accuracies, worst
from full_size import OUT, STARTS, SUITES, cells_of, choice
from full_size_methods import PROTOCOLS, REPAIR, SCRATCH, SIZES, Entry, entries
from make_effects_page import flow
from make_speed_page import hardware, table

FIGURES = ("robust, average", "robust, worst class", "clean, average", "clean, worst class")
UNFINISHED = "unfinished"


def main(results: Path = OUT, size: Literal["short", "small"] = "short", out: Path = Path("docs/results.md")) -> None:
    """Write the page.

    Args:
        results: Folder of the cells.
        size: As in the benchmark.
        out: The page.
    """
    out.write_text(page(results, size), encoding="utf-8")


def page(results: Path, size: Literal["short", "small"] = "short") -> str:
    """The page as Markdown."""
    known = entries(SIZES[size])
    suites = {suite: Suite(suite, known, cells_of(results, size, suite)) for suite in SUITES}
    first = suites[SUITES[0]]
    parts = [*HEADS[size], INTRODUCTION, state(suites), COMMANDS, READING]
    for protocol, title in PROTOCOLS.items():
        parts += [f"## {title}", ABOUT[protocol], flow(chosen(first, protocol))]
        for suite in suites.values():
            parts += [f"### {title}: {suite.attacks(size)}", *section(suite, protocol, first)]
        if protocol == SCRATCH:
            parts += ["### What FAAL reports", REPORTED, reported()]
    return "\n\n".join(parts) + "\n"


HEADS = {
    "short": ["# Results on full CIFAR-10"],
    "small": [
        "# Trial of the page of results",
        "**A trial: some digits, a small network, a few epochs.** The text below is that of the page on CIFAR-10.",
    ],
}

INTRODUCTION = """\
Made by `benchmarks/make_results_page.py` from the cells that `benchmarks/full_size.py` measured. CFA, FAAL, WAT, DAFA and
combinations of them on their base methods AT and TRADES, in two protocols: trained from random weights in 30 epochs, and as a
two-epoch repair of the networks that AT and TRADES gave there. In each, images, network (PreActResNet-18), radius 8/255,
attack, optimiser, learning rates, batches and the rule for choosing the epoch are the same for all rows: 300 images of each
class are held out and decide (average + worst class under PGD-10), test images are seen once, by the audit. Published
schedules are 76 to 200 epochs long. So these are no reproductions of published tables; those are planned and run by
`classwise reproduce` ([reproduce.md](reproduce.md))."""

ABOUT = {
    "scratch": """\
30 epochs, learning rate 0.1 divided by 10 after 15 and 22 epochs, batches of 128. Objective, policy and average are those of the
recipes `cfa-at`, `cfa-trades`, `faal-at-scratch`, `wat` and `dafa`; each epoch that they name is moved in proportion, at most
to the middle of the run. The rate of WAT is multiplied by 100 / 30, since its weights accumulate over epochs. CFA on TRADES
divides the loss by 1 + beta, as its recipe does; the learning rate is not raised for that.""",
    REPAIR: """\
Two epochs with learning rates 0.01 and 0.001, from the network of AT or of TRADES above. The base methods also get two more
epochs, so a difference is what a method adds to further training. A logit bias per class, fitted on attacked validation images
of the base method's network, trains nothing: what it reaches, a method has to surpass. What waits for some epochs waits for
one, and the gate of FAWA is 0.1. FAAL has the published tau of 0.5 where nothing is said; combinations take 0.05, because 0.5
brought classes to zero in a trial on a small network.""",
}

READING = """\
How to read the figures: an accuracy is the mean over the starts (n is their number), in per cent; "worst class" is the lowest
class accuracy of each start. Brackets hold 95 % intervals for other starts and other test images together, and a difference
from the base method is bold where its bracket does not hold 0. With one start there is no bracket. "Acted" says in how many
epochs a method's class knobs and its average did something."""


COMMANDS = """\
```sh
classwise data fetch cifar10
python benchmarks/full_size.py --minutes 9                   # class-wise PGD-20; repeat until nothing is left
python benchmarks/full_size.py --suite standard --minutes 9  # the same runs under AutoAttack's standard version
python benchmarks/full_size.py --methods repair-faal-at repair-wat-trades --starts 1  # some rows only
python benchmarks/make_results_page.py
```

```sh
python benchmarks/full_size.py --size small --work runs/trial  # everything on some digits, in minutes, to try the script
python benchmarks/full_size.py --size small --work runs/trial --suite standard
python benchmarks/make_results_page.py --size small --results runs/trial/results --out runs/trial/results.md
```

Where the parser of these commands (tyro) is not installed, call the function that they call:
`PYTHONPATH=benchmarks python -c "import full_size; full_size.main(minutes=9)"`.

`--minutes` stops after the cell that passes so many minutes, for machines with a time limit; the same command goes on. A
finished cell is a small file in `benchmarks/results/full_size` and is not measured again. What was interrupted goes on from its
last epoch, and an audit from its last verdict, where the folder of the runs (`--work`) is still there. Rows that others need
and short ones come first, one start after the other. `--per-class 100` audits the first 100 test images of each class; such
cells need a folder of their own (`--out`)."""


@dataclass(frozen=True)
class Suite:
    """The cells of one suite.

    Attributes:
        name: As asked for.
        entries: All rows by name.
        folder: Of the cells.
    """

    name: str
    entries: Mapping[str, Entry]
    folder: Folder

    @property
    def plan(self) -> dict[str, Any]:
        """What all cells have in common; without cells, how many starts are planned."""
        return self.folder.plan() or {"starts": STARTS}

    def attacks(self, size: Literal["short", "small"]) -> str:
        """What is run for it in a size."""
        return SIZES[size].suite(self.name)

    def rows(self, protocol: str) -> list[Entry]:
        """The rows of a protocol."""
        return [entry for entry in self.entries.values() if entry.protocol == protocol]


def state(suites: Mapping[str, Suite]) -> str:
    """What was measured where, and how much is missing."""
    lines = []
    for suite in suites.values():
        cells = suite.folder.read()
        if not cells:
            lines.append(f"- `{suite.name}`: nothing has been measured yet. All cells are unfinished.")
            continue
        where = "; ".join(
            sorted({hardware(cell.result | {"figures": {"device": _device(cell)}}) for cell in cells.values()})
        )
        seconds = sum(sum(cell.facts["seconds"].values()) for cell in cells.values())
        plan = suite.plan
        lines.append(
            f"- `{suite.name}`, by `{plan['command']}`, run as `{plan['suite']}` on {plan['test_images']} test images: "
            f"{len(cells)} cells. {where}. They took {seconds / 60:.1f} minutes, training counted with each suite."
        )
    gpu = any(_device(cell) != "cpu" for suite in suites.values() for cell in suite.folder.read().values())
    told = "" if gpu else "**Nothing on this page has been measured on a GPU yet**, since none was at hand.\n\n"
    return told + "\n".join(flow(line, "  ") for line in lines)


def _device(cell: Cell) -> str:
    device = cell.facts["config"]["hardware"]["device"]
    if device == "auto":
        return "cuda" if cell.result["hardware"]["gpu"] else "cpu"
    return str(device)


def chosen(first: Suite, protocol: str) -> str:
    """Which combination is the best one, in a sentence."""
    listed = [entry for entry in first.rows(protocol) if entry.combination]
    text = (
        f"Best combination: of {'; '.join(entry.label for entry in listed)}, the one with the highest validation score (average "
        f"+ worst class), in the mean over all starts. "
    )
    cells = first.folder.read()
    name = choice(first.entries, cells, protocol, first.plan["starts"])
    if name is None:
        return f"{text}Unfinished: none has been chosen, since not all of them are measured."
    scores = [
        f"{100 * np.mean([cells[entry.name, seed].facts['validation_score'] for seed in range(first.plan['starts'])]):.1f} "
        f"({entry.label})"
        for entry in listed
    ]
    return f"{text}It is {first.entries[name].label}: {', '.join(scores)} points."


def section(suite: Suite, protocol: str, first: Suite) -> Iterator[str]:
    """Both tables of a protocol and a suite."""
    cells = suite.folder.read()
    best = choice(first.entries, first.folder.read(), protocol, first.plan["starts"])
    rows = suite.rows(protocol)
    if suite.name != first.name:
        rows = [entry for entry in rows if not entry.combination or entry.name == best]
    levels, changes, classes = [], [], []
    for entry in rows:
        seeds = _seeds(cells, entry.name)
        both = _seeds(cells, entry.name, entry.base) if entry.base else []
        named = f"{entry.label} (best combination)" if entry.name == best else entry.label
        head = [named, _progress(len(seeds), suite)]
        if not seeds:
            levels.append([*head, *[""] * (len(FIGURES) + 1)])
            classes.append([*head, *[""] * len(suite.plan.get("class_names", ()))])
        else:
            figures = _figures(suite, cells, entry.name, seeds)
            levels.append([*head, *(_level(figures[each]) for each in FIGURES), acted(cells, entry.name, seeds)])
            robust = class_accuracies(_outcomes(cells, entry.name, seeds, "robust"), Folder.labels(suite.plan))
            classes.append([*head, *(f"{100 * each:.1f}" for each in robust.mean(axis=0))])
        if entry.base:
            change = _figures(suite, cells, entry.name, both, entry.base) if both else None
            told = [_change(change[each]) for each in FIGURES] if change else [""] * len(FIGURES)
            changes.append([named, suite.entries[entry.base].label, _progress(len(both), suite), *told])
    yield table(["method", "n", *(f"{each}, %" for each in FIGURES), "acted"], levels)
    if not cells:
        return
    yield "Difference from the base method:"
    yield table(["method", "base", "n", *(f"{each}, points" for each in FIGURES)], changes)
    yield "Robust accuracy of each class, %:"
    yield table(["method", "n", *suite.plan["class_names"]], classes)


def _seeds(cells: Mapping[tuple[str, int], Cell], *names: str) -> list[int]:
    """Starts from which all of some cells are finished."""
    return sorted(set.intersection(*({seed for name, seed in cells if name == each} for each in names)))


def _progress(done: int, suite: Suite) -> str:
    planned = suite.plan["starts"]
    return str(done) if done >= planned else f"{UNFINISHED} ({done} of {planned})"


def _outcomes(cells: Mapping[tuple[str, int], Cell], name: str, seeds: list[int], what: str) -> Bools:
    """Verdicts (S, n): "clean" or "robust"."""
    return np.stack([getattr(cells[name, seed], what) for seed in seeds])


def _figures(
    suite: Suite, cells: Mapping[tuple[str, int], Cell], name: str, seeds: list[int], base: str = ""
) -> dict[str, Figure]:
    """The accuracies of a row, or their differences from those of its base from the same starts."""
    labels, made = Folder.labels(suite.plan), {}
    for what in ("robust", "clean"):
        after = _outcomes(cells, name, seeds, what)
        before = _outcomes(cells, base, seeds, what) if base else None
        made[f"{what}, average"] = average(after, before)
        made[f"{what}, worst class"] = worst(after, labels, before)
    return made


def _level(figure: Figure) -> str:
    if figure.both is None:
        return f"{100 * figure.value:.1f}"
    low, high = figure.both
    return f"{100 * figure.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _change(figure: Figure) -> str:
    if figure.both is None:
        return f"{100 * figure.value:+.1f}"
    low, high = figure.both
    text = f"{100 * figure.value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"**{text}**" if figure.shown else text


REPORTED = """\
For comparison, its table 2: 200 epochs, the epoch chosen on test images, AutoAttack. The numbers are those stored in
`classwise.published`; rows of other methods were run by its authors."""


def reported() -> str:
    """What FAAL prints about networks of this size, trained from random weights."""
    found = {(cell.row, cell.column): cell.printed for cell in cells_printed("faal", "table2")}
    names = list(dict.fromkeys(row for row, _ in found))
    columns = ("AA accuracy, average", "AA accuracy, worst class")
    return table(
        ["method", *(f"{column}, %" for column in columns)], [[n, *(found[n, c] for c in columns)] for n in names]
    )


def acted(cells: Mapping[tuple[str, int], Cell], name: str, seeds: list[int]) -> str:
    """In how many epochs each class knob and the average acted, the fewest over the starts."""
    facts = [cells[name, seed].facts for seed in seeds]
    total = facts[0]["epochs"]
    if not facts[0]["base"] or not facts[0]["trained"]:
        return ""
    knobs = sorted({knob for each in facts for knob in each["acted"]})
    fewest = {knob: min(each["acted"].get(knob, {"epochs": 0})["epochs"] for each in facts) for knob in knobs}
    if facts[0]["config"]["averaging"]["name"] != "none":
        fewest["average"] = min(each["averaged_epochs"] for each in facts)
    return "; ".join(f"{knob.replace('_', ' ')} {n} of {total}" for knob, n in fewest.items()) or "never"


if __name__ == "__main__":
    tyro.cli(main)
