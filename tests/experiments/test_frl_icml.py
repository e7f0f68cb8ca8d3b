"""The experiments of FRL (ICML 2021) against the stored cells of the paper, and run to their tables and pictures."""

import csv
import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from classwise import registry
from classwise.configuration import replace
from classwise.experiments.base import Experiment
from classwise.experiments.carry_out import carry_out
from classwise.experiments.frl_icml import CIFAR10_CLASSES, DEER, DIFFERENCE, SIGMA, experiments
from classwise.experiments.frl_icml_assumed import DEPARTED, HURT, OF_TEN
from classwise.experiments.frl_rows import METHODS, Problem, baseline_reweight, repaired
from classwise.experiments.measures import USUAL, Certified, HardHit
from classwise.experiments.picture import write_picture
from classwise.experiments.plan import asked as asked_audit
from classwise.experiments.plan import commands, plan
from classwise.experiments.sizes import SIZES, Size
from classwise.experiments.table import FIELDS, table_text, write_table
from classwise.models import PreActResNet18
from classwise.policies import Combined, Fixed
from classwise.progress import Silent
from classwise.published import cells
from classwise.radius import Radius
from classwise.recipes import frl, smoothing
from classwise.selection import BestSum, Last

MADE = {made.name: made for made in experiments()}
TABLES = {f"frl-icml-table{n}": count for n, count in enumerate((24, 60, 60, 60, 60, 60, 60, 60), 1)}
"""Cells of the tables, counted in the paper's text."""
OURS = {
    **{f"frl-icml-table{n}": 2 for n in (1, 4, 5, 6)},
    "frl-icml-table2": 4 * 6,
    **{f"frl-icml-table{n}": 3 * 6 for n in (3, 7, 8)},
    "frl-icml-figure3": (8 + 4) * 3,
    "frl-icml-figure4": 5 * 10,
    "frl-icml-figure1": 3 * 22,
    **{f"frl-icml-figure{n}": 3 * 20 for n in (5, 6, 7)},
}
"""Cells that no table prints a number in: how hard classes are hurt, FRL as printed and as released, pictures."""
CELLS = {name: TABLES.get(name, 0) + OURS.get(name, 0) for name in MADE}


def numbers(made: Experiment) -> set[tuple[str, str]]:
    return {(row.name, column.name) for row, column in made.cells() if row.printed and column.printed}


def test_every_table_and_figure_of_the_paper_is_there() -> None:
    figures = {f"frl-icml-figure{n}" for n in (1, 3, 4, 5, 6, 7)}
    assert set(MADE) == set(TABLES) | figures
    assert sum(CELLS.values()) == 444 + 418


@pytest.mark.parametrize("name", TABLES)
def test_every_stored_cell_of_a_table_is_measured(name: str) -> None:
    made = MADE[name]
    assert numbers(made) == {(each.row, each.column) for each in cells(made.paper, made.table)}
    assert len(numbers(made)) == TABLES[name]


@pytest.mark.parametrize("name", MADE)
def test_the_rest_is_not_taken_for_printed(name: str) -> None:
    made = MADE[name]
    assert len(made.cells()) == CELLS[name]
    beside = [cell for cell in made.cells() if not (cell[0].printed and cell[1].printed)]
    assert len(beside) == OURS.get(name, 0)
    told = [each for each in beside if made.printed(*each) is not None]
    assert len(told) == (16 if name == "frl-icml-figure1" else 0)


