"""An experiment: a table of a paper, and for each of its rows and columns what is trained and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from classwise.experiments.measures import HardHit, Measure
from classwise.published import Cell, cells
from classwise.registry import did_you_mean
from classwise.training import TrainConfig


@dataclass(frozen=True)
class Training:
    """How a network is trained, in the size of the paper.

    Args:
        name: Short name, for folders; different trainings of an experiment have different names.
        config: The whole configuration, its ``start`` empty.
        start: The training that this one starts from, for repairs. As with ``classwise finetune`` the problem (data,
            split, network, threat, augmentation, batch size, hardware) then comes from there.
        public: The file of weights that the paper began with, in words, where the paper did not say how to train it.
            In the paper's size such a network is never trained here, it must be given; in other sizes ``config``
            stands in for it.
    """

    name: str
    config: TrainConfig
    start: Training | None = None
    public: str = ""

    def __post_init__(self) -> None:
        assert not self.config.start, f"{self.name}: the start is another Training"
        assert not (self.start and self.public), f"{self.name}: a public checkpoint starts from nothing"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        name: As in the stored cells of the paper.
        training: What is measured in it.
        checkpoint: Which checkpoint; see :meth:`classwise.Run.checkpoint`.
        block: The columns of this block belong to the row. A row that names its quantity and columns that name classes
            are two blocks; so are two data sets with a column each.
        printed: Whether the paper has the row.
        minus: A training whose figures are subtracted, run by run; the row then holds differences.
    """

    name: str
    training: Training
    checkpoint: str = "selected"
    block: str = ""
    printed: bool = True
    minus: Training | None = None

    def chains(self) -> tuple[Training, ...]:
        """Every training that the row needs, a start before what starts from it."""
        found: list[Training] = []
        for last in (self.minus, self.training):
            chain = [] if last is None else [last]
            while chain and chain[0].start is not None:
                chain.insert(0, chain[0].start)
            found += chain
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: As in the stored cells of the paper.
        measure: What is measured.
        block: The rows of this block belong to the column.
        printed: Whether the paper prints numbers in it; it does not where it shows a picture.
    """

    name: str
    measure: Measure
    block: str = ""
    printed: bool = True


@dataclass(frozen=True)
class Prose:
    """A number that a paper prints in its text about a figure, and the cell of ours that it is put beside.

    Args:
        row: Name of our row.
        column: Name of our column.
        told_of: The row of the stored cell, such as "text: PGD adversarial training, class cat".
        quantity: The column of the stored cell.
    """

    row: str
    column: str
    told_of: str
    quantity: str


@dataclass(frozen=True)
class Experiment:
    """A table or a figure of a paper.

    Args:
        name: Such as "faal-table2".
        paper: Short name; see :mod:`classwise.published`.
        table: Such as "table2" or "figure3".
        shows: What is compared, in a sentence.
        source: Where the settings come from.
        assumed: What had to be assumed, since the paper does not say, one sentence each.
        rows: Rows in the order of the paper.
        columns: Columns in the order of the paper.
        paper_runs: Runs that a number of the paper is the mean of; 1 where it does not say.
        picture: What is drawn beside the table: bars of every class for each row, the class accuracies of each row in
            decreasing order, the course of each column that has one over epochs, each column over the rows of a sweep,
            the certified accuracy of every class over radii, or the class knobs of each row over epochs.
        prose: Numbers of the paper's text that are compared as those of a table are. What the text prints beyond them is
            listed below the table.
    """

    name: str
    paper: str
    table: str
    shows: str
    source: str
    assumed: tuple[str, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    paper_runs: int = 1
    picture: Literal["", "bars", "sorted", "curves", "sweep", "certified", "knobs"] = ""
    prose: tuple[Prose, ...] = ()

    def __post_init__(self) -> None:
        seen = [(row.name, row.block) for row in self.rows]
        assert len(set(seen)) == len(seen), f"{self.name}: a row stands twice"
        named: dict[str, Training] = {}
        for training in self.trainings():
            assert named.setdefault(training.name, training) == training, f"{self.name}: two are called {training.name}"

    def trainings(self) -> tuple[Training, ...]:
        """Every training once, a start before what starts from it."""
        found: dict[str, list[Training]] = {}
        for row in self.rows:
            for training in row.chains():
                same = found.setdefault(training.name, [])
                if training not in same:
                    same.append(training)
        return tuple(training for same in found.values() for training in same)

    def cells(self) -> tuple[tuple[Row, Column], ...]:
        """Every cell: a row with a column of its block; a measure of two trainings is for rows that hold differences."""
        return tuple(
            (row, column)
            for row in self.rows
            for column in self.columns
            if row.block == column.block and (row.minus is not None or not isinstance(column.measure, HardHit))
        )

    @staticmethod
    def unit(row: Row, column: Column) -> str:
        """The unit of a cell; a difference of percentages is in points."""
        return "points" if row.minus is not None and column.measure.unit == "%" else column.measure.unit

    def printed(self, row: Row, column: Column) -> Cell | None:
        """What the paper has in a cell, in its table or in its text; None where it has no such cell."""
        place = self.place(row, column)
        found = [each for each in self._stored() if (each.row, each.column) == place]
        return found[0] if found else None

    def place(self, row: Row, column: Column) -> tuple[str, str] | None:
        """Row and column under which the number of a cell would be stored; None where the paper has nothing there."""
        for each in self.prose:
            if (each.row, each.column) == (row.name, column.name):
                return each.told_of, each.quantity
        return (row.name, column.name) if row.printed and column.printed else None

    def only_told(self) -> tuple[Cell, ...]:
        """Legible numbers of the paper's text about this table or figure that no cell is compared with."""
        compared = {self.place(row, column) for row, column in self.cells()}
        return tuple(
            each
            for each in self._stored()
            if each.row.startswith("text") and each.legible and (each.row, each.column) not in compared
        )

    def only(self, patterns: Sequence[str]) -> Experiment:
        """The experiment with the rows that match one of the patterns (``*`` for anything, in any case); () for all.

        Raises:
            ValueError: A pattern matches no row.
        """
        if not patterns:
            return self
        names = [row.name for row in self.rows]
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in names):
                raise ValueError(
                    f"{self.name} has no row {pattern!r}{did_you_mean(pattern, names)}; its rows: {'; '.join(dict.fromkeys(names))}"
                )
        return replace(self, rows=tuple(row for row in self.rows if any(_matches(row.name, each) for each in patterns)))

    def _stored(self) -> tuple[Cell, ...]:
        """What is stored of the table or figure; of most pictures that is nothing."""
        return tuple(each for each in cells(self.paper) if each.table == self.table)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())
