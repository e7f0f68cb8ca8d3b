"""Pictures of classes: well-formed, every row and class named, the numbers beside them those of the runs."""

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from classwise import Run
from classwise.cli import certify as certify_command
from classwise.experiments import Column, Experiment, Row, Training
from classwise.experiments.carry_out import Outcome, carry_out
from classwise.experiments.class_pictures import certified_figure, dash, grid, knob_figure, sorted_figure
from classwise.experiments.cost import cost
from classwise.experiments.measures import Audited, Certified, Fall, Followed, Jump, Violation
from classwise.experiments.picture import write_picture
from classwise.experiments.plan import Plan, commands, plan
from classwise.experiments.sizes import Size
from classwise.experiments.table import table_text
from classwise.progress import Silent
from classwise.recipes import recipe
from classwise.report.figures import NAMED_LINES

DIGITS = set("0123456789")
ROWS = {
    name: Row(title, Training(name, recipe(method)), printed=False)
    for name, title, method in (
        ("plain", "PGD-AT", "digits-pgd-at"),
        ("frl", "FRL (Reweight + Remargin)", "frl-rmrw"),
        ("cfa", "CFA", "cfa-trades"),
    )
}


def made_of(picture: str, columns: tuple[Column, ...], *rows: str) -> Experiment:
    chosen = tuple(ROWS[each] for each in rows or ROWS)
    return Experiment(picture, "faal", "table2", "Shows classes.", "here", (), chosen, columns, picture=picture)


def drawn(made: Plan, outcome: Outcome) -> tuple[str, list[dict[str, str]]]:
    """The words of a picture, and the lines of the numbers beside it."""
    picture, numbers = write_picture(made, outcome)
    assert (picture.name, numbers.name) == (f"{made.experiment.name}.svg", f"{made.experiment.name}-{picture.stem}.csv")
    words = "\n".join(ET.fromstring(picture.read_text(encoding="utf-8")).itertext())
    with numbers.open(encoding="utf-8", newline="") as file:
        return words, list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def cells_of(row: str, classes: int, places: int, **more: str) -> list[dict]:
    """Numbers that fall with the class, at so many radii or epochs."""
    return [
        {"row": row, "run": "r", "radius": i, "epoch": i + 1, "class": f"class {k}", "value": 1 + k / classes, **more}
        for i in range(places)
        for k in range(classes)
    ]


def test_panels_stand_three_in_a_row() -> None:
    figure, axes = grid(4)
    assert len(axes) == 4
    assert len({ax.get_subplotspec().rowspan.start for ax in axes}) == 2
    assert [ax.axison for ax in figure.axes] == [True] * 4 + [False] * 2
    assert [dash(number) for number in (0, 5, 10, 20)] == ["-", "--", ":", "-"]


def test_of_many_classes_all_are_drawn_and_the_same_ones_named_in_every_panel() -> None:
    cells = [*cells_of("one", 43, 3, knob="radius"), *cells_of("other", 43, 2, knob="weight")]
    for figure, named in (
        (certified_figure(cells), {f"class {k}" for k in range(NAMED_LINES)}),  # the weakest
        (knob_figure(cells), {f"class {k}" for k in range(43 - NAMED_LINES, 43)}),  # the farthest from 1
    ):
        assert {text.get_text() for text in figure.legends[0].get_texts()} == named
        panels = [ax for ax in figure.axes if ax.axison]
        assert [len([line for line in ax.lines if line.get_xdata() is not None]) for ax in panels] in (
            [43, 43],
            [44, 44],
        )
        coloured = [{line.get_color() + line.get_linestyle() for line in ax.lines[-NAMED_LINES:]} for ax in panels]
        assert coloured[0] == coloured[1]
        assert len(coloured[0]) == NAMED_LINES
    with pytest.raises(AssertionError, match="different classes"):
        certified_figure([*cells_of("one", 3, 2), *cells_of("other", 4, 2)])


