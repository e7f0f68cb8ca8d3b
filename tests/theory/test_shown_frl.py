"""The tables of both versions of FRL: columns that agree where they should, and simulations that know no formula."""

import dataclasses
import math

import pytest

from classwise.theory.shown.frl_arxiv import FRLv1
from classwise.theory.shown.frl_icml import FRLICML

MODELS = [
    FRLICML(),
    FRLICML(d=10, eta=0.5, ratio=2.0, radius=0.2, test_radius=0.1, m=3, gamma=0.15),
    FRLICML(d=1, eta=0.55, ratio=2.0, radius=0.5, test_radius=0.5, gamma=0.3),
    FRLv1(),
    FRLv1(m=10, gamma=0.8, d=200, eta=0.05, ratio=1.2, sigma=2.0, radius=0.3, test_radius=0.1),
]


def by_quantity(model):
    rows = model.rows(0, 0)
    table = {row.quantity: row for row in rows}
    assert len(table) == len(rows), "two rows have one name"
    return table


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_print_that_is_called_right_agrees_and_no_other_does(model):
    for row in by_quantity(model).values():
        assert math.isfinite(row.corrected)
        assert row.simulated is None
        if row.printed is None:
            continue
        assert row.remark
        if row.remark.split(";")[0].endswith(": right"):
            assert row.printed == pytest.approx(row.corrected, rel=1e-9)
        elif not (model.gamma == 1 and row.remark.startswith("lemma 1")):  # there the wrong ratio is the right one
            assert row.printed != pytest.approx(row.corrected, rel=1e-3)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_simulations_agree_with_the_closed_forms(model):
    samples = 20_000
    simulated = [row for row in model.rows(samples, 1) if row.simulated is not None]
    assert len(simulated) >= 8
    for row in simulated:
        assert row.simulated.n == samples
        spread = math.sqrt(row.corrected * (1 - row.corrected) / samples)
        assert abs(row.simulated.value - row.corrected) < 4.5 * spread, row


def test_the_published_version():
    table = by_quantity(FRLICML())
    assert table["robust training, intercept b for w = 1"].remark.endswith("so here")
    assert table["with weak features, increase of the error, class -1"].remark.endswith("wrong here, class -1 gains")
    assert table["natural training, test radius of equal robust errors"].corrected == pytest.approx(0.3551721683)
    assert table["average error, robust over natural training"].corrected == pytest.approx(1.049, abs=5e-4)
    other = by_quantity(MODELS[1])
    assert other["robust training, intercept b for w = 1"].remark.endswith("wrong here")
    assert other["robust training, robust error, class +1"].printed is None  # printed for the training radius only
    chain = by_quantity(MODELS[2])["with weak features, growth of the gap between the errors"]
    assert (chain.corrected, chain.printed) == pytest.approx((0.5930804150, 1.6099196230), abs=5e-11)
    assert chain.remark.endswith("wrong here")
    rises = by_quantity(dataclasses.replace(FRLICML(), m=200))
    assert rises["with weak features, increase of the error, class -1"].remark.endswith("so here")
    assert not [name for name in by_quantity(dataclasses.replace(FRLICML(), m=0)) if "weak" in name]


def test_the_first_version():
    table = by_quantity(FRLv1())
    printed = {
        "natural training, error, class -1": 0.2852172685,
        "robust training, error, class -1": 0.3148880655,
        "robust training, error, class +1": 0.4197083210,
        "robust training, b / w_1": -0.7104970085,
    }
    for name, value in printed.items():
        assert table[name].printed == pytest.approx(value, abs=5e-11)
    assert table["Omega"].corrected == pytest.approx(2.0102133895, abs=5e-11)
    assert table["Omega"].remark.endswith("wrong here")
    near = by_quantity(dataclasses.replace(FRLv1(), ratio=1.05))
    assert near["Omega"].remark.endswith("above it here")


def test_what_is_too_small_to_compute_is_neither_right_nor_wrong():
    """Classes so far apart that every error underflows."""
    table = by_quantity(FRLICML(d=3, eta=40.0))
    assert table["natural training, error, class +1"].corrected == 0
    assert math.isnan(table["average error, robust over natural training"].corrected)
    names = ["average error, robust over natural training", "with weak features, growth of the gap between the errors"]
    names += [f"{weak}increase of the error, class {c}" for weak in ("", "with weak features, ") for c in ("+1", "-1")]
    first = by_quantity(FRLv1(sigma=0.01))
    for row in [*(table[name] for name in names), first["growth of the gap between the errors"], first["Omega"]]:
        assert "too small to compute" in row.remark, row
        assert "right" not in row.remark, row
        assert "so here" not in row.remark, row
    assert math.isnan(first["Omega"].corrected)
    assert "wrong" not in first["Omega"].remark
    assert first["Omega, limit for K to 1"].corrected == math.inf  # without a warning
    for model in MODELS:
        assert not any("too small" in row.remark for row in model.rows(0, 0))


@pytest.mark.parametrize("model", [FRLICML(), FRLv1()], ids=["frl-icml", "frl-v1"])
def test_what_is_assumed_is_a_field_and_every_model_names_its_paper(model):
    fields = {field.name for field in dataclasses.fields(model)}
    assert set(model.assumed) <= fields
    assert all(model.assumed.values())
    assert "Xu et al." in model.paper


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        (FRLICML, {"d": 0}, "d 0 and m 100 count features"),
        (FRLICML, {"m": -1}, "m at least 0"),
        (FRLICML, {"ratio": 1.0}, "ratio 1 is out of range: above 1"),
        (FRLICML, {"sigma": 0.0}, "sigma 0 is out of range: above 0"),
        (FRLICML, {"eta": math.nan}, "eta nan is out of range: above 0 and finite"),
        (FRLICML, {"eta": math.inf}, "eta inf is out of range"),
        (FRLv1, {"gamma": math.nan}, "gamma nan is out of range"),
        (FRLICML, {"radius": 2.0}, "radius 2 is out of range: above 0 and below eta 2"),
        (FRLICML, {"radius": 0.0}, "radius 0 is out of range"),
        (FRLICML, {"test_radius": -0.1}, "test_radius -0.1 is out of range: at least 0"),
        (FRLICML, {"gamma": 0.6}, "gamma 0.6 is out of range: from 0 to radius 0.5"),
        (FRLv1, {"m": 0}, "m 0 and d 100 count features"),
        (FRLv1, {"ratio": math.nan}, "ratio nan is out of range"),
        (FRLv1, {"sigma": -1.0}, "sigma -1 is out of range"),
        (FRLv1, {"eta": -0.1}, "eta -0.1 is out of range: at least 0"),
        (FRLv1, {"eta": 0.5}, "radius 0.4 is out of range: above 0, at least eta 0.5 and below gamma 1"),
        (FRLv1, {"radius": 1.0}, "radius 1 is out of range"),
        (FRLv1, {"test_radius": math.inf}, "test_radius inf is out of range"),
    ],
)
def test_what_is_refused(model, change, said):
    with pytest.raises(ValueError, match=said):
        model(**change)
