"""What is shown of same-class mixup: rows against draws and formulas written down anew, curves against single points."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import ndtr

from classwise.report.svg import PALETTE, drawing, to_svg
from classwise.theory.mixup import DomainPair, errors_of_mixup
from classwise.theory.shown.mixup import DomainMixup
from classwise.theory.shown.mixup_figures import MixupFigure1, MixupFigure2
from classwise.theory.simulate import simulate_pair


def by_quantity(model: DomainMixup, samples: int = 0) -> dict:
    rows = model.rows(samples, seed=3)
    table = {row.quantity: row for row in rows}
    assert len(table) == len(rows), "two rows have one name"
    return table


@pytest.mark.parametrize("changes", [{}, {"sigma_plus": 1.5, "prior": 0.4, "mu_minus": 0.1, "lam": 0.3}])
def test_draws_agree_with_what_is_right(changes: dict) -> None:
    rows = by_quantity(DomainMixup(**changes), 40_000)
    drawn = [row for row in rows.values() if row.simulated is not None]
    assert len(drawn) == 16  # natural and adversarial; plain, mixed, original, random share; two classes
    assert all("error, " in row.quantity for row in drawn)
    for row in drawn:
        spread = math.sqrt(row.corrected * (1 - row.corrected) / 40_000)
        assert abs(row.simulated.value - row.corrected) < 4.5 * spread, row.quantity
        assert row.simulated.low <= row.simulated.value <= row.simulated.high
        assert row.simulated.n == 40_000


def test_equal_variances_show_where_the_remarks_are_wrong() -> None:
    rows = by_quantity(DomainMixup())
    assert all(row.simulated is None for row in rows.values())
    offset = rows["natural offset t = b / w, mixup"]
    assert offset.printed == pytest.approx(offset.corrected, rel=1e-12)
    # By hand: d = 5, S = 0.8, sigma = 1, g = 1/2, K / d = ln(7/3).
    apart, tilt = math.sqrt(5) * 0.8 / 2, math.log(7 / 3) / (math.sqrt(5) * 0.8)
    gap = rows["natural gap, mixup, mixed data"]
    root = math.sqrt(0.5)
    assert gap.corrected == pytest.approx(ndtr(apart / root + tilt * root) - ndtr(apart / root - tilt * root), rel=1e-9)
    assert gap.printed == pytest.approx(1 - 2 * ndtr(-tilt * root), rel=1e-9)
    assert "eq. 17" in gap.remark
    least = rows["natural least g for the chain of errors on mixed data"]
    assert least.corrected == pytest.approx((apart / tilt) ** 2)
    assert least.printed == pytest.approx((apart / tilt) ** 2 / 25)
    least = rows["adversarial least g for the chain of errors on mixed data"]
    assert least.printed == least.corrected
    for kind, radius in (("natural", 0.0), ("adversarial", 0.1)):
        for name, side in (("+1", -1), ("-1", 1)):
            plain = rows[f"{kind} error, plain, class {name}"]
            a, k = math.sqrt(5) * (0.8 - 2 * radius) / 2, math.log(7 / 3) / (math.sqrt(5) * (0.8 - 2 * radius))
            assert plain.corrected == pytest.approx(ndtr(-a + side * k), rel=1e-9)
            assert plain.printed == pytest.approx(plain.corrected, rel=1e-9)
            assert rows[f"{kind} error, mixup, original data, class {name}"].printed is None
        assert rows[f"{kind} gap, mixup, original data"].corrected < rows[f"{kind} gap, plain"].corrected
        average = rows[f"{kind} average error, mixup, original data"].corrected
        assert average > rows[f"{kind} average error, plain"].corrected
        assert 0.5 < rows[f"{kind} effective g of a random share"].corrected < 1


def test_unequal_variances_show_where_the_theorems_are_wrong() -> None:
    """Numbers of the specification."""
    rows = by_quantity(DomainMixup(mu_plus=0.9, mu_minus=0.6, sigma_plus=1.2, sigma_minus=0.8, prior=0.5, radius=0.0))
    offset = rows["natural offset t = b / w, mixup"]
    assert offset.corrected == pytest.approx(-0.1288268152, abs=1e-9)
    assert offset.printed == pytest.approx(6.638754773, abs=1e-9)
    assert "factor d missing" in offset.remark
    mixed = rows["natural error, mixup, mixed data, class +1"]
    assert mixed.printed < 1e-4 < mixed.corrected
    assert rows["natural error, plain, class +1"].printed is None  # the propositions are for equal variances
    assert rows["natural gap, plain"].printed is None
    assert not any("adversarial" in name or "chain" in name for name in rows)
    single = by_quantity(DomainMixup(d=1, sigma_plus=1.2, radius=0.0))["natural offset t = b / w, mixup"]
    assert single.printed == pytest.approx(single.corrected, rel=1e-12)
    assert "missing" not in single.remark


def test_a_radius_beyond_the_means_is_said() -> None:
    rows = by_quantity(DomainMixup(sigma_plus=1.5, radius=0.5), 20_000)
    offset = rows["adversarial offset t = b / w, mixup"]
    assert math.isnan(offset.corrected)
    assert "leaves no margin" in offset.remark
    error = rows["adversarial error, mixup, original data, class +1"]
    assert error.simulated.low - 0.01 < error.corrected < error.simulated.high + 0.01


def test_the_natural_gap_of_adversarial_training() -> None:
    rows = by_quantity(DomainMixup(d=2, mu_plus=1.0, mu_minus=1.0, sigma_plus=1.5, sigma_minus=0.8, radius=0.3))
    before, after = (rows[f"adversarial training: natural gap, {what}"] for what in ("plain", "mixup, original data"))
    assert before.corrected == pytest.approx(0.003594656, abs=1e-9)
    assert after.corrected == pytest.approx(0.021527498, abs=1e-9)


def test_draws_follow_the_seed() -> None:
    first, again, other = (DomainMixup().rows(500, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("component", [DomainMixup, MixupFigure1, MixupFigure2])
def test_every_parameter_that_is_assumed_says_why(component: type) -> None:
    fields = {field.name for field in dataclasses.fields(component)}
    assert component.assumed.keys() == fields  # the paper states none
    assert all(component.assumed.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d": 0}, "d must be at least 1"),
        ({"mu_plus": -0.4}, "must be above 0"),
        ({"sigma_plus": 0.0}, "sigma_plus must be above 0"),
        ({"prior": 0.0}, "prior must lie strictly between 0 and 1"),
        ({"lam": 1.5}, "lam must lie in"),
        ({"radius": -0.1}, "radius -0.1 must be finite and at least 0"),
        ({"beta": 0.0}, r"beta 0\.0 must lie in"),
    ],
)
def test_parameters_that_make_no_model(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DomainMixup(**changes)


@pytest.mark.parametrize(
    ("figure", "changes", "message"),
    [
        (MixupFigure1, {"distance_from": 0.0}, "make no axis"),
        (MixupFigure1, {"distance_to": 0.1}, "make no axis"),
        (MixupFigure1, {"radius_to": 0.0}, "radius_to 0 must be above 0"),
        (MixupFigure1, {"mean": 0.0}, "must be above 0"),
        (MixupFigure1, {"lam": -1.0}, "lam must lie in"),
        (MixupFigure2, {"radius": -0.1}, "radius must be finite and at least 0"),
        (MixupFigure2, {"d_to": 1}, "d_to 1 must be at least 2"),
        (MixupFigure2, {"prior": 1.0}, "prior must lie strictly"),
    ],
)
def test_parameters_that_make_no_figure(figure: type, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figure(**changes)


def settings(figure, panel: int, at: int) -> tuple[DomainPair, float]:
    """Which classes and radius a point of a panel stands for."""
    x = float(figure.panels()[panel].x[at])
    d, distance, radius = {
        (MixupFigure1, 0): (5, x, 0.0),
        (MixupFigure1, 1): (5, 0.8, x),
        (MixupFigure2, 0): (5, x, 0.1),
        (MixupFigure2, 1): (x, 0.6, 0.1),
    }[type(figure), panel]
    half = distance / 2
    return DomainPair(d=d, mu_plus=half, mu_minus=half, sigma_plus=1.0, sigma_minus=1.0, prior=0.7), radius


@pytest.mark.parametrize("figure", [MixupFigure1(), MixupFigure2()])
@pytest.mark.parametrize("number", [0, 1])
def test_curves(figure, number: int) -> None:
    """Against the paper's eq. 5 to 8, 20 and 21 for equal variances; the curves it leaves out against draws."""
    panel = figure.panels()[number]
    assert len(panel.curves) == 6
    for at in range(0, len(panel.x), 9):
        classes, radius = settings(figure, number, at)
        left, constant = float(classes.distance(radius)), float(classes.d) * math.log(7 / 3)
        for what, g in (("plain training", 1.0), ("mixup, on mixed data", 0.5)):
            below = 2 * left * math.sqrt(float(classes.d) ** 3 * g)
            for name, side in (("+1", -1), ("-1", 1)):
                error = ndtr((-(float(classes.d * left) ** 2) + side * 2 * constant * g) / below)
                assert panel.curves[f"{what}, class {name}"][at] == pytest.approx(error, rel=1e-9, abs=1e-15)
    at = len(panel.x) // 3
    classes, radius = settings(figure, number, at)
    drawn = simulate_pair(classes.pair, classes.pair.best_linear(radius, 0.5), radius, 20_000, 1)
    for name, simulated in zip(("+1", "-1"), drawn, strict=True):
        error = panel.curves[f"mixup, on original data, class {name}"][at]
        assert abs(simulated.value - error) < 4.5 * math.sqrt(error * (1 - error) / 20_000)


