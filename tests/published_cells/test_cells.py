"""The papers' numbers: well-formed, complete, and each where the paper's text has it."""

import re
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from classwise.published import Cell, cells, papers

TEXTS = {
    "cfa": "cfa-cvpr2023.txt",
    "faal": "faal-cvpr2024.txt",
    "frl-icml": "frl-icml2021.txt",
    "frl-v1": "frl-arxiv-v1.txt",
    "mixup": "domain-mixup.txt",
}

# Cells of each table, counted in the papers' texts: (in the table, in the prose about it, illegible).
COUNTS = {
    ("cfa", "table1"): (11 * 8, 5, 1),
    ("cfa", "table2"): (8 * 2, 0, 0),
    ("cfa", "table3"): (6 * 2, 2, 0),
    ("cfa", "table4"): (9 * 8, 0, 0),
    ("cfa", "figure4"): (0, 7, 0),
    ("cfa", "figure6"): (0, 2, 0),
    ("faal", "table1"): (20 * 8 + 16, 1, 0),  # 16 of 20 rows are fine-tuned for a number of epochs
    ("faal", "table2"): (7 * 4, 0, 0),
    ("faal", "table3"): (10 * 4, 0, 0),
    ("faal", "table4"): (5 * 2, 0, 0),
    ("frl-icml", "figure1"): (0, 11, 0),
    ("frl-icml", "table1"): (6 * 4, 0, 0),
    ("frl-icml", "table2"): (10 * 6, 0, 0),
    ("frl-icml", "table3"): (10 * 6, 0, 0),
    ("frl-icml", "table4"): (6 * 10, 0, 0),
    ("frl-icml", "table5"): (6 * 10, 0, 0),
    ("frl-icml", "table6"): (6 * 10, 0, 0),
    ("frl-icml", "table7"): (10 * 6, 0, 0),
    ("frl-icml", "table8"): (10 * 6, 0, 0),
    ("frl-v1", "figure1"): (0, 6, 0),
    ("frl-v1", "table1"): (6 * 6, 0, 0),
    ("frl-v1", "table2"): (7 * 6, 0, 0),
    ("frl-v1", "table3"): (7 * 6, 0, 0),
    ("frl-v1", "table4"): (6 * 6, 0, 0),
    ("frl-v1", "table5"): (3 * 6, 0, 0),
    ("mixup", "table1"): (0, 4, 8),
}

# Where a table stands: the only line that begins so (its caption, or the prose or heading nearest to it where the text
# has lost the caption), and the first and last line of the table counted from there. The extent is exact, so that no
# number is found in a neighbouring table; a test checks that the lines around hold no further row.
TABLES = {
    ("cfa", "table1"): ("Best (Avg. / Worst) | Last", 0, 12),
    ("cfa", "table2"): ("Here we present the results of our Fairness Aware", 1, 10),
    ("cfa", "table3"): ("Here we present the results of our Fairness Aware", 14, 21),
    ("cfa", "table4"): ("Tiny-ImageNet | Best", 0, 11),
    ("faal", "table1"): ("Table 1. ", 0, 23),
    ("faal", "table2"): ("Table 2. ", 0, 10),
    ("faal", "table3"): ("Table 3. ", 0, 13),
    ("faal", "table4"): ("Table 4. ", 0, 8),
    ("frl-icml", "table1"): ("Table 1. ", 0, 11),
    ("frl-icml", "table2"): ("Table 2. ", 0, 13),
    ("frl-icml", "table3"): ("Table 3. ", 0, 12),
    ("frl-icml", "table4"): ("Table 4. ", 0, 10),
    ("frl-icml", "table5"): ("Table 5. ", 0, 10),
    ("frl-icml", "table6"): ("Table 6. ", 0, 10),
    ("frl-icml", "table7"): ("Table 7. ", -13, 0),
    ("frl-icml", "table8"): ("Table 8. ", 0, 12),
    ("frl-v1", "table1"): ("Table 1: ", 0, 8),
    ("frl-v1", "table2"): ("Table 2: ", 0, 9),
    ("frl-v1", "table3"): ("Table 3: ", 0, 9),
    ("frl-v1", "table4"): ("Table 4: ", 0, 8),
    ("frl-v1", "table5"): ("Table 5: ", -5, 0),
    ("mixup", "table1"): ("TABLE I: ", 0, 4),
}

# The paragraphs (one line each) that report numbers of a table or figure in prose.
PROSE = {
    ("cfa", "table1"): ("As summarized in Table 1", "We also compare our approach with FRL"),
    ("cfa", "table3"): ("Here we present the results of our Fairness Aware",),
    ("cfa", "figure4"): ("In this section, we reveal an intriguing", "Inspired by the large fluctuation"),
    ("cfa", "figure6"): ("To evaluate class-wise robustness",),
    ("faal", "table1"): ("ods which tend to trade off",),
    ("frl-icml", "figure1"): ("Adversarial training algorithms have been proved", "(around $7"),
    ("frl-v1", "figure1"): ("Adversarial training algorithms have been proven", "From the Figure 1,"),
    ("mixup", "table1"): ("As shown in Table [I", "We can also observe that the standard variation"),
}

