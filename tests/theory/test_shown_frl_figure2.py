"""Figure 2 of FRL: what its table holds, what it says, and what is drawn."""

import json

import numpy as np
import pytest
import torch

from classwise.configuration import from_plain, to_plain
from classwise.report.svg import PALETTE, drawing, to_svg
from classwise.theory.logistic import population_logistic
from classwise.theory.shown.base import TheoryFigure
from classwise.theory.shown.frl_figure2 import LOGISTIC, NET, FRLFigure2
from classwise.theory.small_net import net_errors, train_small_net, training_points

BRIEF = {"points": 200, "steps": 60, "nets": 2, "samples": 2000, "shown": 30, "seed": 5}


@pytest.fixture(scope="module")
def brief():
    return FRLFigure2(**BRIEF)


def test_it_is_found_by_its_name(brief):
    assert from_plain(TheoryFigure, "frl-icml-figure2") == FRLFigure2()
    assert from_plain(TheoryFigure, to_plain(brief)) == brief
    assert set(brief.assumed) <= set(to_plain(brief))


def test_the_classes_are_those_of_the_paper():
    pair = FRLFigure2().pair
    assert (float(np.asarray(pair.sigma_plus)) ** 2, float(np.asarray(pair.sigma_minus)) ** 2) == pytest.approx((2, 1))
    assert np.repeat(pair.theta, np.asarray(pair.times, dtype=int)).tolist() == [2.0, 2.0]
    assert FRLFigure2().radius == 0.5


def test_errors_of_logistic_regression_are_the_reference_figures(shared, brief):
    cases = json.loads((shared / "fixtures" / "theory.json").read_text())["cases"]
    found = {each.training: each for each in brief.fitted if each.panel == LOGISTIC}
    for training, radius in (("natural", 0.0), ("adversarial", 0.5)):
        (expected,) = [
            each["outputs"]
            for each in cases
            if each["name"] == "logistic_population_2gauss"
            and each["inputs"]["eta"] == 2
            and each["inputs"]["eps_train"] == radius
        ]
        clean, robust = found[training].clean, found[training].robust
        np.testing.assert_allclose(clean, [[expected["clean_plus"], expected["clean_minus"]]], rtol=1e-7)
        np.testing.assert_allclose(robust, [[expected["robust_plus"], expected["robust_minus"]]], rtol=1e-7)


def test_boundaries_lie_where_the_answer_changes(brief):
    by_kind = {(each.panel, each.training): each.boundary for each in brief.fitted}
    for training, radius in (("natural", 0.0), ("adversarial", 0.5)):
        fitted = population_logistic(brief.pair, radius)
        line = by_kind[LOGISTIC, training]
        np.testing.assert_allclose(line.sum(1) * fitted.weight[0] + fitted.intercept, 0, atol=1e-10)

        net = train_small_net(brief.pair, radius, 5, points=200, steps=60)
        bend = by_kind[NET, training]
        step = 0.05  # a step towards class +1 must be answered +1, one back -1
        for sign in (1, -1):
            assert (sign * net(torch.from_numpy(bend + sign * step).float()) > 0).all()
        for each in (line, bend):
            assert len(each) == 161
            across = each[:, 0] - each[:, 1]
            np.testing.assert_allclose(np.diff(across), across[1] - across[0], rtol=1e-9)  # in order, no gap


def test_errors_of_the_networks_are_counted_on_networks_of_their_own(brief):
    for each in brief.fitted:
        if each.panel != NET:
            continue
        radius = 0.5 if each.training == "adversarial" else 0.0
        assert len(each.simulated) == 2
        net = train_small_net(brief.pair, radius, 6, points=200, steps=60)
        assert each.simulated[1] == tuple(net_errors(net, brief.pair, size, 2000, 6) for size in (0.0, 0.5))
        for position, values in enumerate((each.clean, each.robust)):
            np.testing.assert_array_equal(values, [[side.value for side in net[position]] for net in each.simulated])