def test_each_line_has_its_own_order() -> None:
    cells = [
        {"row": row, "panel": panel, "place": place, "class": str(place), "value": value}
        for row, values in (("one", (90.0, 80.0, 10.0)), ("other", (50.0, 40.0, 30.0)))
        for panel in ("clean", "pgd-20, linf 0.03")
        for place, value in enumerate(values, 1)
    ]
    figure = sorted_figure(cells)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["clean accuracy", "accuracy under pgd-20, linf 0.03"]
    for ax in figure.axes:
        assert [list(line.get_ydata()) for line in ax.lines] == [[90, 80, 10], [50, 40, 30]]
        assert [list(line.get_xdata()) for line in ax.lines] == [[1, 2, 3]] * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]


@pytest.mark.slow
def test_classes_in_decreasing_order(tiny: Size, folder: Path) -> None:
    columns = tuple(Column(name, Audited("robust", "worst", name)) for name in ("pgd-20", "cw-20"))
    made = plan(made_of("sorted", columns), tiny, folder, seeds=2)
    outcome = carry_out(made, lambda _: None, Silent())
    words, lines = drawn(made, outcome)
    assert all(row.name in words for row in ROWS.values())
    assert len(lines) == 3 * 3 * 10  # rows, panels, classes
    for row in ROWS.values():
        audits = [network.audits for network in made.networks_of(row.training)]
        for panel, at, column in (
            ("clean", 0, "clean"),
            ("pgd-3, linf 0.18", 0, "robust"),
            ("cw-2, linf 0.18", 1, "robust"),
        ):
            assert panel in words
            found = [each for each in lines if (each["row"], each["panel"]) == (row.name, panel)]
            assert [int(each["place"]) for each in found] == list(range(1, 11))
            values = [float(each["value"]) for each in found]
            assert values == sorted(values, reverse=True)
            tables = [
                outcome.audits[network.name, each[at]].table()
                for network, each in zip(made.networks_of(row.training), audits, strict=True)
            ]
            mean = 100 * np.mean([getattr(table, column) for table in tables], axis=0)
            by_class = {each["class"]: float(each["value"]) for each in found}
            assert by_class == pytest.approx(dict(zip(tables[0].names, mean, strict=True)))


@pytest.mark.slow
def test_knobs_and_courses_are_those_of_the_history(tiny: Size, folder: Path) -> None:
    made = plan(made_of("knobs", (Column("worst", Followed("robust", "worst")),)), tiny, folder)
    words, lines = drawn(made, carry_out(made, lambda _: None, Silent()))
    assert all(row.name in words for row in ROWS.values())
    assert set(words.split("\n")) >= DIGITS
    seen = {(each["row"], each["knob"]) for each in lines}
    assert ("PGD-AT", "weight") in seen  # nothing moved
    assert {row for row, _ in seen} == {row.name for row in ROWS.values()}
    moved = {name: {knob for row, knob in seen if row == ROWS[name].name} for name in ROWS}
    assert "radius" in moved["cfa"]
    assert moved["frl"] - {"batch weight"} != {"weight"}
    for name in ROWS:
        history = Run(made.folder(f"{name}-seed0")).history
        for knob in moved[name] - {"batch weight"}:
            values = [float(each["value"]) for each in lines if (each["row"], each["knob"]) == (ROWS[name].name, knob)]
            assert values == [value for entry in history for value in entry["knobs"][knob]]
        others = {knob for knob in history[0]["knobs"] if knob not in moved[name]}
        assert all(value == 1 for entry in history for knob in others for value in entry["knobs"][knob])
    columns = (
        Column("largest violation, clean error", Violation("clean")),
        Column("jump of the worst class", Jump("robust")),
        Column("fall", Fall("robust")),
    )
    made = plan(made_of("curves", columns), tiny, folder)
    outcome = carry_out(made, lambda _: None, Silent())
    words, lines = drawn(made, outcome)
    assert all(each.name in words for each in (*ROWS.values(), *columns[:2]))
    assert columns[2].name not in words.replace("falls", "")  # has no curve
    assert len(lines) == 3 * 2 * 2
    history = Run(made.folder("frl-seed0")).history
    noted = [
        float(each["value"]) for each in lines if (each["row"], each["column"]) == (ROWS["frl"].name, columns[0].name)
    ]
    names = [name for name in history[0]["policy"] if name.endswith("clean_violation")]
    assert len(names) == 1
    assert noted == pytest.approx([100 * max(entry["policy"][names[0]]) for entry in history])
    values = {(row.name, column.name): found for (row, column), found in outcome.values.items()}
    assert values[ROWS["frl"].name, columns[0].name] == pytest.approx([np.mean(noted)])
    assert values["PGD-AT", columns[0].name] == []


