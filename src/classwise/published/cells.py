"""Numbers printed in the papers, one cell of a table at a time.

Each paper has a file ``cells/<paper>.csv``. A number is stored only if it can be read and its row and column are certain;
a cell that is known to exist but cannot be read is listed without a number. Nothing is corrected: where the numbers of a
paper disagree with each other, all stand as printed and a note says so.

- ``frl-v1``: Xu, Liu, Li and Tang, "To be robust or to be fair: towards fairness in adversarial training", first version
  on arXiv.
- ``frl-icml``: Xu, Liu, Li, Jain and Tang, the same title, ICML 2021.
- ``mixup``: Zhong and Tandon, "Learning fair robustness via domain mixup".
- ``cfa``: "CFA: class-wise calibrated fair adversarial training", CVPR 2023.
- ``faal``: Zhang, Zhang, Mu, Huang and Ruan, "Towards fairness-aware adversarial learning", CVPR 2024.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from classwise.registry import did_you_mean

COLUMNS = ["table", "row", "column", "printed", "value", "unit", "note"]
FOLDER = files("classwise.published") / "cells"


@dataclass(frozen=True)
class Cell:
    """One number of a paper, or the place of one that cannot be read.

    Args:
        paper: Short name of the paper, one of :func:`papers`.
        table: Where it stands: ``table2``, or ``figure4`` for numbers that the prose reports of a figure.
        row: What was trained, in our words; the block of a divided table comes first ("ResNet18 / TRADES"). A row that
            begins with "text" was read in the prose about the table or figure.
        column: What was measured, in our words.
        printed: The number as the paper prints it; empty where it cannot be read.
        value: The number, in the unit as printed (17.1 for "17.1%"); None where it cannot be read.
        unit: ``%``, ``percentage points``, ``epochs`` …; 1 for a plain number.
        note: Why it cannot be read, or what is doubtful about it; mostly empty.
    """

    paper: str
    table: str
    row: str
    column: str
    printed: str
    value: float | None
    unit: str
    note: str

    @property
    def legible(self) -> bool:
        """Whether there is a number."""
        return self.value is not None


def papers() -> tuple[str, ...]:
    """Short names of the papers whose numbers are stored, in alphabetical order."""
    names = (each.name for each in FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".csv") for name in names if name.endswith(".csv")))


def cells(paper: str, table: str | None = None) -> tuple[Cell, ...]:
    """The cells of a paper, or of one of its tables, in the order of the paper's tables and rows.

    Args:
        paper: One of :func:`papers`.
        table: ``table2``, ``figure4`` …; None for all.

    Raises:
        ValueError: No numbers of this paper or table are stored.
    """
    if paper not in papers():
        raise ValueError(f"no numbers of a paper {paper!r} are stored{did_you_mean(paper, list(papers()))}")
    found = _read(paper)
    if table is None:
        return found
    known = list(dict.fromkeys(cell.table for cell in found))
    if table not in known:
        raise ValueError(f"no numbers of {table!r} of the paper {paper!r} are stored{did_you_mean(table, known)}")
    return tuple(cell for cell in found if cell.table == table)


@cache
def _read(paper: str) -> tuple[Cell, ...]:
    reader = csv.DictReader((FOLDER / f"{paper}.csv").read_text(encoding="utf-8").splitlines(), strict=True)
    assert reader.fieldnames == COLUMNS, f"{paper}.csv has the columns {reader.fieldnames}"
    return tuple(
        Cell(
            paper=paper,
            table=line["table"],
            row=line["row"],
            column=line["column"],
            printed=line["printed"],
            value=float(line["value"]) if line["value"] else None,
            unit=line["unit"],
            note=line["note"],
        )
        for line in reader
    )
