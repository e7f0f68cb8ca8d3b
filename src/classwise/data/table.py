"""Comma-separated files, read strictly."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from classwise.registry import did_you_mean


@dataclass(frozen=True)
class Table:
    """The content of a CSV file.

    Args:
        path: The file.
        columns: Names of the columns, as in its first line.
        rows: Cells of each further line, without space around them; lines without any text are left out.
        lines: Number of each row's (last) line in the file, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> list[str]:
        """The cells of one column.

        Raises:
            ValueError: There is no such column, or one of its cells is empty.
        """
        if name not in self.columns:
            hint = did_you_mean(name, list(self.columns))
            raise ValueError(f"{str(self.path)!r} has no column {name!r}{hint}")
        number = self.columns.index(name)
        cells = [row[number] for row in self.rows]
        if "" in cells:
            line = self.lines[cells.index("")]
            raise ValueError(f"line {line} of {str(self.path)!r} has nothing in column {name!r}: fill it in")
        return cells


def read_table(path: Path, delimiter: str = ",") -> Table:
    """Read a CSV file in UTF-8, with or without a byte order mark, whose first line names the columns.

    Args:
        path: The file.
        delimiter: What stands between cells.

    Raises:
        ValueError: The file is missing or no such file, or a line has not as many cells as the first.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            read = [(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader]
    except FileNotFoundError:
        raise ValueError(f"there is no table {str(path)!r}: check folder and file") from None
    except OSError as error:
        raise ValueError(f"the table {str(path)!r} cannot be read ({error.strerror}): check the file") from error
    except (csv.Error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{str(path)!r} is no CSV file in UTF-8 ({reason}): save it as one") from error
    filled = [(line, cells) for line, cells in read if any(cells)]
    if len(filled) < 2:
        raise ValueError(f"{str(path)!r} lists nothing: write a line with the names of the columns and one per image")
    (_, columns), *rows = filled
    _check(path, columns, rows)
    return Table(path, columns, tuple(cells for _, cells in rows), tuple(line for line, _ in rows))


def _check(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[int, tuple[str, ...]]]) -> None:
    twice = [name for i, name in enumerate(columns) if name in columns[:i]]
    if twice:
        raise ValueError(f"{str(path)!r} has two columns {twice[0]!r}: rename one")
    for line, cells in rows:
        if len(cells) != len(columns):
            raise ValueError(
                f"line {line} of {str(path)!r} has {len(cells)} cells and the first line {len(columns)}: put quotes "
                'around cells that hold the delimiter, or name it with --data.delimiter ";"'
            )
