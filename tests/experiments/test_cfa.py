"""The experiments of CFA against the stored cells of the paper, and carried out in a few steps."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from classwise import Run, linf
from classwise.averaging import EpochEMA, Gated, NoAveraging
from classwise.experiments import cfa
from classwise.experiments.carry_out import carry_out
from classwise.experiments.cfa_assumed import LOST
from classwise.experiments.cfa_rows import TINY_THRESHOLD
from classwise.experiments.measures import Jump
from classwise.experiments.picture import write_picture
from classwise.experiments.plan import plan
from classwise.experiments.sizes import SIZES, Size, begins, short, small
from classwise.experiments.table import table_text
from classwise.experiments.verdict import printed
from classwise.policies import Combined, Uniform
from classwise.progress import Silent
from classwise.published import cells

MADE = {each.name: each for each in cfa.experiments()}
CONFIGS = {training.name: training.config for made in MADE.values() for training in made.trainings()}
TABLES = {"cfa-table1": 88, "cfa-table2": 16, "cfa-table3": 12, "cfa-table4": 72}
"""Cells of the tables, counted in the paper's text."""
CELLS = {
    "cfa-figure2": 8,
    "cfa-figure2b": 8 * 10,
    "cfa-figure2c": 8 * 10,
    "cfa-figure3": 8 * 10,
    "cfa-figure3b": 8 * 10,
    "cfa-figure4": 2 * 4,
    "cfa-table1": 88,
    "cfa-overfitting": 9 * 12,
    "cfa-table2": 16,
    "cfa-figure5": 6 * 2,
    "cfa-figure5b": 10,
    "cfa-table3": 12,
    "cfa-table4": 72,
    "cfa-figure6": 4 * 11,
    "cfa-figure7": 6 * 2,
    "cfa-figure7b": 10,
}


def test_every_table_and_figure_of_the_paper_is_there() -> None:
    """Figure 1 is of Gaussian data, which the theory is about."""
    assert {name: len(made.cells()) for name, made in MADE.items()} == CELLS
    places = {made.table for made in MADE.values()}
    assert places == {*(f"table{i}" for i in range(1, 5)), *(f"figure{i}" for i in range(2, 8))}


@pytest.mark.parametrize("name", TABLES)
def test_every_stored_cell_of_a_table_is_measured(name: str) -> None:
    made = MADE[name]
    stored = {
        (each.row, each.column)
        for each in cells("cfa", made.table)
        if not each.row.startswith("text") and each.value is not None
    }
    assert {(row.name, column.name) for row, column in made.cells()} == stored
    assert all(made.printed(row, column) is not None for row, column in made.cells())
    assert len(stored) == TABLES[name]


def test_pictures_claim_no_printed_number() -> None:
    """But figure 6, of which the text has two: deviations of fractions, by their size, of one of two methods."""
    for name in CELLS.keys() - TABLES.keys():
        found = {(row.name, column.name): MADE[name].printed(row, column) for row, column in MADE[name].cells()}
        told = {place: printed(cell) for place, cell in found.items() if cell is not None}
        expected = {}
        if name == "cfa-figure6":
            column = "AA accuracy, standard deviation over classes"
            for method in ("AT", "TRADES"):
                expected |= {(f"{method} + EMA", column): (17, 0.5), (f"{method} + CFA", column): (15, 0.5)}
        assert told.keys() == expected.keys()
        assert all(told[place] == pytest.approx(expected[place]) for place in expected)


def test_numbers_of_the_text_that_nothing_is_compared_with_are_listed() -> None:
    assert [cell.printed for cell in MADE["cfa-figure4"].only_told()] == [
        "10%",
        "1%",
        "53.2%",
        "23.5%",
        "52.6%",
        "28.1%",
        "1%",
    ]
    assert len(MADE["cfa-table3"].only_told()) == 2
    assert MADE["cfa-figure6"].only_told() == ()
    assert MADE["cfa-figure2b"].only_told() == ()


