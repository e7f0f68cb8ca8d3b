"""Experiments are run to their tables: every form in a few steps, one small form as it is."""

import csv
import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from classwise import Run
from classwise.experiments import Column, experiment, names
from classwise.experiments.carry_out import carry_out
from classwise.experiments.measures import Audited, Followed
from classwise.experiments.picture import write_picture
from classwise.experiments.plan import plan
from classwise.experiments.sizes import SIZES, Size, begins
from classwise.experiments.table import FIELDS, table_text, write_table
from classwise.progress import Silent

pytestmark = pytest.mark.slow

CELLS = {
    "faal-figure1": 40,
    "faal-table1": 160,
    "faal-figure2": 50,
    "faal-table2": 36,
    "faal-figure3": 40,
    "faal-table3": 40,
    "faal-table4": 10,
}
SHARED = {"faal-figure1": "faal-table1", "faal-figure2": "faal-table1", "faal-figure3": "faal-table2"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduced")


def test_the_sweep_is_whole() -> None:
    assert set(CELLS) == {name for name in names() if name.startswith("faal-")}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.filterwarnings("ignore:the start model is not robust")
def test_every_form_ends_in_its_table(name: str, tiny: Size, folders: Path) -> None:
    made = plan(experiment(name), tiny, folders / SHARED.get(name, name))
    outcome = carry_out(made, say=lambda _: None, progress=Silent())
    values = outcome.values
    assert len(values) == CELLS[name]
    for (_, column), found in values.items():
        assert len(found) == 1
        assert 0 <= found[0] <= (100 if isinstance(column.measure, Audited) else 60)
    written, _ = write_table(made, values)
    with written.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == CELLS[name]
    assert tuple(lines[0]) == FIELDS
    assert {line["verdict"] for line in lines} == {"cannot say"}
    assert f"{CELLS[name]} cells: 0 agrees, 0 differs, {CELLS[name]} cannot say." in table_text(made, values)
    drawn = write_picture(made, outcome)
    assert [path.name for path in drawn] == ([f"{name}.svg"] if made.experiment.picture else [])
    for path in drawn:
        svg = path.read_text(encoding="utf-8")
        assert all(row.name in "".join(ET.fromstring(svg).itertext()) for row in made.experiment.rows)


def test_a_small_form_acts_and_is_not_done_twice(tmp_path: Path) -> None:
    chosen = experiment("faal-table2").only(["FAAL-AT"])
    made = plan(chosen, SIZES["small"], tmp_path / "one")
    told: list[str] = []
    first = carry_out(made, told.append, Silent()).values
    assert [each.partition(": ")[2].split()[0] for each in told] == ["train", "audit"]
    run = Run(made.folder("faal-at-seed0"))
    assert len(run.history) == 20
    assert run.acted == {"batch_weight": begins(run.config)["kl-dro"]} == {"batch_weight": 10}
    assert [("averaged" in each["validation"]) for each in run.history] == [False] * 10 + [True] * 10
    again: list[str] = []
    assert carry_out(made, again.append, Silent()).values == first
    assert not any("train" in each.split(": ")[1] for each in again)
    measured = {column.name: values[0] for (_, column), values in first.items()}
    table = run.audit(attacks="quick", progress=Silent()).table()
    assert measured["AA accuracy, average"] == pytest.approx(100 * table.mean.value)
    assert measured["AA accuracy, worst class"] == pytest.approx(100 * table.worst.value)
    assert measured["clean accuracy, worst class"] == pytest.approx(100 * table.clean.min())
    last = Followed("robust", "worst", begin=0.95).value(run.history)
    assert last == pytest.approx(100 * min(run.history[-1]["validation"]["raw"]["robust"]))


@pytest.mark.filterwarnings("ignore:the start model is not robust")
def test_a_file_of_weights_takes_the_place_of_a_start(tiny: Size, tmp_path: Path) -> None:
    patterns = ["from scratch / TRADES", "fine-tuned from TRADES / FAAL-AT"]
    chosen = experiment("faal-table3").only(patterns)
    trained = plan(chosen, tiny, tmp_path / "trained")
    values = carry_out(trained, lambda _: None, Silent()).values
    weights = Run(trained.folder("cifar100-trades-seed0")).checkpoint()[0] / "model.safetensors"
    given = plan(chosen, tiny, tmp_path / "given", files={"cifar100-trades": str(weights)})
    assert [each.name for each in given.networks] == ["cifar100-trades", "cifar100-trades-faal-at-seed0"]
    found = carry_out(given, lambda _: None, Silent()).values
    assert found.keys() == values.keys()
    for (row, column), value in found.items():
        if row.name == patterns[0]:
            assert value == values[row, column]  # the same weights, audited as a file
    assert Run(given.folder("cifar100-trades-faal-at-seed0")).config.start == str(weights)
    assert not (given.folder("cifar100-trades") / "config.yaml").exists()


def test_a_course_over_epochs_and_a_sweep_are_drawn(tiny: Size, tmp_path: Path) -> None:
    """A curve for each row in a panel for each column, with its numbers as CSV; what the other papers' figures need."""
    base = experiment("faal-table2").only(["PGD-AT", "TRADES"])
    followed = (
        Column("robust accuracy, worst class", Followed("robust", "worst"), printed=False),
        Column("clean error of class 3", Followed("clean", "class", error=True, group=3, begin=0.5), printed=False),
    )
    course = dataclasses.replace(base, name="course", columns=followed, picture="curves")
    made = plan(course, tiny, tmp_path, seeds=2)
    outcome = carry_out(made, lambda _: None, Silent())
    assert [len(found) for found in outcome.values.values()] == [2] * 4
    drawn, numbers = write_picture(made, outcome)
    assert (drawn.name, numbers.name) == ("course.svg", "course-curves.csv")
    with numbers.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 2 * 2  # rows, columns, seeds, epochs
    (one,) = [each for each in lines if list(each.values())[:4] == ["TRADES", followed[0].name, "trades-seed1", "1"]]
    history = Run(made.folder("trades-seed1")).history
    assert float(one["value"]) == pytest.approx(100 * min(history[0]["validation"]["raw"]["robust"]))
    sweep = plan(dataclasses.replace(course, name="sweep", picture="sweep"), tiny, tmp_path, seeds=2)
    (over,) = write_picture(sweep, carry_out(sweep, lambda _: None, Silent()))
    text = "".join(ET.fromstring(over.read_text(encoding="utf-8")).itertext())
    assert all(each in text for each in ("PGD-AT", "TRADES", followed[1].name))
