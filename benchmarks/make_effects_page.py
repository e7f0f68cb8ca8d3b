"""Write ``docs/effects.md`` from the cells that ``benchmarks/effects.py`` finished."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from effects_cells import Cell, Folder
from effects_figures import Bools, Figure, Interval, average, worst
from effects_methods import BASES, METHODS, NULL, Part, cifar10_part, digits_part, published_part
from make_speed_page import hardware, table

FIGURES = ("robust, average", "robust, worst class", "clean, average", "clean, worst class")


def main(results: Path = Path("benchmarks/results/effects"), out: Path = Path("docs/effects.md")) -> None:
    """Write the page.

    Args:
        results: Folder of the cells.
        out: The page.
    """
    out.write_text(page(results), encoding="utf-8")


def page(results: Path) -> str:
    """The page as Markdown."""
    parts = [section(part, Folder(results / part.name)) for part in (digits_part(), cifar10_part(), published_part())]
    return "\n\n".join(["# What the methods do", INTRODUCTION, *parts]) + "\n"


INTRODUCTION = """\
Made by `benchmarks/make_effects_page.py` from the cells in `benchmarks/results/effects`; the command above a table measures
its cells, and goes on where it was stopped.

Every method goes on from a robust start for a few epochs, and so does its base method from the same start: same images,
objective, attack, learning rates, epochs and rule for choosing the epoch (validation images only; test images are seen once,
by the audit). So a difference is what the method adds, not what further training does. The settings are those of the recipes,
with one change: published schedules are 40 to 300 epochs long, so rates that accumulate over epochs are multiplied by how
much shorter the run is here, and waiting times are cut to one epoch (`benchmarks/effects_methods.py` has all values). The
tables tell what happens in short repairs of small networks. They reproduce no published table, and a method that does nothing
here may do more in a long schedule.

How to read the figures:

- An accuracy is the mean over the starts (n is their number) of what one start gives. "Worst class" is the lowest class
  accuracy of each start, of whichever class that is. A robust image is right both without and under attack.