def test_what_the_text_has_lost_is_said_everywhere() -> None:
    for made in MADE.values():
        assert set(LOST) <= set(made.assumed)
        trained = [each.config for each in made.trainings() if each.start is None]
        assert {(each.optimizer.weight_decay, each.schedule.by, each.batch_size) for each in trained} == {
            (5e-4, 0.1, 128)
        }
        assert {(each.augmentation.mode, each.augmentation.padding) for each in trained} == {("zeros", 4)}
    runs = {name for name, made in MADE.items() if made.paper_runs == 5}
    assert runs == {"cfa-table1", "cfa-table2", "cfa-table3"}


def test_trainings_of_one_name_are_one_training() -> None:
    """So that all experiments of the paper can share a folder."""
    for made in MADE.values():
        for training in made.trainings():
            assert training.config == CONFIGS[training.name]
            assert training.name.startswith("cfa-")
    assert len(CONFIGS) == 50
    assert len({str(config) for config in CONFIGS.values()}) == 50


def test_trainings_say_what_section_5_1_says() -> None:
    for name, config in CONFIGS.items():
        if "frl" in name:
            continue
        assert (config.split.fraction, config.split.at_least) == (0.02, 0)
        assert (config.epochs, config.optimizer.lr, config.schedule.drops) == (200, 0.1, (100, 150))
        assert (config.optimizer.momentum, config.threat.norm) == (0.9, "linf")
        average = config.averaging
        assert isinstance(average, EpochEMA if "ema" in name else Gated if "fawa" in name else NoAveraging)
        if not isinstance(average, NoAveraging):
            assert (average.decay, average.start) == (0.85, 50)
        assert isinstance(config.policy, Uniform) == ("ccm" not in name and "ccr" not in name)
        divided = getattr(config.objective, "divided", None)
        assert divided == (("ccr" in name) if "trades" in name else None)
        assert (config.adversary.registered_name == "friendly-pgd") == ("fat" in name)
    offsets = {name: CONFIGS[f"cfa-{name}-ccm"].policy.offset for name in ("at", "trades", "fat")}
    assert offsets == {"at": 0.5, "trades": 0.3, "fat": 0.7}
    both = CONFIGS["cfa-trades-ccm-ccr-fawa"].policy
    assert isinstance(both, Combined)
    assert [each.offset for each in both.members] == [0.3, 0.5]
    assert all(each.begin == 1 for each in both.members)
    assert CONFIGS["cfa-at-fawa"].averaging.threshold == 0.2


