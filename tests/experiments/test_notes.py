"""Notes below a table: what happened in the runs, and what the paper tells without a cell to compare."""

from pathlib import Path

import pytest

from classwise import registry
from classwise.averaging import Gated
from classwise.configuration import replace
from classwise.experiments import Column, Row, Training
from classwise.experiments.base import Experiment
from classwise.experiments.carry_out import carry_out
from classwise.experiments.measures import Followed
from classwise.experiments.notes import at_chance, averaged_nothing, notes
from classwise.experiments.plan import plan
from classwise.experiments.sizes import Size
from classwise.experiments.table import table_text
from classwise.progress import Silent


def ended(clean: list[float], n: list[int]) -> list[dict]:
    """A history whose first epoch was good."""
    tables = [{"n": n, "clean": each, "robust": each} for each in ([0.9] * len(n), clean)]
    return [{"validation": {"raw": table}} for table in tables]


@pytest.mark.parametrize(
    ("clean", "n", "chance"),
    [
        ([1.0, 0.0, 0.0, 0.0], [100, 100, 100, 100], True),
        ([0.0, 1.0, 0.0, 0.0], [10, 300, 40, 50], True),  # 75 % of all images, as they are of one class
        ([0.3, 0.25, 0.27, 0.25], [100, 100, 100, 100], True),  # 26.75 %, within 3 x 2.17 points
        ([0.4, 0.3, 0.3, 0.3], [100, 100, 100, 100], False),  # 32.5 %
        ([0.4, 0.3, 0.3, 0.3], [10, 10, 10, 10], True),  # the same of 40 images, within 3 x 6.8 points
        ([0.6, 0.0, 0.6, 0.0], [100, 0, 100, 0], True),  # two classes have images: 60 % is within 3 x 3.5 points
        ([0.9, 0.0, 0.9, 0.0], [100, 0, 100, 0], False),
        ([0.0, 0.0, 0.0, 0.0], [100, 100, 100, 100], True),
    ],
)
def test_a_network_at_chance_is_known_by_its_classes(clean: list[float], n: list[int], chance: bool) -> None:
    assert at_chance(ended(clean, n)) == chance


def test_an_average_that_took_in_nothing_is_known() -> None:
    history = ended([0.5, 0.5], [10, 10])
    assert averaged_nothing(history)
    history[0]["validation"]["averaged"] = history[0]["validation"]["raw"]
    assert not averaged_nothing(history)


def test_finished_runs_tell_what_befell_them(tiny: Size, tmp_path: Path) -> None:
    """A gate that nothing passes beside one that all pass, and a training that hardly moves."""
    base = registry.get("recipe", "digits-pgd-at")()
    closed, opened = (replace(base, averaging=Gated(start=0, threshold=each)) for each in (1.0, -1.0))
    still = replace(base, optimizer=replace(base.optimizer, lr=1e-9))
    trainings = [Training("closed", closed), Training("open", opened), Training("still", still)]
    rows = tuple(Row(each.name, each, printed=False) for each in trainings)
    columns = (Column("robust accuracy", Followed("robust"), printed=False),)
    whole = Experiment("some", "cfa", "figure4", "Shows.", "here", ("This.",), rows, columns)
    made = plan(whole, tiny, tmp_path)
    assert [each for each in notes(made) if "seed0" in each] == []  # nothing is there yet
    values = carry_out(made, lambda _: None, Silent()).values
    told = notes(made)
    assert [each for each in told if "no epoch" in each] == [
        "closed-seed0: the average took in no epoch, its rows are of the live weights."
    ]
    assert any(each.startswith("still-seed0: clean validation accuracy ended at chance") for each in told)
    assert "Assumed: This." in told
    assert sum(each.startswith("In the paper's text alone, not compared:") for each in told) == 7
    first = "adversarial training, adjacent epochs, robust accuracy, worst class, difference, 10% (printed as: nearly)"
    assert f"In the paper's text alone, not compared: {first}." in told
    assert all(each in table_text(made, values) for each in told)
