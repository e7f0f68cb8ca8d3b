"""The experiment of domain mixup against the text of the paper, and carried out in a few steps."""

import csv
import shlex
from pathlib import Path

import pytest

from classwise import Run
from classwise.attacks import PGD
from classwise.evaluation import AuditResult
from classwise.experiments.base import Experiment
from classwise.experiments.carry_out import Outcome, carry_out
from classwise.experiments.measures import Audited
from classwise.experiments.mixup import DEVIATIONS, experiments
from classwise.experiments.plan import Plan, audit_folder, commands, plan, write_configs
from classwise.experiments.sizes import GREY, SIZES, Size
from classwise.experiments.table import table_text, write_table
from classwise.progress import Silent
from classwise.published import cells
from classwise.training import TrainConfig

CELLS = {"mixup-table1": 112}
"""Fourteen rows (three radii of standardised images, four of pixels; two methods), four figures under two attacks."""
MADE = {each.name: each for each in experiments()}
TABLE = MADE["mixup-table1"]


def configs(made: Experiment) -> dict[str, TrainConfig]:
    return {each.name: each.config for each in made.trainings()}


def test_the_sweep_is_whole() -> None:
    assert {name: len(made.cells()) for name, made in MADE.items()} == CELLS


def test_every_legible_number_has_its_cell() -> None:
    stored = {(each.row, each.column): each for each in cells("mixup", "table1") if each.legible}
    printed = {(row.name, column.name): column for row, column in TABLE.cells() if row.printed and column.printed}
    assert printed.keys() == stored.keys()
    assert len(printed) == 4
    for row, column in TABLE.cells():
        found = TABLE.printed(row, column)
        assert (found is None) == ((row.name, column.name) not in stored)
        assert isinstance(column.measure, Audited)
        if found is not None:
            assert column.measure.attacks == "fgsm"
            assert column.measure.figure == ("deviation" if "deviation" in column.name else "worst")


def test_trainings_say_what_the_text_says() -> None:
    """Section III: network, optimiser, rate, batches, epochs, one step; each pair differs in the mixing alone."""
    found = configs(TABLE)
    assert len(found) == 14
    for name, config in found.items():
        assert (config.model.registered_name, config.model.depth) == ("resnet-cifar", 20)
        assert (config.optimizer.registered_name, config.optimizer.lr) == ("adam", 0.001)
        rates = [config.schedule.factor(epoch, 80) for epoch in (0, 49, 50, 79)]
        assert rates == pytest.approx([1, 1, 0.1, 0.1])
        assert (config.batch_size, config.epochs) == (256, 80)
        assert isinstance(config.adversary, PGD)
        assert (config.adversary.steps, config.adversary.relative_step, config.adversary.start) == (1, 1.0, "none")
        mixing = config.mixing.registered_name
        assert mixing == ("same-class-mixup" if name.startswith("mixup-domain") else "none")
        other = found[name.replace("mixup-domain", "mixup-at")]
        assert {key for key in vars(config) if getattr(config, key) != getattr(other, key)} <= {"mixing"}


def test_a_row_is_attacked_as_it_was_trained() -> None:
    threats = set()
    for row, column in TABLE.cells():
        assert isinstance(column.measure, Audited)
        assert column.measure.threat == row.training.config.threat
        threats.add(str(column.measure.threat))
        assert ("of pixels" in row.name) == column.measure.threat.plain
    deviations = "x (0.2023, 0.1994, 0.201), no box"
    pixels = {f"linf {radius}" for radius in ("0.02", "0.04", "0.06", "0.3")}
    assert threats == pixels | {f"linf {radius} {deviations}" for radius in ("0.1", "0.2", "0.3")}
    for radius, in_pixels in (("0.1", 0.02), ("0.2", 0.04), ("0.3", 0.06)):
        assert float(radius) * sum(DEVIATIONS) / 3 == pytest.approx(in_pixels, rel=0.01)


def test_assumed_says_what_the_paper_does_not() -> None:
    told = " ".join(TABLE.assumed)
    for word in (
        "radii",
        "space",
        "shares",
        "seeds",
        "checkpoint",
        "contradicts itself",
        "mixtures",
        "clean error",
        "theorems 3 and 4",
    ):
        assert word in told
    # The largest deviation of ten numbers in [0, m], divided by nine, is m / 2 * sqrt(10 / 9).
    assert [round(worst / 2 * (10 / 9) ** 0.5, 1) for worst in (12.7, 3.8)] == [6.7, 2.0]
    assert "6.7 and 2.0 points" in told


