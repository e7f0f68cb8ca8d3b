"""Every registered model and figure keeps its promises: numbers, simulations, parameters named as assumed, drawings."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import pytest

from classwise import registry
from classwise.report.svg import drawing, standalone
from classwise.theory.shown import CurvesFigure, Row, TheoryFigure, TheoryModel
from classwise.theory.shown.table import as_rows, lines, parameters
from classwise.theory.simulate import Simulated

STATED = {
    "cfa": {"variance", "radius"},  # appendix A: variance 0.6, and radius 2 eta
    "cfa-figure1": {"variance", "radius", "points"},
    "faal": set(),
    "frl-icml": {"d", "eta", "ratio", "sigma", "radius"},  # figure 2
    "frl-icml-figure2": {"centre", "variance_plus", "variance_minus", "radius"},
    "frl-v1": set(),
    "frontier": set(),
    "mixup": set(),
    "mixup-figure1": set(),
    "mixup-figure2": set(),
}
"""Fields whose default the paper states."""
OURS = {"frl-icml-figure2": {"samples", "shown", "seed"}}
"""Fields that are about our computing, of which a paper has nothing to say."""
INFINITE = {
    "cfa": {
        "best w of the average, trained at radius 0.2, first feature attacked too"
    },  # only the first feature counts
}
"""Quantities that are infinite at the defaults, and why."""
SAMPLES = 20_000
SLOW = {"frl-icml-figure2"}  # trains networks
MODELS = registry.names("theory")
FIGURES = registry.names("theory-figure")
CURVES = [name for name in FIGURES if issubclass(registry.get("theory-figure", name), CurvesFigure)]
FIGURE_CASES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FIGURES]


def model_of(name: str) -> TheoryModel:
    return registry.get("theory", name)()


def figure_of(name: str) -> TheoryFigure:
    return registry.get("theory-figure", name)()


def component(name: str) -> TheoryModel | TheoryFigure:
    return model_of(name) if name in MODELS else figure_of(name)


def test_every_model_and_figure_is_known_here() -> None:
    own = {
        name
        for kind in ("theory", "theory-figure")
        for name in registry.names(kind)
        if registry.get(kind, name).__module__.startswith("classwise.")
    }
    assert own == set(STATED)


@pytest.mark.parametrize("name", MODELS)
def test_values_are_finite_or_known_to_be_infinite(name: str) -> None:
    rows = model_of(name).rows(0, 0)
    assert len({row.quantity for row in rows}) == len(rows) >= 8
    assert {row.quantity for row in rows if math.isinf(row.corrected)} == INFINITE.get(name, set())
    for row in rows:
        assert not math.isnan(row.corrected), row
        assert row.printed is None or not math.isnan(row.printed), row
        assert row.simulated is None
        assert row.quantity.strip() == row.quantity
        assert "\n" not in row.quantity + row.remark
        assert row.printed is None or row.remark, "a printed value needs its place in the paper"


@pytest.mark.parametrize("name", MODELS)
def test_simulations_agree_with_the_right_values(name: str) -> None:
    exact = model_of(name).rows(0, 0)
    rows = model_of(name).rows(SAMPLES, 5)
    assert [dataclasses.replace(row, simulated=None) for row in rows] == exact
    drawn = [row for row in rows if row.simulated is not None]
    assert len(drawn) >= 2
    for row in drawn:
        simulated = row.simulated
        assert simulated is not None
        assert simulated.n == SAMPLES
        assert 0 <= simulated.low <= simulated.value <= simulated.high <= 1
        # Half a 95 % interval is 1.96 standard errors. With 4.5 of them, one table in thousands errs by chance.
        wide = 4.5 / 1.96
        low = simulated.value - wide * (simulated.value - simulated.low)
        high = simulated.value + wide * (simulated.high - simulated.value)
        assert low <= row.corrected <= high, row


@pytest.mark.parametrize("name", MODELS)
def test_wrong_prints_show_in_the_simulation(name: str) -> None:
    """What is drawn stands by the right value wherever the printed one differs by much."""
    for row in model_of(name).rows(SAMPLES, 6):
        if row.simulated is None or row.printed is None:
            continue
        apart = abs(row.printed - row.corrected)
        if apart > 10 * (row.simulated.high - row.simulated.low):
            assert abs(row.simulated.value - row.printed) > abs(row.simulated.value - row.corrected), row


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_draws_and_nothing_else(name: str) -> None:
    model = model_of(name)
    first, again, other = (model.rows(300, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [row.corrected for row in first] == [row.corrected for row in other]


@pytest.mark.parametrize("name", sorted(STATED))
def test_what_a_paper_does_not_state_is_called_assumed(name: str) -> None:
    made = component(name)
    fields = {field.name for field in dataclasses.fields(made)}
    assert set(made.assumed) == fields - STATED[name] - OURS.get(name, set())
    for why in made.assumed.values():
        assert len(why.split()) >= 2
    assert len(made.paper.split()) >= 3
    said = "\n".join(parameters(made))
    for field in fields:
        assert re.search(rf"\b{field} [^*]*?{re.escape('*') if field in made.assumed else ''}(, |\n|$)", said)
    assert said.count(" is assumed: ") == len(made.assumed)


def test_the_table_says_what_the_rows_hold() -> None:
    model = model_of("faal")
    rows = [
        Row("right", 0.123456, 0.123456, Simulated(0.12, 0.11, 0.13, 1000), "eq. 1: right"),
        Row("wrong", 0.5, 2.0, remark="eq. 2 is wrong"),
        Row("wrong too", math.inf, 3e-9, Simulated(0.5, 0.4, 0.6, 50), remark="eq. 2 is wrong"),
        Row("ours", -0.25),
    ]
    said = lines(model, rows)
    assert said[0] == model.paper
    table = [re.sub(r"\s{2,}", " | ", line.strip()) for line in said if line.startswith(" ") and "assumed" not in line]
    assert [line for line in table if line[:1] in "rwoq"] == [
        "quantity | as printed | corrected | simulated | 95 % | remark",
        "right | 0.1235 | 0.1235 | 0.12 | [0.11, 0.13] | (1)",
        "wrong | 2 | 0.5 | (2)",
        "wrong too | 3e-09 | inf | 0.5 | [0.4, 0.6] | (2)",
        "ours | -0.25",
    ]
    assert said[-3:] == [
        "Simulated: 50 or 1,000 draws each; 95 % Wilson intervals.",
        "(1) eq. 1: right",
        "(2) eq. 2 is wrong",
    ]
    assert not any("simulated" in line or "Simulated" in line for line in lines(model, [Row("ours", 1.0)])[7:])
    kept = as_rows(rows)
    assert len({tuple(row) for row in kept}) == 1
    assert kept[0]["corrected"] == 0.123456
    assert (kept[0]["n"], kept[3]["n"], kept[3]["printed"]) == (1000, "", "")


def test_a_parameter_that_is_given_is_not_called_assumed() -> None:
    made = registry.get("theory", "faal")(n=21)
    said = "\n".join(parameters(made))
    assert "n 21\n" in said
    assert "n is assumed" not in said
    assert "tau 0.15*" in said


@pytest.mark.parametrize("name", FIGURE_CASES)
def test_a_figure_has_numbers_sentences_and_a_clean_drawing(name: str) -> None:
    figure = figure_of(name)
    columns, rows = figure.table()
    assert len(rows) >= 100
    assert all(len(row) == len(columns) for row in rows)
    values = [value for row in rows for value in row if isinstance(value, float)]
    assert len(values) > len(rows)
    assert all(map(math.isfinite, values))
    said = figure.summary()
    assert said
    for sentence in said:
        assert re.search(r"\d\.\d", sentence), sentence
        assert sentence.endswith(".")
        assert "nan" not in sentence
        assert "inf" not in re.sub(r"infinit", "", sentence)
    with drawing():
        text = standalone(figure.draw(), " ".join(said))
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["aria-label"] == " ".join(said)
    assert int(root.attrib["width"]) > 300
    tags = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert "path" in tags
    assert not tags & {"script", "image", "foreignObject", "a", "iframe", "metadata"}
    ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
    assert len(set(ids)) == len(ids)
    for each in root.iter():
        for key, value in each.attrib.items():
            assert not key.lower().startswith("on")
            assert "://" not in value or key == "aria-label"
            if key.endswith("href"):
                assert value.startswith("#")
                assert value[1:] in ids
            for target in re.findall(r"url\(([^)]*)\)", value):
                assert target[1:] in ids
    written = {each.text for each in root.iter() if each.tag.endswith("text") and each.text}
    assert len(written) > 10


@pytest.mark.parametrize("name", CURVES)
def test_the_file_of_numbers_holds_what_is_drawn(name: str) -> None:
    figure = figure_of(name)
    assert isinstance(figure, CurvesFigure)
    rows = figure.table()[1]
    for panel in figure.panels():
        for curve, values in panel.curves.items():
            own = [row for row in rows if (row[0], row[3]) == (panel.title, curve)]
            assert [row[2] for row in own] == panel.x.tolist()
            assert [row[4] for row in own] == values.tolist()
            assert {row[1] for row in own} == {panel.x_name}
