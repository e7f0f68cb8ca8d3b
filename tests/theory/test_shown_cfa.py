"""CFA's model and figure as they are shown: rows against the formulas and draws, the table, the words, the drawing."""

import math
import re

import numpy as np
import pytest
from scipy.special import ndtr

from classwise.configuration import from_plain, to_plain
from classwise.report.svg import drawing, to_svg
from classwise.theory.noisy_feature import NoisyFeature
from classwise.theory.shown.base import TheoryFigure, TheoryModel
from classwise.theory.shown.cfa_figure import CFAFigure1
from classwise.theory.shown.noisy_feature import CFA


def by_quantity(model, samples=0):
    rows = model.rows(samples, seed=0)
    found = {row.quantity: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_rows_are_those_of_the_reference():
    rows = by_quantity(CFA())
    expected = {
        "clean accuracy, class +1": 0.852088079,
        "clean accuracy, class -1": 0.7051490448,
        "robust accuracy, class +1": 0.8336274139,
        "robust accuracy, class -1": 0.6866883797,
        "robust accuracy, first feature attacked too, class +1": 0.4250000181,
        "robust accuracy, first feature attacked too, class -1": 0.3500000363,
        "best w of the average, natural": 0.9275719704,
        "best w of the average, trained at radius 0.2": 1.855143941,
        "best w of the average, trained at radius 0.2, first feature attacked too": math.inf,
        "best w of class +1, natural": 1.300950792,
        "best w of class -1, natural": 0.6354733953,
        "best w with a bias": 0.9682120934,
        "its bias": -0.1871216873,
    }
    assert {name: rows[name].corrected for name in expected} == pytest.approx(expected, rel=1e-9)
    rounded = {  # the reference gives four digits of these
        "clean accuracy at the best w, no bias, class +1": 0.8504,
        "clean accuracy at the best w, no bias, class -1": 0.7441,
        "clean accuracy at the best w and bias, class +1": 0.8206,
        "clean accuracy at the best w and bias, class -1": 0.7778,
    }
    assert {name: rows[name].corrected for name in rounded} == pytest.approx(rounded, abs=5e-5)
    assert len(rows) == 21


def test_the_changes_are_differences_of_the_accuracies():
    rows, s = by_quantity(CFA()), math.sqrt(0.6)

    def accuracy(p, w, radius):
        return p * ndtr((w + 0.4 - radius) / s) + (1 - p) * ndtr((0.4 - radius - w) / s)

    for what, radius in (("clean", 0.0), ("robust", 0.8)):
        for name, p in (("+1", 0.85), ("-1", 0.7)):
            row = rows[f"change of {what} accuracy from w = 2 to 3, class {name}"]
            assert row.corrected == pytest.approx(accuracy(p, 3, radius) - accuracy(p, 2, radius), rel=1e-12)


def test_what_the_paper_has_is_printed_and_right_and_what_it_has_not_is_not():
    for row in CFA().rows(0, 0):
        ours = "attacked too" in row.quantity or "bias" in row.quantity.replace("no bias", "")
        assert (row.printed is None) == ours
        assert row.printed in (None, row.corrected)
        assert row.remark.startswith("not in the paper") == ours


def test_every_accuracy_is_simulated_and_agrees():
    """Twice the 95 % interval, about 0.01: ten draws, of which one in 10000 lies outside."""
    rows = by_quantity(CFA(d=3, eta=0.3), samples=40000)
    drawn = {name: row for name, row in rows.items() if row.simulated is not None}
    assert set(drawn) == {name for name in rows if re.search("accuracy", name) and "change" not in name}
    assert len(drawn) == 10
    for row in drawn.values():
        assert row.simulated.n == 40000
        assert row.simulated.high - row.simulated.low < 0.011
        assert abs(row.simulated.value - row.corrected) < row.simulated.high - row.simulated.low
    # Rows differ in their draws: one unlikely draw does not show in all.
    again = by_quantity(CFA(radius=0.0), samples=2000)
    assert again["clean accuracy, class +1"].simulated != again["robust accuracy, class +1"].simulated


def test_no_simulation_without_samples():
    assert all(row.simulated is None for row in CFA().rows(0, 0))


def test_the_remarks_follow_the_parameters():
    usual = by_quantity(CFA())
    assert (
        usual["change of clean accuracy from w = 2 to 3, class -1"].remark == "theorem 4: both fall, class -1 by more"
    )
    assert (
        usual["change of robust accuracy from w = 2 to 3, class -1"].remark == "theorem 4: both rise, class -1 by less"
    )
    early = by_quantity(CFA(w=1.0, radius=0.1))
    assert "from w = 1.301 on" in early["change of clean accuracy from w = 1 to 2, class +1"].remark
    assert (
        "below eta only their order is certain" in early["change of robust accuracy from w = 1 to 2, class +1"].remark
    )
    falling = CFA(p_plus=0.6, p_minus=0.55, eta=0.4, variance=1.0, d=10, train_radius=0.1)
    row = by_quantity(falling)["best w of the average, trained at radius 0.1, first feature attacked too"]
    assert row.corrected == pytest.approx(0.17032, abs=5e-6)
    assert row.remark.endswith("need not hold; here it falls")


@pytest.mark.parametrize(
    ("component", "change", "message"),
    [
        (CFA, {"p_minus": 0.4}, "p_minus must be at least 1/2"),
        (CFA, {"p_plus": 0.6}, "p_minus must be at most p_plus"),
        (CFA, {"variance": 0.0}, "variance 0 is out of range: it must be finite and above 0"),
        (CFA, {"w": math.inf}, "w inf is out of range"),
        (CFA, {"step": 0.0}, "step 0 is out of range"),
        (CFA, {"radius": -0.1}, "radius -0.1 is out of range"),
        (CFA, {"train_radius": math.nan}, "train_radius nan is out of range"),
        (CFA, {"d": 0}, "d must be a whole number"),
        (CFAFigure1, {"p_plus": 1.0}, "p_plus below 1"),
        (CFAFigure1, {"variance": 0.0}, "variance 0 is out of range"),
        (CFAFigure1, {"w_max": math.inf}, "w_max inf is out of range"),
        (CFAFigure1, {"radius": -1.0}, "radius -1 is out of range: it must be finite and at least 0"),
        (CFAFigure1, {"points": 0}, "points 0 is out of range"),
        (CFAFigure1, {"seed": -1}, "seed -1 is out of range"),
    ],
)
def test_fields_out_of_range_are_refused(component, change, message):
    with pytest.raises(ValueError, match=message):
        component(**change)


@pytest.mark.parametrize(("base", "component"), [(TheoryModel, CFA(d=4)), (TheoryFigure, CFAFigure1(points=7))])
def test_both_are_components_and_say_what_they_assume(base, component):
    assert from_plain(base, to_plain(component)) == component
    assert component.paper.startswith("CFA")
    assert set(component.assumed) < set(to_plain(component))
    assert {"p_plus", "p_minus", "eta"} <= set(component.assumed)
    assert not {"variance", "radius", "points"} & set(component.assumed)  # these the paper states


def test_the_points_follow_the_model():
    plus, minus = CFAFigure1(points=40000).drawn()
    for points, label, share in ((plus, 1, 0.85), (minus, -1, 0.7)):
        assert points.shape == (40000, 2)
        assert set(np.unique(points[:, 0])) == {-1.0, 1.0}
        assert np.mean(points[:, 0] == label) == pytest.approx(share, abs=0.008)
        assert points[:, 1].mean() == pytest.approx(0.4 * label, abs=0.016)
        assert points[:, 1].var() == pytest.approx(0.6, abs=0.018)
    np.testing.assert_array_equal(CFAFigure1().drawn()[1], CFAFigure1().drawn()[1])
    assert not np.array_equal(CFAFigure1(seed=1).drawn()[0], CFAFigure1(seed=2).drawn()[0])


def test_the_table_holds_all_that_is_drawn():
    figure = CFAFigure1(points=30)
    names, rows = figure.table()
    assert names == ["panel", "axis", "x", "curve", "y"]
    drawn = [row for row in rows if row[0] == "points"]
    assert len(drawn) == 60
    assert [row[4] for row in drawn[:30]] == figure.drawn()[0][:, 1].tolist()
    curves = [row for row in rows if row[0] == "accuracy"]
    assert len(curves) == 6 * 201
    model = NoisyFeature(p_plus=0.85, p_minus=0.7, eta=0.4, sigma=math.sqrt(0.6), d=1)
    for what, values in (
        ("clean, class +1", lambda w: model.accuracies(w).plus),
        ("robust, class -1", lambda w: model.accuracies(w, 0.8).minus),
        ("robust, x1 too, class -1", lambda w: model.accuracies(w, 0.8, first_attackable=True).minus),
    ):
        chosen = [row for row in curves if row[3] == what]
        assert len(chosen) == 201
        assert [row[4] for row in chosen] == pytest.approx([float(values(row[2])) for row in chosen], rel=1e-12)


def test_the_summary_has_the_numbers_of_the_curves():
    """The numbers were computed apart from the code, by the formulas of the reference."""
    text = " ".join(CFAFigure1().summary())
    for number in ("0.635", "1.301", "0.928", "0.744", "0.850", "-4.41"):
        assert number in text
    s, w = math.sqrt(0.6), 0.9275719704

    def robust(p, w):
        return p * ndtr((w - 0.4) / s) + (1 - p) * ndtr((-0.4 - w) / s)

    easy, hard = (100 * (robust(p, 4) - robust(p, w)) for p in (0.85, 0.7))
    assert f"{hard:+.2f} and {easy:+.2f} (in points)" in text


def test_the_drawing_shows_points_curves_and_boundary():
    figure = CFAFigure1()
    with drawing():
        drawn = figure.draw()
        drawn.draw_without_rendering()
    points, curves = drawn.axes
    assert [each.get_offsets().shape for each in points.collections] == [(100, 2), (100, 2)]
    for spread, exact in zip(points.collections, figure.drawn(), strict=True):
        np.testing.assert_array_equal(np.sign(spread.get_offsets()[:, 0]), exact[:, 0])
        np.testing.assert_array_equal(spread.get_offsets()[:, 1], exact[:, 1])
    best = float(figure.model().best_weight())
    assert [line.get_ydata()[0] for line in points.lines] == [best, -best]
    exact = figure.curves()[1]
    by_label = {line.get_label(): line for line in curves.lines}
    assert len(by_label) == 7
    np.testing.assert_array_equal(by_label["robust, class -1"].get_ydata(), exact["robust"].minus)
    assert by_label["clean, class -1"].get_linestyle() == "--"
    assert by_label["clean, class +1"].get_color() == by_label["clean, class -1"].get_color()
    high = by_label["highest clean accuracy"].get_ydata()
    assert (high >= [exact["clean"].plus.max(), exact["clean"].minus.max()]).all()
    text = to_svg(drawn, "points and accuracies")
    assert "first feature x1" in text
    assert "84 of class +1, 29 of class -1" in text


def test_legends_lie_within_the_figure_and_apart():
    with drawing():
        drawn = CFAFigure1().draw()
        drawn.draw_without_rendering()
        boxes = [axes.get_legend().get_window_extent() for axes in drawn.axes]
        whole = drawn.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 for box in boxes)
    assert not boxes[0].overlaps(boxes[1])