def test_numbers_of_the_text_stand_beside_the_bars_they_are_of() -> None:
    """Section 2: cat, car, the averages, and 100 % robust error of every class after natural training."""
    made = MADE["frl-icml-figure1"]
    found = {(row.name, column.name): made.printed(row, column) for row, column in made.cells()}
    told = {place: cell.value for place, cell in found.items() if cell is not None}
    pgd = {column: value for (row, column), value in told.items() if row == "PGD adversarial training"}
    assert pgd == {
        "standard error, cat": 32.8,
        "robust error, cat": 82.4,
        "standard error, car": 6.1,
        "robust error, car": 34.3,
        "average standard error": 15.5,
        "average robust error": 56.4,
    }
    natural = {column: value for (row, column), value in told.items() if row == "natural training"}
    assert natural == {f"robust error, {name}": 100 for name in CIFAR10_CLASSES}
    measures = {column.name: column.measure for column in made.columns}
    for name, group in (("cat", 3), ("car", 1)):
        robust = measures[f"robust error, {name}"]
        assert (robust.of, robust.error, robust.group, robust.attacks) == ("robust", True, group, "pgd-20")
    assert (measures["average robust error"].figure, measures["average robust error"].error) == ("average", True)
    assert [cell.row for cell in made.only_told()] == [
        *["text (abstract): PGD adversarial training, class automobile"] * 2,
        *["text (abstract): PGD adversarial training, class cat"] * 2,
    ]


@pytest.mark.parametrize("name", [f"frl-icml-table{n}" for n in (1, 4, 5, 6)])
def test_differences_are_those_of_the_paper(name: str) -> None:
    """A cell of a difference has the unit of the stored one; its trainings are those of the two rows above it."""
    made = MADE[name]
    rows = {(row.name, row.block): row for row in made.rows}
    for title in ("standard error", "robust error"):
        row = rows[f"{title} / {DIFFERENCE}", title]
        assert row.training is rows[f"{title} / PGD adversarial training", title].training
        assert row.minus is rows[f"{title} / natural training", title].training
    for row, column in made.cells():
        cell = made.printed(row, column)
        if cell is not None:
            assert cell.unit == {"%": "%", "points": "percentage points"}[made.unit(row, column)]
    hurt = [(row, column.measure) for row, column in made.cells() if isinstance(column.measure, HardHit)]
    assert [measure for _, measure in hurt] == [HardHit("clean", "pgd-20"), HardHit("robust", "pgd-20")]
    assert [row.minus is None for row, _ in hurt] == [False, False]
    assert HURT[0] in made.assumed
    assert (OF_TEN in made.assumed) == (name == "frl-icml-table1")


def test_class_columns_ask_for_the_classes_they_name() -> None:
    groups = {column.name: column.measure.group for column in MADE["frl-icml-table1"].columns if column.printed}
    assert groups == {"cat": 3, "dog": 5, "car": 1, "ship": 8}
    whole = [each for each in MADE["frl-icml-table4"].columns if each.block == "robust error" and each.printed]
    assert [column.measure.group for column in whole] == list(range(10))


def test_trainings_say_what_the_text_says() -> None:
    """Sections 5.1 and A.1: data, networks, schedules, slacks, rates, validation images, the largest radius."""
    every = {each.name: each for made in MADE.values() for each in made.trainings()}
    for name, each in every.items():
        config = each.config
        assert config.split.at_least == 300 or name == "frl-smoothing"
        if each.start is None and name != "frl-smoothing":
            assert (config.epochs, config.schedule.drops, config.optimizer.lr) == (200, (100, 150), 0.1)
            assert config.selection == Last()  # "the trained model's"
        elif each.start is not None and "as-released" not in name:
            assert (config.schedule.drops, config.schedule.by, config.optimizer.lr) == ((40, 80), 0.1, 1e-3)
    whole = every["frl-prn18-pgd-at-frl-reweight-remargin-0.07"].config.policy
    assert isinstance(whole, Combined)
    weights, radius = whole.members
    assert (weights.slack_clean, weights.slack_boundary, radius.slack_boundary) == (0.07, 0.07, 0.07)
    assert (weights.rate_clean, weights.rate_boundary, radius.rate) == (0.05, 0.05, 0.05)
    assert radius.high * 8 == 16
    problems = {
        row.training.name: (row.training.config.data.registered_name, row.training.config.model.registered_name)
        for made in MADE.values()
        for row in made.rows
        if row.training.start is None
    }
    assert problems["frl-svhn-wrn28-pgd-at"] == ("svhn", "wide-resnet")
    assert problems["frl-wrn28-natural"] == ("cifar10", "wide-resnet")
    assert every["frl-prn18-pgd-at"].config.model == PreActResNet18(final_norm=False)
    wide = every["frl-svhn-wrn28-pgd-at"].config.model
    assert (wide.depth, wide.widen) == (28, 10)
    under_l2 = MADE["frl-icml-figure6"]
    assert {str(column.measure.threat) for column in under_l2.columns} == {"l2 0.5"}
    assert {str(training.config.threat) for training in under_l2.trainings()} == {"l2 0.5"}
    assert {(column.measure.attacks, str(column.measure.step)) for column in under_l2.columns} == {("pgd-20", "0.1")}
    noise = smoothing.cifar10_rn110_gaussian_noise().mixing.sigma
    measured = [column.measure for column in MADE["frl-icml-figure4"].columns]
    assert all(isinstance(each, Certified) and each.sigma == SIGMA == float(noise) for each in measured)
    assert {(each.radius, each.group) for each in measured} == {
        (radius, group) for radius in (0.0, 0.25, 0.5, 0.75, 1.0) for group in range(10)
    }