def test_axes_of_the_panels() -> None:
    first, second = MixupFigure1().panels(), MixupFigure2().panels()
    assert [(panel.x[0], panel.x[-1]) for panel in (*first, *second)] == [(0.2, 2), (0, 0.35), (0.3, 2), (1, 40)]
    np.testing.assert_array_equal(second[1].x, np.arange(1, 41))
    for panels in (first, second):
        assert [panel.title[:3] for panel in panels] == ["(a)", "(b)"]
    assert [panel.y_name.split()[0] for panel in (*first, *second)] == ["natural", *["adversarial"] * 3]


@pytest.mark.parametrize("figure", [MixupFigure1(sigma_plus=1.5, d=3), MixupFigure2(prior=0.4, radius=0.0)])
def test_other_parameters_reach_the_curves(figure) -> None:
    panel = figure.panels()[0]
    half = panel.x[40] / 2
    classes = DomainPair(
        d=figure.d,
        mu_plus=half,
        mu_minus=half,
        sigma_plus=figure.sigma_plus,
        sigma_minus=figure.sigma_minus,
        prior=figure.prior,
    )
    errors = errors_of_mixup(classes.pair, 0.5)
    assert panel.curves["mixup, on original data, class +1"][40] == pytest.approx(
        float(errors.original.plus), rel=1e-12
    )
    assert panel.curves["plain training, class -1"][40] == pytest.approx(float(errors.plain.minus), rel=1e-12)