@pytest.mark.slow
def test_certificates_are_made_once_and_drawn(tiny: Size, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = tuple(
        Column(f"class {group} at {radius:g}", Certified("class", group=group, radius=radius, sigma=0.25))
        for group in (0, 3)
        for radius in (0.0, 0.1)
    )
    noise = Row("smoothed", Training("noise", recipe("digits-gaussian-noise")), printed=False)
    last = Row("smoothed, last", noise.training, checkpoint="last", printed=False)
    base = made_of("certified", columns)
    made = plan(Experiment(**{**vars(base), "rows": (noise, last)}), tiny, tmp_path)
    (network,) = made.networks
    assert [each.checkpoint for each in network.certificates] == ["selected", "last"]
    assert network.audits == ()
    # 10 classes of about 60 test images, every 12th; 150 votes and so 150 passes each, twice.
    images = sum(-(-int(n) // 12) for n in np.bincount(network.config.data.load().test.labels))
    assert f" 2 certifications, at most about {2 * images * 150 * 0.001:.0f} s." in cost(
        made, lambda config, roles: 0.001
    )
    told: list[str] = []
    outcome = carry_out(made, told.append, Silent())
    assert [each.partition(": ")[2] for each in told] == [
        "train",
        "certify selected, sigma 0.25",
        "certify last, sigma 0.25",
    ]
    result = outcome.certificates[network.name, network.certificates[0]]
    assert (result.plan.samples, result.plan.sampling.n, float(result.plan.sampling.sigma)) == (images, 50, 0.25)
    for (row, column), found in outcome.values.items():
        table = outcome.certificates[network.name, network.certificates[row.name != "smoothed"]].certified(
            column.measure.radius
        )
        assert found == [pytest.approx(100 * table.robust[column.measure.group])]
    assert "One in 12 test images of each class is certified, from 50 noisy copies." in table_text(made, outcome.values)

    before = {path: path.stat().st_mtime_ns for path in result.folder.iterdir()}
    again = carry_out(made, lambda _: None, Silent())
    assert again.values == outcome.values
    lines = [each.split() for each in commands(made)]
    assert [words[1] for words in lines] == ["train", "certify", "certify"]
    for words in lines[1:]:  # the commands come to the same folders
        assert certify_command.main(words[2:]) == 0
        assert str(made.folder("noise-seed0")) in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in result.folder.iterdir()} == before

    words, numbers = drawn(made, outcome)
    assert set(words.split("\n")) >= DIGITS | {"smoothed", "smoothed, last"}
    for each in numbers:
        kept = outcome.certificates[network.name, network.certificates[each["row"] != "smoothed"]]
        table = kept.certified(float(each["radius"]))
        assert float(each["value"]) == pytest.approx(100 * table.robust[table.names.index(each["class"])])
    radii = {float(each["radius"]) for each in numbers if each["row"] == "smoothed"}
    assert {0.0, 0.1} <= radii  # those of the columns are among them
    assert {each["value"] for each in numbers if float(each["radius"]) == max(radii)} == {"0.0"}


@pytest.mark.slow
def test_a_file_of_weights_is_certified(tiny: Size, tmp_path: Path) -> None:
    noise = Training("noise", recipe("digits-gaussian-noise"), public="a network")
    column = Column("certified", Certified(radius=0.1, sigma=0.25))
    whole = Experiment("files", "faal", "table2", "Shows.", "here", (), (Row("row", noise, printed=False),), (column,))
    trained = plan(whole, tiny, tmp_path / "trained")
    values = carry_out(trained, lambda _: None, Silent()).values
    weights = Run(trained.folder("noise-seed0")).checkpoint()[0] / "model.safetensors"
    given = plan(whole, tiny, tmp_path / "given", files={"noise": str(weights)})
    assert carry_out(given, lambda _: None, Silent()).values == values
    (line,) = commands(given)
    assert certify_command.main(line.split()[2:]) == 0
    assert [path.name for path in (given.folder("noise") / "certificates").iterdir()] == [
        "sigma-0.25-selected-every-12-n-50"
    ]
