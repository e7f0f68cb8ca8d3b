"""The experiments of FAAL against the stored cells of the paper."""

import pytest

from classwise.experiments import experiment, names
from classwise.experiments.measures import Timed
from classwise.policies import KLDRO
from classwise.published import cells

TABLES = {"faal-table1": 160, "faal-table2": 28, "faal-table3": 40, "faal-table4": 10}
"""Cells of the tables, counted in the paper's text."""
PICTURES = {"faal-figure1": 2 * 20, "faal-figure2": 5 * 10, "faal-figure3": 4 * 10}


def test_every_table_and_figure_of_the_paper_is_there() -> None:
    assert {name for name in names() if name.startswith("faal-")} == {*TABLES, *PICTURES}


@pytest.mark.parametrize("name", names())
def test_names_are_those_of_the_stored_cells(name: str) -> None:
    made = experiment(name)
    for row, column in made.cells():
        if row.printed and column.printed:
            cell = made.printed(row, column)
            assert cell is not None, (row.name, column.name)
            assert (cell.unit == "min") == isinstance(column.measure, Timed)


@pytest.mark.parametrize("name", TABLES)
def test_every_stored_cell_of_a_table_is_measured(name: str) -> None:
    made = experiment(name)
    stored = {
        (each.row, each.column)
        for each in cells(made.paper, made.table)
        if not each.row.startswith("text") and each.column != "fine-tuning epochs"
    }
    measured = {(row.name, column.name) for row, column in made.cells() if row.printed and column.printed}
    assert measured == stored
    assert len(measured) == TABLES[name]


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_have_a_cell_for_every_bar(name: str) -> None:
    made = experiment(name)
    assert len(made.cells()) == PICTURES[name]
    assert all(made.printed(row, column) is None for row, column in made.cells())


def test_trainings_say_what_the_text_says() -> None:
    """Sections 4.1 to 4.3: epochs, learning rates, tau."""
    configs = {each.name: each.config for name in names() for each in experiment(name).trainings()}
    tuned = configs["wrn-trades-faal-at"]
    assert [tuned.optimizer.lr * tuned.schedule.factor(epoch, 2) for epoch in (0, 1)] == pytest.approx([0.01, 0.001])
    assert (tuned.epochs, tuned.policy.tau) == (2, 0.5)
    assert configs["wrn-mart-frl-rwrm-tau-0.05"].epochs == 80
    slack = configs["wrn-mart-frl-rwrm-tau-0.07"].policy.members
    assert (slack[0].slack_clean, slack[0].slack_boundary, slack[1].slack_boundary) == (0.07, 0.07, 0.07)
    scratch = configs["faal-trades"]
    assert [scratch.policy.tau_at(epoch) for epoch in (99, 100, 149, 150)] == [0.0, 0.25, 0.25, 0.5]
    assert (scratch.epochs, scratch.averaging.start) == (200, 100)
    large = [each for name, each in configs.items() if name.startswith("cifar100-")]
    assert len(large) == 10
    taus = {each.policy.tau_at(each.epochs - 1) for each in large if isinstance(each.policy, KLDRO)}
    assert taus == {0.05}
    rates = {each.epochs: each.schedule.drops for name, each in configs.items() if name == "cifar100-faal-at"}
    assert rates == {100: (75, 90)}
    trained = [each.config for each in experiment("faal-table3").trainings() if each.start is None]
    assert [(each.data.registered_name, each.model.registered_name) for each in trained] == [
        ("cifar100", "resnet18")
    ] * 5