@pytest.mark.parametrize("name", [f"frl-icml-table{n}" for n in (2, 3, 7, 8)])
def test_rows_as_printed_are_algorithm_1(name: str) -> None:
    """No cap, any multiplier, an end once the constraints hold, beta 1, eq. 11; the other rows depart in what is listed."""
    rows = {row.name: row.training.config for row in MADE[name].rows}
    ours = {row: config for row, config in rows.items() if row.endswith("as printed")}
    assert list(ours) == [f"FRL {method} tau 0.07, as printed" for method in METHODS]
    for row, config in rows.items():
        if not row.startswith("FRL") or row.endswith("as released"):
            continue
        printed = row in ours
        members = config.policy.members if isinstance(config.policy, Combined) else (config.policy,)
        weights = members[0]
        assert (weights.cap, weights.update, weights.stop) == (
            (0, "free", True) if printed else (0.5, "projected", False)
        )
        assert config.objective.beta == (1 if printed else 1.5)
        assert [each.relative for each in members[1:]] == [not printed] * (len(members) - 1)
    assert set(DEPARTED) <= set(MADE[name].assumed)
    assert "departs from algorithm 1" in MADE[name].source


def test_parts_of_a_recipe_are_the_recipes_of_their_names() -> None:
    """Reweight and Remargin, cut out of Reweight+Remargin, equal the registered recipes in all but the choice of the epoch."""
    start = Problem("some", frl.frl_rw().data, frl.frl_rw().model).pgd_at()
    tau = (0.05, 0.05)
    cut = {
        "frl-rw": repaired(start, "Reweight", tau),
        "frl-rm": repaired(start, "Remargin", tau),
        "frl-rmrw": repaired(start, "Reweight+Remargin", tau),
        "frl-rw-paper": repaired(start, "Reweight", tau, frl.frl_rmrw_paper()),
        "frl-rm-paper": repaired(start, "Remargin", tau, frl.frl_rmrw_paper()),
        "frl-v1": repaired(start, "Reweight+Remargin", (0.05, 0.07), frl.frl_v1()),
        "baseline-reweight-paper": baseline_reweight(start),
    }
    for name, training in cut.items():
        assert training.start is start
        assert training.config == replace(registry.get("recipe", name)(), selection=BestSum(), recipe=""), name
    assert cut["frl-v1"].name == "some-pgd-at-frl-reweight-remargin-0.05-0.07"