# Tables whose block is a group of columns, so that one line of the text holds the rows of all blocks.
BLOCKS_OF_COLUMNS = {("cfa", "table1"), ("cfa", "table4")}

# Words of which a row of ours has those that the text has at the head of the line.
METHODS = re.compile("nat|pgd|trades|mart|awp|fat|reweight|remargin|frl|rwrm|ema|fawa|ccm|ccr|cfa|wat|faal")

NUMBER = re.compile(r"-?\d+(?:\.\d+)?%?")
EVERY = [cell for paper in papers() for cell in cells(paper)]


def in_prose(cell: Cell) -> bool:
    return cell.row.startswith("text")


def words(cell: Cell) -> str:
    return f"{cell.paper} {cell.table}: {cell.row}, {cell.column}"


def text(shared: Path, paper: str) -> list[str]:
    return (shared / "papers" / TEXTS[paper]).read_text(encoding="utf-8").split("\n")


def line_that_begins(lines: list[str], beginning: str) -> int:
    found = [number for number, line in enumerate(lines) if line.startswith(beginning)]
    assert len(found) == 1, (beginning, found)
    return found[0]


def numbers(line: str) -> tuple[str, ...]:
    """The numbers of one line of a table, from the cells after the first that hold nothing but numbers.

    Cells are parted by tabs or by "|"; bold type, brackets around a second number and a slash before one are taken
    off. No number of these tables is torn apart in the texts, so each must be found whole.
    """
    _, *rest = re.split(r"[\t|]", re.sub(r"</?\w+>", "", line))
    return tuple(number for cell in rest if not re.search(r"[^\d.%()/\s-]", cell) for number in NUMBER.findall(cell))


def test_every_file_is_a_known_paper() -> None:
    assert papers() == tuple(sorted(TEXTS))
    assert {each.name for each in (files("classwise.published") / "cells").iterdir()} == {f"{p}.csv" for p in TEXTS}


def test_the_cells_of_a_table_are_those_of_its_paper() -> None:
    for paper in papers():
        tables = dict.fromkeys(cell.table for cell in cells(paper))
        assert tuple(cell for table in tables for cell in cells(paper, table)) == cells(paper)
        assert {cell.paper for cell in cells(paper)} == {paper}


def test_no_cell_is_lost_or_added() -> None:
    found = Counter((cell.paper, cell.table, cell.legible, in_prose(cell)) for cell in EVERY)
    for (paper, table), (tabled, told, illegible) in COUNTS.items():
        where = (paper, table)
        assert (found[*where, True, False], found[*where, True, True]) == (tabled, told), where
        assert found[*where, False, False] == illegible, where
        assert not found[*where, False, True], where
    assert {(cell.paper, cell.table) for cell in EVERY} == set(COUNTS)


def test_no_cell_stands_twice() -> None:
    twice = {key: n for key, n in Counter((c.paper, c.table, c.row, c.column) for c in EVERY).items() if n > 1}
    assert not twice


def test_words_are_given_and_on_one_line() -> None:
    for cell in EVERY:
        assert re.fullmatch(r"(table|figure)[1-9]", cell.table), words(cell)
        for part in (cell.row, cell.column, cell.unit, cell.note):
            assert part == " ".join(part.split()), words(cell)
        assert cell.row, words(cell)
        assert cell.column, words(cell)


def test_values_are_the_printed_numbers_with_a_unit() -> None:
    for cell in EVERY:
        if cell.legible:
            assert NUMBER.fullmatch(cell.printed), words(cell)
            assert cell.value == float(cell.printed.removesuffix("%")), words(cell)
            assert cell.unit, words(cell)
            assert cell.unit in {"%", "percentage points"} or not cell.printed.endswith("%"), words(cell)


def test_illegible_cells_have_a_note_and_nothing_else() -> None:
    for cell in EVERY:
        assert cell.legible != cell.note.startswith("illegible: "), words(cell)
        assert cell.legible or (cell.value is None and not cell.printed), words(cell)


def test_percentages_are_between_zero_and_a_hundred() -> None:
    for cell in EVERY:
        if cell.legible and cell.unit == "%":
            assert 0 <= cell.value <= 100, words(cell)


def test_average_lies_between_worst_and_best() -> None:
    """A column put in the place of another would show here."""
    values = {(c.paper, c.table, c.row, c.column): c.value for c in EVERY if c.legible and not in_prose(c)}
    compared = 0
    for (*row, column), value in values.items():
        if column.startswith("average "):
            assert values[*row, column.replace("average", "worst")] >= value, (row, column)
            compared += 1
        elif column.endswith(" accuracy, average"):
            worst = "worst 20 % of classes" if row[:2] == ["cfa", "table4"] else "worst class"
            assert values[*row, column.replace("average", worst)] <= value, (row, column)
            assert values.get((*row, column.replace("average", "best class")), value) >= value, (row, column)
            compared += 1
    averages = 14 * 3 + 40 * 3 + 15 * 2  # of the errors of both FRL papers, of the accuracies of the first version
    assert compared == averages + (11 * 4 + 8 + 6 + 9 * 4) + (20 * 4 + 7 * 2 + 10 * 2)


