"""Tables in the layout of the papers, files and figures."""

import csv
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from classwise.comparison import overview
from classwise.evaluation import AuditResult
from classwise.report.overview_figures import class_bars_of_rows, trade_off_figure
from classwise.report.overview_files import formatted_overview

RATES = {"at": (0.2, 0.3), "faal_1": (0.35, 0.4)}


@pytest.fixture
def made(make_run, tmp_path):
    for epochs, (name, each) in enumerate(RATES.items(), start=1):
        for seed, rate in enumerate(each):
            changes = {"seed": seed, "epochs": epochs}
            make_run(f"{name}-{seed}", rate, 0.5, 0.8, changes=changes, attacks=("pgd-20", "cw-20"))
    return overview([tmp_path / "runs"])


def test_csv_has_mean_deviation_interval_and_n_of_every_column(made):
    rows = list(csv.DictReader(io.StringIO(formatted_overview(made, "csv"))))
    assert [row["method"] for row in rows] == ["at", "faal_1"]
    for row in rows:
        values = RATES[row["method"]]
        for attack in ("pgd-20", "cw-20"):
            assert float(row[f"{attack} worst class mean"]) == pytest.approx(np.mean(values))
            assert float(row[f"{attack} worst class deviation"]) == pytest.approx(np.std(values, ddof=1))
            assert row[f"{attack} worst class n"] == "2"
            assert float(row[f"{attack} average mean"]) == pytest.approx((np.mean(values) + 1.3) / 3)
        assert float(row["clean average mean"]) == pytest.approx(0.9)
        assert row["clean worst class deviation"] == "0.0"


def test_latex_is_laid_out_like_the_papers(made):
    text = formatted_overview(made, "latex")
    lines = text.splitlines()
    head = next(line for line in lines if "multicolumn" in line)
    assert [part.split("}")[0] for part in head.split(r"{c}{")[1:]] == ["Clean", "pgd-20", "cw-20"]
    assert "Method & Seeds & Average & Worst & Average & Worst & Average & Worst" in text
    columns = next(line for line in lines if line.startswith(r"\begin{tabular}"))
    assert columns == r"\begin{tabular}{lrrrrrrr}"
    row = next(line for line in lines if line.startswith(r"faal\_1"))
    assert row.count("&") == 7
    assert r"\textbf{37.5 $\pm$ 3.5}" in row
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert "linf 8/255" in text
    assert "seed 0" in text


def test_markdown_has_a_table_of_classes(made):
    lines = formatted_overview(made, "markdown").splitlines()
    assert "| method | cat | dog | car |" in lines
    assert "| at | 25.0 | 50.0 | 80.0 |" in lines
    assert any("corrected over 1 test" in line for line in lines)


def test_text_names_seeds_intervals_and_family(made):
    text = str(made)
    assert "25.0 ± 7.1" in text
    assert "Against at, main column" in text
    assert "corrected over 1 test of the average and 1 test of the worst class, each by itself" in text


def test_json_is_strict(made):
    read = json.loads(formatted_overview(made, "json"), parse_constant=lambda word: pytest.fail(word))
    assert read["comparable"] is True
    assert read["rows"][1]["classes"] == pytest.approx({"cat": 0.375, "dog": 0.5, "car": 0.8})
    assert read["front"] == ["faal_1"]


def test_files_are_written_and_pictures_are_svg(made, tmp_path):
    paths = made.save(tmp_path / "out")
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "out").iterdir()}
    for path in paths:
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_the_picture_has_every_row_at_its_place(made):
    (ax,) = trade_off_figure(made).axes
    marks = {(float(x), float(y)) for line in ax.lines if line.get_marker() == "o" for x, y in [line.get_xydata()[0]]}
    for row in made.rows:
        assert any(np.allclose(mark, (100 * row.average.mean, 100 * row.worst.mean), atol=1e-9) for mark in marks), (
            row.label
        )
    assert {text.get_text() for text in ax.texts} == {"at", "faal_1"}


def test_class_bars_are_the_means_over_seeds(made):
    (ax,) = class_bars_of_rows(made).axes
    heights = [bar.get_height() for container in ax.containers for bar in container]
    assert heights == pytest.approx([25, 50, 80, 37.5, 50, 80])


def test_python_gives_the_same(made, tmp_path):
    import classwise

    again = classwise.compare_many([tmp_path / "runs"])
    assert again.to_dict() == made.to_dict()
    assert isinstance(again.rows[0].members[0].shown.audit, AuditResult)