def test_the_table_holds_points_boundaries_and_errors(brief):
    columns, rows = brief.table()
    assert columns == ["panel", "item", "training", "class", "x1", "x2", "value", "low", "high"]
    assert all(len(row) == len(columns) for row in rows)
    named = [dict(zip(columns, row, strict=True)) for row in rows]

    x, y = training_points(brief.pair, 200, 5)
    for name, label in (("+1", 1), ("-1", -1)):
        points = [[row["x1"], row["x2"]] for row in named if row["item"] == "point" and row["class"] == name]
        np.testing.assert_allclose(points, x[y == label][:30], rtol=1e-6)
    assert sum(row["item"] == "boundary" for row in named) == 4 * 161

    means = [row for row in named if row["item"] in ("clean error", "error at radius 0.5")]
    assert len(means) == 4 * 2 * 2
    for row in means:
        alone = [each for each in named if str(each["item"]).startswith(f"{row['item']}, network")]
        alone = [each for each in alone if all(each[key] == row[key] for key in ("panel", "training", "class"))]
        assert len(alone) == (2 if row["panel"] == NET else 0)
        assert all(each["low"] < each["value"] < each["high"] for each in alone)
        if alone:
            assert row["value"] == pytest.approx(np.mean([each["value"] for each in alone]))
    assert len(rows) == 2 * 30 + 4 * 161 + 16 + 2 * 8


def test_the_summary_says_the_errors_and_where_the_boundary_goes(brief):
    said = brief.summary()
    assert "natural training 1.08 % and 0.80 % on clean data, 3.62 % and 4.44 % at radius 0.5" in said[0]
    assert "adversarial training 1.38 % and 0.55 %, 4.42 % and 3.34 %" in said[0]
    assert (
        "natural training +0.28 on clean data, -0.83 at radius 0.5; after adversarial training +0.82, +1.08" in said[1]
    )
    natural = next(each for each in brief.fitted if each.panel == NET)
    plus, minus = 100 * natural.clean.mean(0)
    assert said[2].startswith("Small network (mean of 2, simulated)")
    assert f"natural training {plus:.2f} % and {minus:.2f} % on clean data" in said[2]
    assert "crosses x1 = x2 at -0.297 after natural training and at -0.204 after adversarial training" in said[4]


def test_the_figure_shows_points_and_boundaries_in_two_panels(brief):
    with drawing():
        figure = brief.draw()
    assert [each.get_title() for each in figure.axes] == ["Logistic regression", "Small network"]
    for place, fitted in zip(figure.axes, (brief.fitted[:2], brief.fitted[2:]), strict=True):
        assert [len(each.get_offsets()) for each in place.collections] == [30, 30]
        for line, each in zip(place.lines, fitted, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), each.boundary)
        assert [line.get_color() for line in place.lines] == list(PALETTE[2:4])
    (legend,) = figure.legends
    texts = [each.get_text() for each in legend.get_texts()]
    assert texts == ["class +1", "class -1", "natural training", "adversarial training"]
    svg = to_svg(figure, "two classes")
    assert all(text in svg for text in (*texts, "Logistic regression", "Small network"))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"centre": 0.0}, "centre 0"),
        ({"variance_plus": 0.0}, "variance_plus 0"),
        ({"variance_minus": -1.0}, "variance_minus -1"),
        ({"radius": 2.0}, "radius 2 is out of range.*below the centre 2"),
        ({"radius": -0.1}, "radius -0.1"),
        ({"nets": 0}, "nets 0"),
        ({"shown": 3000}, "shown 3000"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_parameters_out_of_range_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        FRLFigure2(**given)


def test_the_radius_of_natural_training_may_be_the_only_one():
    figure = FRLFigure2(**{**BRIEF, "radius": 0.0, "nets": 1, "shown": 0, "steps": 5})
    natural, adversarial = figure.fitted[:2]
    np.testing.assert_array_equal(natural.boundary, adversarial.boundary)
    np.testing.assert_array_equal(natural.clean, adversarial.robust)
    assert not [row for row in figure.table()[1] if row[1] == "point"]