def test_one_class_is_treated_otherwise_and_nothing_else_differs() -> None:
    made = MADE["frl-icml-figure3"]
    knobs: dict[str, list[float]] = {"weight": [], "radius": []}
    for row in made.rows:
        policy = row.training.config.policy
        assert isinstance(policy, Fixed)
        given = policy.robust if row.block == "weight" else policy.radius
        other = policy.radius if row.block == "weight" else policy.robust
        assert set(other) <= {1.0}
        assert {value for group, value in enumerate(given) if group != DEER} == {1.0}
        knobs[row.block].append(given[DEER])
        assert row.name == f"{row.block} {given[DEER]:g}x"
    assert knobs == {"weight": [1 + n / 2 for n in range(8)], "radius": [1.0, 1.5, 2.0, 2.5]}
    rest = {repr(row.training.config).replace(repr(row.training.config.policy), "") for row in made.rows}
    assert len(rest) == 1
    assert len({row.training.name for row in made.rows}) == 11  # 1.0 is one training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the whole paper: trainings of a name are equal in all its tables."""
    return tmp_path_factory.mktemp("frl-icml")


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.filterwarnings("ignore:the start model is not robust")
def test_every_form_ends_in_its_table(name: str, tiny: Size, folder: Path) -> None:
    made = plan(MADE[name], tiny, folder)
    outcome = carry_out(made, say=lambda _: None, progress=Silent())
    values = outcome.values
    assert len(values) == CELLS[name]
    for (row, column), found in values.items():
        low, high = (-100, 100) if row.minus is not None else (0, 100)
        if isinstance(column.measure, HardHit):
            low, high = -1, 1
        assert all(low <= value <= high for value in found)
        assert len(found) == 1 or isinstance(column.measure, HardHit)
    written, _ = write_table(made, values)
    with written.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == CELLS[name]
    assert tuple(lines[0]) == FIELDS
    assert {line["verdict"] for line in lines} == {"cannot say"}
    assert f"{CELLS[name]} cells: 0 agrees, 0 differs, {CELLS[name]} cannot say." in table_text(made, values)
    drawn = write_picture(made, outcome)
    numbers = [f"{name}-certified.csv"] if made.experiment.picture == "certified" else []
    assert [path.name for path in drawn] == ([f"{name}.svg", *numbers] if made.experiment.picture else [])
    for path in drawn[:1]:
        text = "".join(ET.fromstring(path.read_text(encoding="utf-8")).itertext())
        assert all(row.name in text for row in made.experiment.rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the start model is not robust")
def test_differences_are_taken_run_by_run(tiny: Size, folder: Path) -> None:
    made = plan(MADE["frl-icml-table1"], tiny, folder, seeds=2)
    values = {
        (row.name, column.name): found
        for (row, column), found in carry_out(made, lambda _: None, Silent()).values.items()
    }
    for title in ("standard error", "robust error"):
        before, after, rise = (
            values[f"{title} / {row}", "cat"] for row in ("natural training", "PGD adversarial training", DIFFERENCE)
        )
        assert rise == pytest.approx([late - early for late, early in zip(after, before, strict=True)])
        assert len(rise) == 2


def test_steps_of_an_attack_reach_the_audit(tiny: Size, tmp_path: Path) -> None:
    """Figure 6 is evaluated with steps of 0.1, not with a quarter of the radius; in l_inf, steps grow with the radius."""
    made = plan(MADE["frl-icml-figure6"], SIZES["paper"], tmp_path)
    (asked,) = {each for network in made.networks for each in network.audits}
    (attack,) = asked.attack_list()
    assert (attack.steps, str(attack.step_size), str(asked.threat)) == (20, "0.1", "l2 0.5")
    audits = [line for line in commands(made) if line.startswith("classwise audit")]
    assert len(audits) == 3
    assert all("--attacks pgd-20 --norm l2 --radius 0.5 --step-size 0.1" in line for line in audits)
    row, column = MADE["frl-icml-figure6"].cells()[0]
    scaled = asked_audit(tiny, row, dataclasses.replace(column.measure, threat=USUAL, step=Radius("2/255")))
    assert scaled.step == pytest.approx(scaled.threat.radius / 4, rel=1e-5)


def test_the_small_form_is_on_the_digits_and_keeps_the_ratios() -> None:
    made = plan(MADE["frl-icml-figure3"], SIZES["small"], Path("nowhere"))
    repairs = [network for network in made.networks if network.start]
    assert {network.config.data.registered_name for network in made.networks} == {"digits"}
    assert {network.start for network in repairs} == {"frl-prn18-pgd-at-seed0"}
    assert max(network.config.policy.radius[DEER] for network in repairs if network.config.policy.radius) == 2.5
    assert {len(asked.attacks) > 0 for network in made.networks for asked in network.audits} == {True}