def test_every_table_of_the_text_is_stored_line_by_line(shared: Path) -> None:
    """Same numbers, in the same order, on the same lines: neither a wrong, a moved, a missing nor an added one."""
    assert {(cell.paper, cell.table) for cell in EVERY if not in_prose(cell)} == set(TABLES)
    for (paper, table), (beginning, first, last) in TABLES.items():
        lines = text(shared, paper)
        caption = line_that_begins(lines, beginning)
        printed = [found for line in lines[caption + first : caption + last + 1] if (found := numbers(line))]
        rows: dict[str, tuple[str, ...]] = {}
        for cell in cells(paper, table):
            if cell.legible and not in_prose(cell):
                line = cell.row.split(" / ")[-1] if (paper, table) in BLOCKS_OF_COLUMNS else cell.row
                rows[line] = (*rows.get(line, ()), cell.printed)
        assert list(rows.values()) == printed, (paper, table)
        assert not numbers(lines[caption + first - 1]), (paper, table)
        assert not numbers(lines[caption + last + 1]), (paper, table)


def test_every_row_names_the_methods_and_settings_of_its_line(shared: Path) -> None:
    checked = 0
    for (paper, table), (beginning, first, last) in TABLES.items():
        lines = text(shared, paper)
        caption = line_that_begins(lines, beginning)
        heads = [re.split(r"[\t|]", line)[0] for line in lines[caption + first : caption + last + 1] if numbers(line)]
        rows = list(dict.fromkeys(cell.row for cell in cells(paper, table) if cell.legible and not in_prose(cell)))
        for number, row in enumerate(rows):  # where blocks are columns, the lines are read once more for each block
            head, ours = heads[number % len(heads)].lower(), row.lower()
            needed = METHODS.findall(head) + NUMBER.findall(head)
            assert needed or head == "at ", (head, row)
            assert all(word in ours for word in needed), (head, row)
            checked += 1
    assert checked == 29 + 64 + (2 * 11 + 8 + 6 + 2 * 9) + (20 + 7 + 10 + 5)


def test_every_number_told_in_prose_is_in_the_paragraph_about_it(shared: Path) -> None:
    assert {(cell.paper, cell.table) for cell in EVERY if in_prose(cell)} == set(PROSE)
    for paper, table in PROSE:
        lines = text(shared, paper)
        told = " ".join(lines[line_that_begins(lines, beginning)] for beginning in PROSE[paper, table])
        there = set(NUMBER.findall(told.replace("\\%", "%")))
        for cell in cells(paper, table):
            assert not in_prose(cell) or cell.printed in there, words(cell)


def test_the_first_versions_fourth_table_repeats_its_first() -> None:
    def bare(table: str) -> list[tuple[str, str, str]]:
        return [(cell.row, cell.column, cell.printed) for cell in cells("frl-v1", table)]

    assert bare("table4") == bare("table1")


def test_the_short_table_of_classes_agrees_with_the_long_one() -> None:
    long = {(cell.row, cell.column): cell.value for cell in cells("frl-icml", "table4")}
    short = {(cell.row, cell.column): cell.value for cell in cells("frl-icml", "table1")}
    assert short.items() <= long.items()


# Both are printed to 0.1: their sum or difference may be off by 0.15 through rounding alone.
ROUNDING = 0.15 + 1e-9


def test_where_errors_do_not_add_up_a_note_says_so() -> None:
    for paper, clean in (("frl-v1", "clean"), ("frl-icml", "standard")):
        values = {(cell.table, cell.row, cell.column): cell.value for cell in cells(paper) if not in_prose(cell)}
        for cell in cells(paper):
            if cell.column == "average robust error" and not in_prose(cell):
                total = sum(values[cell.table, cell.row, f"average {part} error"] for part in (clean, "boundary"))
                apart = abs(total - cell.value) > ROUNDING
                assert apart == (f"add up to {total:.1f}" in cell.note), words(cell)


def test_where_differences_are_not_those_of_the_rows_above_a_note_says_so() -> None:
    values = {(cell.table, cell.row, cell.column): cell.value for cell in cells("frl-icml")}
    checked = 0
    for cell in cells("frl-icml"):
        if cell.row.endswith(" minus natural training"):
            trained = cell.row.removesuffix(" minus natural training")
            natural = trained.replace("PGD adversarial", "natural")
            here = values[cell.table, trained, cell.column] - values[cell.table, natural, cell.column]
            apart = abs(here - cell.value) > ROUNDING
            assert apart == ("the difference printed" in cell.note), words(cell)
            checked += 1
    assert checked == 8 + 3 * 20


def test_unknown_names_are_refused_with_the_nearest_known_ones() -> None:
    with pytest.raises(ValueError, match=r"paper 'frl' .*did you mean 'frl-v1'"):
        cells("frl")
    with pytest.raises(ValueError, match=r"'table2' of the paper 'mixup' .*did you mean 'table1'"):
        cells("mixup", "table2")


def test_reading_them_imports_neither_torch_nor_numpy() -> None:
    code = "import sys; from classwise.published import cells; cells('cfa'); assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