@pytest.mark.parametrize("figure", [MixupFigure1(), MixupFigure2()])
def test_the_summary_tells_the_curves(figure) -> None:
    said, panels = figure.summary(), figure.panels()
    assert len(said) == 4
    for panel, gaps, averages in zip(panels, said[::2], said[1::2], strict=True):
        at = len(panel.x) // 2
        for what in ("plain training", "mixup, on mixed data", "mixup, on original data"):
            plus, minus = (panel.curves[f"{what}, class {name}"] for name in ("+1", "-1"))
            assert f"{abs(plus[at] - minus[at]):.3f}" in gaps
        averaged = [
            0.7 * panel.curves[f"{what}, class +1"] + 0.3 * panel.curves[f"{what}, class -1"]
            for what in ("plain training", "mixup, on original data")
        ]
        assert f"{(averaged[1] - averaged[0]).max():.4f}" in averages
        assert (averaged[1] >= averaged[0]).all()
        assert panel.title in gaps


@pytest.mark.parametrize("figure", [MixupFigure1(), MixupFigure2()])
def test_the_table_holds_every_point(figure) -> None:
    names, rows = figure.table()
    assert names == ["panel", "axis", "x", "curve", "y"]
    assert len(rows) == sum(6 * len(panel.x) for panel in figure.panels())
    assert all(0 <= row[4] <= 1 for row in rows)


@pytest.mark.parametrize("figure", [MixupFigure1(), MixupFigure2()])
def test_the_drawing(figure) -> None:
    with drawing():
        drawn = figure.draw()
        image = to_svg(drawn, "class errors")
    assert image.startswith("<svg")
    (legend,) = drawn.legends
    assert len(legend.get_texts()) == 6
    for axes, panel in zip(drawn.axes, figure.panels(), strict=True):
        assert axes.get_legend() is None
        assert axes.get_title() == panel.title
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert lines.keys() == panel.curves.keys()
        for name, line in lines.items():
            np.testing.assert_array_equal(line.get_ydata(), panel.curves[name])
            assert line.get_linestyle() == ("--" if name.endswith("-1") else "-")
        assert {line.get_color() for line in lines.values()} == set(PALETTE[:3])


