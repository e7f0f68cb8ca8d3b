"""Write ``docs/experiments.md``: every table and figure of the papers that can be run, from the experiments themselves.

python docs/make_experiments.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from classwise.experiments import experiment, names
from classwise.experiments.base import Experiment

PAGE = Path(__file__).parent / "experiments.md"
PAPERS = {
    "frl-v1": "FRL, arXiv version 1 (Xu et al. 2020)",
    "frl-icml": "FRL (Xu et al., ICML 2021)",
    "mixup": "Domain mixup (Zhong and Tandon)",
    "cfa": "CFA (Wei et al., CVPR 2023)",
    "faal": "FAAL (Zhang et al., CVPR 2024)",
}
"""Short name of a paper → its heading."""
PICTURES = {"": "", "bars": "bars of every class"}
"""What is drawn beside the table, in words where the word alone would not do."""

HEAD = """# Experiments: tables and figures of the papers

Made by `docs/make_experiments.py` from the experiments themselves. Each is run by `classwise reproduce NAME`;
[reproduce.md](reproduce.md) says how, and what the verdicts mean. `classwise recipes list --source` prints the same.

"Printed" counts the cells whose number can be read in the paper, and which are compared with it. The others are measured
as well: a picture has no numbers, some rows are ours, some numbers cannot be read. "Trainings" are networks per seed,
including those that others start from; experiments of one size may share them (`--out`).
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as text."""
    found = [experiment(name) for name in names()]
    papers = list(dict.fromkeys(each.paper for each in found))
    lines = [line for paper in papers for line in section([each for each in found if each.paper == paper])]
    return "\n".join([HEAD, *lines])


def section(found: list[Experiment]) -> Iterator[str]:
    """Lines about the experiments of one paper."""
    yield f"## {PAPERS[found[0].paper]}\n"
    yield "| name | where | what it shows | cells | printed | trainings | picture |"
    yield "| --- | --- | --- | ---: | ---: | ---: | --- |"
    for each in found:
        picture = PICTURES.get(each.picture, each.picture)
        numbers = f"{len(each.cells())} | {printed(each)} | {len(each.trainings())}"
        yield f"| `{each.name}` | {where(each)} | {each.shows} | {numbers} | {picture} |"
    yield "\nWhere settings come from:\n"
    for each in found:
        yield f"- `{each.name}`: {each.source}"
    yield "\nAssumed, because the paper does not say:\n"
    assumed: dict[str, list[str]] = {}
    for each in found:
        for sentence in each.assumed:
            assumed.setdefault(sentence, []).append(each.name)
    for sentence, named in assumed.items():
        those = "all" if len(named) == len(found) > 1 else ", ".join(f"`{name}`" for name in named)
        yield f"- {sentence} ({those})"
    yield ""


def where(found: Experiment) -> str:
    """Its place in the paper, such as "table 2"."""
    return found.table.replace("table", "table ").replace("figure", "figure ")


def printed(found: Experiment) -> int:
    """Number of cells whose number can be read in the paper."""
    there = [found.printed(row, column) for row, column in found.cells()]
    return sum(cell is not None and cell.legible for cell in there)


if __name__ == "__main__":
    main()