- Brackets hold 95 % intervals for other starts *and* other test images: the spread of the starts and that of the images are
  added, and the quantile is Student's (Welch and Satterthwaite). Behind a difference stands what either source alone gives:
  half the width for other images with these networks (each image once, with its mean over the starts; paired), and for other
  starts with these images (Student's t over n starts).
- A difference is printed in bold where its bracket does not hold 0. That is one test per cell of a table: if no method did
  anything, about one bold cell in twenty would have to be expected.
- The lowest of several measured accuracies tends to lie below the lowest true one, the more so the closer the classes are.
  A method that makes classes more equal is therefore shown somewhat worse in its worst class than it is."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The cells of a part, as tables need them.

    Attributes:
        part: What is planned.
        plan: What all cells have in common.
        cells: Finished cells by method and start.
    """

    part: Part
    plan: dict[str, Any]
    cells: dict[tuple[str, int], Cell]

    def methods(self) -> list[tuple[str, str]]:
        """Methods and their bases: those that are planned, then others of which there are cells."""
        planned = [(name, METHODS[name].base) for name in self.part.methods]
        others = {(name, cell.facts["base"]) for (name, _), cell in self.cells.items() if cell.facts["base"]}
        return planned + sorted(others - set(planned))

    def seeds(self, *names: str) -> list[int]:
        """Starts from which all of some cells are finished."""
        return sorted(set.intersection(*({seed for name, seed in self.cells if name == each} for each in names)))

    def outcomes(self, name: str, seeds: list[int]) -> dict[str, Bools]:
        """Clean and robust verdicts, each (S, n)."""
        return {
            what: np.stack([getattr(self.cells[name, seed], what) for seed in seeds]) for what in ("clean", "robust")
        }

    def figures(self, name: str, base: str | None = None, seeds: list[int] | None = None) -> dict[str, Figure]:
        """The accuracies of a method, or their differences from those of its base, from the starts that both have."""
        seeds = seeds or (self.seeds(name) if base is None else self.seeds(name, base))
        after = self.outcomes(name, seeds)
        before = None if base is None else self.outcomes(base, seeds)
        labels, made = Folder.labels(self.plan), {}
        for what in ("robust", "clean"):
            was = None if before is None else before[what]
            made[f"{what}, average"] = average(after[what], was)
            made[f"{what}, worst class"] = worst(after[what], labels, was)
        return made

    def label(self, name: str) -> str:
        """As in tables."""
        return _name(name) or next(
            (cell.facts["label"] for (each, _), cell in self.cells.items() if each == name), name
        )

    def progress(self, *names: str) -> str:
        """How many starts a row has, and how many were planned where some are missing."""
        done, planned = len(self.seeds(*names)), self.planned(names[0])
        return str(done) if done == planned else f"unfinished ({done} of {planned})"

    def planned(self, name: str) -> int:
        """Number of starts planned; a given checkpoint is audited once."""
        return 1 if name == "start-given" else self.plan["starts"]


def section(part: Part, folder: Folder) -> str:
    """Section of one part; of a part that was not begun, what is missing."""
    plan = folder.plan()
    if plan is None:
        missing = ", ".join(_name(name) for name in part.methods)
        text = f"Unfinished: no cell has been measured yet. Planned are {part.starts} starts of each of: {missing}."
        given = f" --checkpoint {part.checkpoint}" if part.checkpoint else ""
        return f"## {part.title}\n\n```sh\npython benchmarks/effects.py {part.name}{given}\n```\n\n{flow(text)}"
    rows = Rows(part, plan, folder.read())
    parts = [
        f"## {part.title}\n\n```sh\n{plan['command']}\n```",
        setting(rows),
        accuracies(rows),
        differences(rows),
        seen(rows),
    ]
    return "\n\n".join(each for each in parts if each)


def setting(rows: Rows) -> str:
    """What all cells of a part have in common, and where they were measured."""
    plan = rows.plan
    model = plan["config"]["model"]["name"]
    begins = (
        f"Starts are the checkpoint `{plan['start']}`, so the runs of a method differ in nothing but their seed"
        if plan["start"]
        else f"Starts are trained for {plan['start_epochs']} epochs from random weights"
    )
    places = sorted({hardware(cell.result | {"figures": {"device": _device(cell)}}) for cell in rows.cells.values()})
    seconds = sum(sum(cell.facts["seconds"].values()) for cell in rows.cells.values())
    cost = f" {len(rows.cells)} cells took {seconds / 60:.0f} minutes in all." if rows.cells else ""
    images = f"{plan['train_images']} training and {plan['validation_images']} validation images"
    return flow(f"""\
Network {model}, {plan["threat"]}, {plan["config"]["adversary"]["steps"]} attack steps in training, {images}.
{begins}; what is compared are the {plan["epochs"]} epochs after that. Audited by the suite `{plan["suite"]}` on
{plan["test_images"]} test images of {len(plan["class_names"])} classes.{_sentence(places)}{cost}""")


def _sentence(places: list[str]) -> str:
    return f" {'; '.join(places)}." if places else ""


def _device(cell: Cell) -> str:
    device = cell.facts.get("config", {}).get("hardware", {}).get("device", "cpu")
    if device == "auto":
        return "cuda" if cell.result["hardware"]["gpu"] else "cpu"
    return str(device)


def accuracies(rows: Rows) -> str:
    """Table: what every start, base method and method gives."""
    lines = []
    starts = [f"start-{name}" for name in rows.part.start_names()]
    for name in [*starts, *rows.part.bases(), *(name for name, _ in rows.methods())]:
        if not rows.seeds(name):
            lines.append([rows.label(name), rows.progress(name), *[""] * len(FIGURES), "", ""])
            continue
        figures = rows.figures(name)
        cells = [_level(figures[each]) for each in FIGURES]
        lines.append([rows.label(name), rows.progress(name), *cells, weakest(rows, figures), acted(rows, name)])
    return table(["method", "n", *(f"{each}, %" for each in FIGURES), "weakest under attack", "acted"], lines)


def differences(rows: Rows) -> str:
    """Table: what every method adds to its base method, in points."""
    lines = []
    for name, base in rows.methods():
        head = [rows.label(name), BASES[base].label, rows.progress(name, base)]
        if not rows.seeds(name, base):
            lines.append([*head, *[""] * len(FIGURES), ""])
            continue
        figures = rows.figures(name, base)
        lines.append([*head, *(_change(figures[each]) for each in FIGURES), share(rows, name, base)])
    head = ["method", "base", "n", *(f"{each}, points" for each in FIGURES), "reached by a logit bias"]
    return f"""\
Difference from the base method:

{table(head, lines)}

{flow(_about_the_bias(rows))}"""


def _about_the_bias(rows: Rows) -> str:
    text = (
        "The null model adds a bias per class to the logits of the base method's network and trains nothing: the biases are "
        "fitted on validation images that are attacked anew, and the network is audited with them. The last column is its "
        "gain in the robust worst class, in per cent of the method's, from the same starts; where no gain of the method is "
        "shown there is nothing to have a share of."
    )
    nulls = [_null(rows, base) for base in rows.part.bases()]
    done = [name for name in nulls if name and rows.seeds(name)]
    return text if done else f"{text} Unfinished: no null model has been measured yet."


def _null(rows: Rows, base: str) -> str:
    """Name of the cells of a base method that were repaired without training; empty: there are none."""
    return next((name for name, own in rows.methods() if own == base and name.startswith(NULL)), "")


def share(rows: Rows, name: str, base: str) -> str:
    """What share of a method's gain in the robust worst class the null model reaches from the same starts."""
    null = _null(rows, base)
    if name == null:
        return ""
    seeds = rows.seeds(name, base, null) if null else []
    if len(seeds) < 2:  # from one start no gain can be shown
        return "unfinished"
    gain, bias = (rows.figures(each, base, seeds)["robust, worst class"] for each in (name, null))
    return f"{100 * bias.value / gain.value:.0f} %" if gain.shown > 0 else "no gain shown"


def seen(rows: Rows) -> str:
    """What the intervals allow to be said, in sentences."""
    judged = {
        rows.label(name): rows.figures(name, base) for name, base in rows.methods() if len(rows.seeds(name, base)) > 1
    }
    lines = []
    for what in FIGURES if judged else ():
        named = {sign: [label for label, each in judged.items() if each[what].shown == sign] for sign in (1, -1)}
        told = [f"{word} than with the base method: {', '.join(named[sign])}" for word, sign in _WORDS if named[sign]]
        lines.append(f"- {what.capitalize()}: " + ("; ".join(told) if told else "no difference is shown") + ".")
    little = [rows.label(name) for name, _ in rows.methods() if "**" in acted(rows, name)]
    if little:
        lines.append(
            f"- A mechanism acted in fewer than half of the epochs, so little is said about it: {', '.join(little)}."
        )
    unfinished = [rows.label(name) for name, base in rows.methods() if "unfinished" in rows.progress(name, base)]
    if unfinished:
        lines.append(f"- Unfinished: {', '.join(unfinished)}.")
    return "\n".join(flow(line, "  ") for line in lines)


_WORDS = (("higher", 1), ("lower", -1))


def weakest(rows: Rows, figures: dict[str, Figure]) -> str:
    """Names of the classes that were weakest under attack, most often first, with the number of starts."""
    names, classes = rows.plan["class_names"], figures["robust, worst class"].weakest
    often = sorted({*classes}, key=lambda c: (-classes.count(c), c))
    return ", ".join(f"{names[c]} ({classes.count(c)})" for c in often)


def acted(rows: Rows, name: str) -> str:
    """Since when each mechanism of a method acted, over all starts; in bold where that is less than half of the epochs."""
    cells = [rows.cells[name, seed].facts for seed in rows.seeds(name) if rows.cells[name, seed].facts["base"]]
    if not cells or not cells[0]["trained"]:
        return ""
    mechanisms = {knob: [cell["acted"].get(knob) for cell in cells] for cell in cells for knob in cell["acted"]}
    told = [_since(knob.replace("_", " "), acts, cells) for knob, acts in sorted(mechanisms.items())]
    averaged = [cell["averaged_epochs"] for cell in cells]
    if any(cell["config"]["averaging"]["name"] != "none" for cell in cells):
        told.append(_since("average", [{"epochs": n, "first": cells[0]["epochs"] - n} for n in averaged], cells))
    if cells[0]["config"]["mixing"]["name"] != "none":
        told.append("mixing in every epoch")
    return "; ".join(told) or "**never acted**"


def _since(what: str, acts: list[dict[str, int] | None], cells: list[dict[str, Any]]) -> str:
    """One mechanism: the latest first epoch (counted from 1) and the least number of epochs, over the starts."""
    total = cells[0]["epochs"]
    fewest = min(act["epochs"] if act else 0 for act in acts)
    latest = max((act["first"] + 1 for act in acts if act), default=total)
    text = f"{what} from epoch {latest}, {fewest} of {total}" if fewest else f"{what} not in every start"
    return text if 2 * fewest >= total else f"**{text}**"


def _name(name: str) -> str:
    """A method or a base method as in tables; empty for others."""
    if name in BASES:
        return f"{BASES[name].label} alone"
    if name not in METHODS:
        return ""
    method = METHODS[name]
    return f"{method.label} on {BASES[method.base].label}" if method.after_base else method.label


def flow(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most 126 letters."""
    words = " ".join(text.split())
    return textwrap.fill(words, 126, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _level(figure: Figure) -> str:
    return f"{100 * figure.value:.1f}" + (f" {_bracket(figure.both)}" if figure.both else "")


def _change(figure: Figure) -> str:
    if figure.both is None or figure.starts is None:
        return f"{100 * figure.value:+.1f} (images ±{_half(figure.images)})"
    text = f"{100 * figure.value:+.1f} {_bracket(figure.both, '+')}"
    bold = f"**{text}**" if figure.shown else text
    return f"{bold} (images ±{_half(figure.images)}, starts ±{_half(figure.starts)})"


def _bracket(interval: Interval, sign: str = "") -> str:
    low, high = (f"{100 * each:{sign}.1f}" for each in interval)
    return f"[{low}, {high}]"


def _half(interval: Interval) -> str:
    return f"{50 * (interval[1] - interval[0]):.1f}"


if __name__ == "__main__":
    tyro.cli(main)