def mentions(rows: dict, text: str) -> set[str]:
    return {name for name, row in rows.items() if text in row.remark}


def test_without_a_margin_nothing_is_called_right() -> None:
    """Equal variances and a radius beyond the means: one answer for every point, of which no formula of the paper speaks."""
    rows = by_quantity(DomainMixup(radius=0.5))
    printed = {name for name, row in rows.items() if name.startswith("adversarial") and row.printed is not None}
    assert len(printed) == 7
    for name in printed:
        row = rows[name]
        assert abs(row.printed - row.corrected) > 0.01 or math.isnan(row.corrected)
        assert "the radius leaves no margin, and one answer for every point is best" in row.remark
    assert not mentions(rows, "alike")
    assert not any(name.startswith("adversarial least g") for name in rows)
    assert rows["adversarial gap, mixup, original data"].remark == "not in the paper; stays as it is"
    assert rows["natural gap, mixup, original data"].remark == "not in the paper; shrinks too"
    assert rows["natural offset t = b / w, mixup"].remark == "theorem 3, eq. 28"
    assert by_quantity(DomainMixup(radius=0.4)).keys() == rows.keys()  # nothing is left of the means: no warning


def test_constant_classifiers_are_said() -> None:
    rows = by_quantity(DomainMixup(prior=0.95, sigma_plus=2.0))
    for kind in ("natural", "adversarial"):
        assert rows[f"{kind} offset t = b / w, mixup"].corrected == math.inf
        assert "it does not hold: one answer for every point is best" in rows[f"{kind} offset t = b / w, mixup"].remark
        assert rows[f"{kind} gap, mixup, original data"].corrected == rows[f"{kind} gap, plain"].corrected == 1
        assert rows[f"{kind} gap, mixup, original data"].remark.endswith("stays as it is")
        assert rows[f"{kind} effective g of a random share"].remark.endswith("one answer for every point is best")
    assert not mentions(rows, "shrinks too;") - mentions(rows, "here it stays as it is")
    single = by_quantity(DomainMixup(sigma_plus=1.5, radius=0.5))["adversarial offset t = b / w, mixup"].remark
    assert ("one feature alone" in single) != ("one answer" in single)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prior": 0.3},
        {"prior": 0.95, "radius": 0.2, "lam": 0.1},
        {"prior": 0.05, "lam": 0.1},
        {"prior": 0.8, "lam": 1.0},
        {"prior": 0.99, "lam": 0.4, "d": 1},
    ],
)
def test_the_chain_is_told_as_the_numbers_have_it(changes: dict) -> None:
    model = DomainMixup(**changes)
    rows = by_quantity(model)
    g = model.lam**2 + (1 - model.lam) ** 2
    for kind in ("natural", "adversarial"):
        row = rows[f"{kind} least g for the chain of errors on mixed data"]
        plain, mixed = (
            [rows[f"{kind} error, {what}, class {name}"].corrected for name in ("+1", "-1")]
            for what in ("plain", "mixup, mixed data")
        )
        low, high = (0, 1) if model.prior > 0.5 else (1, 0)
        assert ("classes swapped" in row.remark) == (model.prior < 0.5)
        chain = plain[low] <= mixed[low] <= mixed[high] <= plain[high]
        if row.corrected <= 1:
            assert ("the chain holds here" in row.remark) == chain == (g >= row.corrected)
            assert ("the chain does not hold here" in row.remark) != chain
        else:
            assert "above 1 it holds for no mixture" in row.remark
        both = mixed[0] < plain[0] and mixed[1] < plain[1]
        assert ("both mixed errors are below" in row.remark) == both
    assert ("d^2 where" in rows["natural least g for the chain of errors on mixed data"].remark) == (model.d > 1)


def test_the_natural_gap_of_adversarial_training_is_told_as_it_is() -> None:
    for changes, found in (
        ({"d": 2, "mu_plus": 1.0, "mu_minus": 1.0, "sigma_plus": 1.5, "sigma_minus": 0.8, "radius": 0.3}, "grows"),
        ({}, "shrinks"),
        ({"prior": 0.5}, "stays as it is"),
    ):
        row = by_quantity(DomainMixup(**changes))["adversarial training: natural gap, plain"]
        assert row.remark.endswith(f"here it {found}")