def test_fractions_of_the_paper_are_compared_in_per_cent() -> None:
    made = plan(TABLE.only(["text: adversarial training, radius 0.3"]), SIZES["paper"], Path("out"))
    from classwise.experiments.table import rows

    values = {(row, column): [5.0, 5.1, 4.9] for row, column in made.experiment.cells()}
    (deviation,) = [each for each in rows(made, values) if each["column"].endswith("deviation over classes")][:1]
    assert deviation["paper"] == pytest.approx(3.37)
    assert (deviation["unit"], deviation["verdict"]) == ("%", "differs")


def test_the_small_form_has_one_channel_and_no_radius_beyond_grey() -> None:
    made = plan(TABLE, SIZES["small"], Path("out"))
    for network in made.networks:
        threat = network.config.threat
        (asked, *others) = {each.threat for each in network.audits}
        assert (asked, others) == (threat, [])
        assert len(threat.channels) == (1 if "deviations" in network.name else 0)
        assert threat.box is ("pixels" in network.name)
        assert threat.radius * max(threat.channels, default=1) <= GREY + 1e-9
    sizes = {each.name: each.config.threat for each in made.networks}
    assert sizes["mixup-at-0.3-pixels-seed0"].radius == pytest.approx(GREY)
    ratio = sizes["mixup-at-0.1-deviations-seed0"].radius / sizes["mixup-at-0.3-deviations-seed0"].radius
    assert ratio == pytest.approx(1 / 3, rel=1e-5)
    assert sizes["mixup-at-0.2-deviations-seed0"].channels == pytest.approx([sum(DEVIATIONS) / 3], rel=1e-5)


@pytest.fixture(scope="module")
def carried_out(tiny: Size, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Outcome]:
    made = plan(TABLE, tiny, tmp_path_factory.mktemp("mixup"))
    return made, carry_out(made, say=lambda _: None, progress=Silent())


@pytest.mark.slow
def test_the_form_ends_in_its_table(carried_out: tuple[Plan, Outcome]) -> None:
    made, outcome = carried_out
    assert len(outcome.values) == CELLS["mixup-table1"]
    assert all(len(found) == 1 and 0 <= found[0] <= 100 for found in outcome.values.values())
    written, _ = write_table(made, outcome.values)
    with written.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len({(line["row"], line["column"]) for line in lines}) == len(lines) == CELLS["mixup-table1"]
    assert {line["verdict"] for line in lines} == {"cannot say"}
    assert "112 cells: 0 agrees, 0 differs, 112 cannot say." in table_text(made, outcome.values)
    for row in made.experiment.rows:
        figures = {column.name: found[0] for (other, column), found in outcome.values.items() if other == row}
        for attack in ("", " under PGD-20"):
            smallest, average, worst = (
                figures[f"adversarial risk{attack}, {each}"] for each in ("smallest class", "average", "worst class")
            )
            assert smallest <= average <= worst


@pytest.mark.slow
def test_its_commands_ask_for_the_same_audits(
    carried_out: tuple[Plan, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    """As words of the command line, on the runs that were carried out; a file of weights gets a folder for each threat."""
    from classwise.cli import run

    made, outcome = carried_out
    write_configs(made)
    words = [shlex.split(line)[1:] for line in commands(made)]
    chosen = [each for each in words if "mixup-at-0.3-deviations-seed0" in each[1] or "mixup-at-0.3-pixels" in each[1]]
    audits = [each for each in chosen if each[0] == "audit"]
    assert len(audits) == 4
    for each in audits:
        out = made.out / "said" / f"{each[3]}-{Path(each[1]).name}"
        assert run([*each, "--out", str(out)]) == 0
        said = AuditResult.load(out)
        name = Path(each[1]).name
        (known,) = [
            found
            for (network, asked), found in outcome.audits.items()
            if network == name and (asked.attacks, asked.threat) == (each[3], said.plan.threats[0])
        ]
        assert (said.outcomes.prediction == known.outcomes.prediction).all()
        assert Run(made.folder(name)).config.threat == said.plan.threats[0]
    folders = {audit_folder(made, made.networks[0], each) for network in made.networks for each in network.audits}
    assert len(folders) == 14
    capsys.readouterr()
