"""The figure of average against worst-class error: its numbers against the theory's, its words, and that labels stay apart."""

import itertools

import numpy as np
import pytest

from classwise.configuration import from_plain, to_plain
from classwise.report.svg import drawing
from classwise.theory import frl_arxiv
from classwise.theory.frontier import least_average, method_points
from classwise.theory.shown.base import TheoryFigure
from classwise.theory.shown.frontier_figure import FrontierFigure

FIGURES = [
    FrontierFigure(),
    FrontierFigure(ratio=1.0, radius=0.05, beta=1.5),  # a frontier of one point, on which many methods stand
    FrontierFigure(d=0, slack=0.0, tau=0.5, beta=1.0),
]


def rows_of(figure):
    columns, rows = figure.table()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_the_curve_is_the_frontier_and_the_points_are_those_of_docs_theory():
    rows = rows_of(FrontierFigure())
    pair = frl_arxiv.pair(m=4, gamma=1.0, d=100, eta=0.1, ratio=2.0, sigma=1.5)
    curve = [row for row in rows if row["part"] == "frontier"]
    worst, average = (np.array([row[name] for row in curve]) for name in ("worst-class error", "average error"))
    np.testing.assert_allclose(average, least_average(pair, 0.4, worst * (1 + 1e-14)), rtol=0, atol=1e-12)
    assert (worst[0], worst[-1]) == pytest.approx((0.2969, 0.4197), abs=5e-5)
    points = method_points(pair, 0.4, weights=(1.4, 1.0), tau=0.01)
    own = {row["method"]: row for row in rows if row["part"] == "method"}
    assert list(own) == list(points)
    for name, at in points.items():
        assert own[name]["worst-class error"] == at.worst
        assert own[name]["average error"] == at.average
        assert own[name]["error of class +1"] == at.errors.plus
        assert own[name]["error of class -1"] == at.errors.minus
        assert own[name]["above the frontier"] == pytest.approx(float(at.excess), abs=1e-6)


def test_every_parameter_reaches_its_method():
    plain = {row["method"]: row for row in rows_of(FrontierFigure())}
    changes = {
        "shifted_prior": "prior shift",
        "threshold": "threshold shift",
        "weight_plus": "reweighting",
        "tau": "KL-DRO",
        "slack": "FRL constraint",
        "factor_plus": "class-wise radii",
        "factor_minus": "class-wise radii",
    }
    for field, method in changes.items():
        changed = {row["method"]: row for row in rows_of(FrontierFigure(**{field: 0.07}))}
        assert {name for name in plain if changed[name] != plain[name]} == {method}
    changed = {row["method"]: row for row in rows_of(FrontierFigure(lam=0.9, beta=2.0))}
    assert {name for name in plain if changed[name] != plain[name]} == {"natural mixup", "adversarial mixup", "TRADES"}


def test_the_words_follow_the_numbers():
    said = FrontierFigure().summary()
    assert len(said) == 4
    own = {row["method"]: row["above the frontier"] for row in rows_of(FrontierFigure()) if row["part"] == "method"}
    assert said[1].split(": ")[1].rstrip(".").split(", ") == [name for name, above in own.items() if above == 0]
    named = [f"{name} ({above:.4f})" for name, above in own.items() if above > 0]
    assert said[2].split(": ")[1].rstrip(".").split(", ") == named
    assert len(named) == 4
    assert "one answer for everything" in said[3]
    assert not any("one answer" in each for each in FrontierFigure(beta=1.0).summary())


@pytest.mark.parametrize("figure", FIGURES)
def test_numbers_in_the_drawing_do_not_overlap_and_stand_inside(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with drawing():
        drawn = figure.draw()
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
        everywhere = set()
        for axes in drawn.axes:
            texts = [each for each in axes.texts if each.get_text()]
            boxes = [each.get_window_extent(canvas.get_renderer()) for each in texts]
            for one, other in itertools.combinations(boxes, 2):
                assert not one.overlaps(other)
            whole = axes.get_window_extent(canvas.get_renderer())
            for box in boxes:
                assert whole.x0 <= box.x0 < box.x1 <= whole.x1 + 1
                assert whole.y0 <= box.y0 < box.y1 <= whole.y1 + 1
            everywhere |= {each.get_text() for each in texts}
    names = [row["method"] for row in rows_of(figure) if row["part"] == "method"]
    assert everywhere == {str(number) for number in range(1, len(names) + 1)}
    legend = [each.get_text() for each in drawn.legends[0].get_texts()]
    assert legend[: len(names)] == [f"{number}  {name}" for number, name in enumerate(names, 1)]


def test_it_is_a_component_and_refuses_what_is_out_of_range():
    figure = FrontierFigure(m=3, lam=0.7)
    assert from_plain(TheoryFigure, to_plain(figure)) == figure
    assert set(figure.assumed) == set(to_plain(figure)) - {"name"}
    for change, message in (
        ({"m": 0}, "m"),
        ({"sigma": 0.0}, "sigma"),
        ({"radius": -0.1}, "radius must be finite"),
        ({"lam": 1.5}, "lam"),
        ({"tau": -1.0}, "radius of the ball"),
        ({"beta": -1.0}, "beta must be"),
        ({"weight_plus": 0.0}, "class weights"),
        ({"factor_minus": -1.0}, "factors of the radius"),
        ({"shifted_prior": 1.0}, "prior must lie"),
        ({"slack": -0.1}, "slack must be"),
    ):
        with pytest.raises(ValueError, match=message):
            FrontierFigure(**change)