def test_sweeps_change_one_thing() -> None:
    plain = CONFIGS["cfa-at-plain"]
    radii = [row.training.config.validation_threat for row in MADE["cfa-figure2"].rows]
    assert radii == [linf("8/255")] * 8
    trained = [float(row.training.config.threat.radius) * 255 for row in MADE["cfa-figure2"].rows]
    assert trained == pytest.approx([2, 4, 6, 8, 10, 12, 14, 16])
    assert MADE["cfa-figure2"].rows[3].training.config == plain
    assert [row.training.config.objective.beta for row in MADE["cfa-figure3"].rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    bases = [row.training.config.policy.offset for row in MADE["cfa-figure5"].rows[1:]]
    assert bases == [0.3, 0.4, 0.5, 0.6, 0.7]
    both = [[each.offset for each in row.training.config.policy.members] for row in MADE["cfa-figure7"].rows[1:]]
    assert both == [[0.3, 0.3], [0.3, 0.4], [0.3, 0.5], [0.3, 0.6], [0.3, 0.7]]


def test_means_are_over_the_epochs_of_the_text() -> None:
    """Epochs 101 to 120 and 181 to 200, of a history in which each epoch has its number as accuracy."""
    history = [{"validation": {"raw": {"n": [1] * 10, "robust": [epoch / 1000] * 10}}} for epoch in range(1, 201)]
    for name, mean in (("cfa-figure2b", 110.5), ("cfa-figure2c", 190.5), ("cfa-figure3", 110.5)):
        for column in MADE[name].columns:
            assert column.measure.value(history) == pytest.approx(mean / 10)


def test_tiny_imagenet_looks_at_the_worst_fifth() -> None:
    for row in MADE["cfa-table4"].rows:
        config = row.training.config
        assert (config.data.registered_name, config.model.registered_name) == ("tiny-imagenet", "resnet18")
        assert config.selection.added == "worst-fifth"
        if isinstance(config.averaging, Gated):
            assert config.averaging.gate == "worst-fifth"
            assert config.averaging.threshold == TINY_THRESHOLD == 0.01


def test_the_gate_of_tiny_imagenet_opens_where_it_is_said_to() -> None:
    """Lowest fifth of 200 estimates of 10 images, from classes with 22 % on average and 5 % in the weakest fifth."""
    rng = np.random.default_rng(0)
    spread = np.linspace(1, 20, 400)
    places = (np.arange(200) + 0.5) / 200
    weakest = [beta.ppf(places, 0.22 * k, 0.78 * k)[:40].mean() for k in spread]
    k = spread[int(np.argmin(np.abs(np.array(weakest) - 0.05)))]
    a, b = 0.22 * k, 0.78 * k
    seen = np.sort(rng.binomial(10, beta.ppf(places, a, b), (4000, 200)) / 10, axis=1)
    gate = seen[:, :40].mean(axis=1)
    assert np.mean(gate >= TINY_THRESHOLD - 1e-9) == pytest.approx(0.1, abs=0.05)
    assert np.mean(gate >= 0.03) < 0.005


@pytest.mark.parametrize("name", CONFIGS)
def test_mechanisms_can_act_in_half_of_the_epochs(name: str) -> None:
    for change in (small, short):
        config = change(CONFIGS[name])
        assert all(config.epochs - first >= config.epochs / 2 for first in begins(config).values())


def test_the_small_form_lets_the_gate_open() -> None:
    config = small(CONFIGS["cfa-trades-ccm-ccr-fawa"])
    assert (config.batch_size, config.optimizer.lr, config.averaging.threshold) == (16, 0.04, 0.1)
    assert small(CONFIGS["cfa-frl"]).optimizer.lr == CONFIGS["cfa-frl"].optimizer.lr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cfa")


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.filterwarnings("ignore:the start model is not robust")
def test_every_form_ends_in_its_table(name: str, tiny: Size, folder: Path) -> None:
    """All in one folder. In two epochs FAWA admits none, so that what follows its average has nothing to tell, and the only
    change between epochs comes with a drop of the learning rate, so that there is no jump that counts."""
    made = plan(MADE[name], tiny, folder)
    outcome = carry_out(made, say=lambda _: None, progress=Silent())
    assert len(outcome.values) == CELLS[name]
    for (row, column), found in outcome.values.items():
        unknown = "averaged" in str(column.measure) and isinstance(row.training.config.averaging, Gated)
        unknown |= isinstance(column.measure, Jump)
        assert len(found) == 1 or (unknown and not found), (row.name, column.name)
        assert all(0 <= value <= 100 for value in found)
    told = table_text(made, outcome.values)
    assert f"{CELLS[name]} cells: 0 agrees, 0 differs, {CELLS[name]} cannot say." in told
    for network in made.networks:
        without = (
            isinstance(network.config.averaging, Gated) and not Run(made.folder(network.name)).checkpoint("final")[1]
        )
        assert (f"{network.name}: the average took in no epoch" in told) == without
    drawn = write_picture(made, outcome)
    assert [path.name for path in drawn if path.suffix == ".svg"] == ([f"{name}.svg"] if MADE[name].picture else [])
    for path in (each for each in drawn if each.suffix == ".svg"):
        text = "".join(ET.fromstring(path.read_text(encoding="utf-8")).itertext())
        assert all(row.name in text for row in MADE[name].rows)


@pytest.mark.slow
def test_the_small_form_of_cfa_acts(tmp_path: Path) -> None:
    """Radius and regularisation from the second epoch on, the average in at least half of the epochs."""
    made = plan(MADE["cfa-table1"].only(["best / TRADES + CFA"]), SIZES["small"], tmp_path)
    carry_out(made, lambda _: None, Silent())
    run = Run(made.folder("cfa-trades-ccm-ccr-fawa-seed0"))
    assert len(run.history) == 20
    assert run.acted == {"radius": 1, "robust": 1, "label": 1}
    assert sum("averaged" in each["validation"] for each in run.history) >= 10
    assert run.checkpoint()[1]
    assert run.checkpoint("final")[1]
