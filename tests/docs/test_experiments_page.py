"""The page of experiments says what the experiments say."""

import make_experiments
import pytest

from classwise import published
from classwise.experiments import experiment, names

PAGE = make_experiments.page()


def test_the_page_is_what_the_experiments_say() -> None:
    written = make_experiments.PAGE.read_text(encoding="utf-8")
    assert written == PAGE, "run docs/make_experiments.py"


@pytest.mark.parametrize("name", names())
def test_every_experiment_is_there_with_all_that_is_known(name: str) -> None:
    found = experiment(name)
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == found.shows
    assert cells[3] == str(len(found.cells()))
    assert cells[5] == str(len(found.trainings()))
    assert bool(cells[6]) == bool(found.picture)
    assert f"- `{name}`: {found.source}" in PAGE
    part = PAGE.partition(f"\n## {make_experiments.PAPERS[found.paper]}\n")[2].partition("\n## ")[0]
    for sentence in found.assumed:
        (line,) = [each for each in part.splitlines() if each.startswith(f"- {sentence} (")]
        assert f"`{name}`" in line or line.endswith("(all)")


@pytest.mark.parametrize("name", names())
def test_no_more_cells_are_called_printed_than_the_paper_has(name: str) -> None:
    found = experiment(name)
    legible = {
        (cell.row, cell.column) for cell in published.cells(found.paper) if cell.table == found.table and cell.legible
    }
    shown = [found.place(row, column) for row, column in found.cells()]
    assert make_experiments.printed(found) == sum(place in legible for place in shown)
    assert all(place in legible for each in found.prose for place in [(each.told_of, each.quantity)])


def test_papers_have_a_heading_each() -> None:
    assert set(make_experiments.PAPERS) == set(published.papers())
    assert PAGE.count("\n## ") == len({experiment(name).paper for name in names()})


def test_the_page_on_reproducing_links_here() -> None:
    page = make_experiments.PAGE.with_name("reproduce.md")
    assert "(experiments.md)" in page.read_text(encoding="utf-8")
