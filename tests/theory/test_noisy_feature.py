"""CFA's model against reference values, integration, simulation, grid search and finite differences; its theorems."""

import itertools
import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import minimize, minimize_scalar
from scipy.special import ndtr, ndtri

from classwise.theory.noisy_feature import NoisyFeature

FIGURE = {"p_plus": 0.85, "p_minus": 0.7, "eta": 0.4, "sigma": math.sqrt(0.6), "d": 1}
FALLING = {"p_plus": 0.6, "p_minus": 0.55, "eta": 0.4, "sigma": 1.0, "d": 10}
"""The mean p is 0.575: the best w falls with the radius where the first feature can be attacked."""
CONVENTIONS = [False, True]
POINTS = [(1, 0.05), (2.5, 0.3), (0, 0.2), (math.inf, 0.3), (1.5, 0.9), (1, 1.3)]
"""Pairs of w and radius, the ends and radii beyond eta and beyond the first feature included."""


def random_models(number, seed=0):
    generator = np.random.default_rng(seed)
    p_minus = generator.uniform(0.5, 0.95, number)
    return NoisyFeature(
        p_plus=generator.uniform(p_minus, 0.97),
        p_minus=p_minus,
        eta=10 ** generator.uniform(-1.5, 0, number),
        sigma=generator.uniform(0.3, 2, number),
        d=generator.integers(1, 60, number),
    )


def cases(shared, name):
    found = [each for each in json.loads((shared / "theory.json").read_text())["cases"] if each["name"] == name]
    return [(each["inputs"], {k: float(v) for k, v in each["outputs"].items()}, each) for each in found]


def test_reference_values_of_the_accuracies(shared):
    found = cases(shared / "fixtures", "cfa_accuracy")
    assert len(found) == 5
    for given_, expected, case in found:
        model = NoisyFeature(**{name: given_[name] for name in FIGURE})
        w, radius = given_["w"], given_["eps_eval"]
        own, free = model.best_weight_of_class(), model.best_with_bias()
        result = {
            "w_star_average_clean": model.best_weight(),
            "bias_w": free.w,
            "bias_b": free.bias,
        }
        for sign in ("plus", "minus"):
            result |= {
                f"clean_{sign}": getattr(model.accuracies(w), sign),
                f"robust_{sign}": getattr(model.accuracies(w, radius), sign),
                f"robust_full_linf_{sign}": getattr(model.accuracies(w, radius, first_attackable=True), sign),
                f"w_star_clean_{sign}": getattr(own, sign),
                f"dA_{sign}": getattr(model.slopes(w), sign),
                f"dR_{sign}": getattr(model.slopes(w, radius), sign),
            }
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(result[name], value, rtol=case["rtol"], atol=case["atol"], err_msg=name)


@pytest.mark.parametrize("apart", [0.0, 0.02])
def test_reference_values_of_the_best_weight_in_training(shared, apart):
    """They depend on the mean of p_plus and p_minus only."""
    found = cases(shared / "fixtures", "cfa_adv_w_star")
    assert len(found) == 6
    for given_, expected, case in found:
        mean, radius = given_["p_mean"], given_["eps_train"]
        model = NoisyFeature(
            p_plus=mean + apart, p_minus=mean - apart, **{name: given_[name] for name in ("eta", "sigma", "d")}
        )
        full = model.best_weight(radius, first_attackable=True)
        result = {
            "w_star_x1_not_attacked": model.best_weight(radius),
            "w_star_full_linf": full,
            "accuracy_full_linf": model.accuracies(full, radius, first_attackable=True).average(),
        }
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(result[name], value, rtol=case["rtol"], atol=case["atol"], err_msg=name)


def shifts(radius, d, first_attackable):
    """Corners of the l_inf ball, and its centre: a linear score is lowest at one of them."""
    first = (-radius, 0, radius) if first_attackable else (0,)
    return np.array(list(itertools.product(first, *[(-radius, 0, radius)] * d)))


def answered_right(x, label, w, bias, radius, first_attackable):
    """Whether points (N, d + 1) are answered by their label wherever the ball lets them be moved."""
    right = np.ones(len(x), bool)
    for shift in shifts(radius, x.shape[1] - 1, first_attackable):
        moved = x + shift
        first = moved[:, 0]
        score = first if math.isinf(w) else w * first + moved[:, 1:].sum(1) + bias
        right &= label * score > 0
    return right


@pytest.mark.parametrize("first_attackable", CONVENTIONS)
@pytest.mark.parametrize(("w", "radius"), POINTS)
@pytest.mark.parametrize("bias", [0.0, -0.3])
def test_accuracies_are_integrals_of_the_density_over_what_is_answered_right(w, radius, bias, first_attackable):
    """Midpoint rule, 40000 cells on 16 standard deviations: one cell is wrong by less than 2e-4 in probability."""
    model = NoisyFeature(**FIGURE)
    step = np.linspace(-8, 8, 40001)
    z = (step[1:] + step[:-1]) / 2
    mass = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (step[1] - step[0])
    for label, share, value in zip(
        (1, -1), (0.85, 0.7), model.accuracies(w, radius, bias, first_attackable), strict=True
    ):
        total = 0.0
        for first, probability in ((label, share), (-label, 1 - share)):
            x = np.column_stack([np.full_like(z, first), label * 0.4 + math.sqrt(0.6) * z])
            total += probability * mass[answered_right(x, label, w, bias, radius, first_attackable)].sum()
        assert value == pytest.approx(total, abs=2e-4)


@pytest.mark.parametrize("first_attackable", CONVENTIONS)
def test_accuracies_are_those_of_drawn_points(first_attackable):
    """Four standard errors of 40000 draws, three weak features, each point moved to every corner."""
    model = NoisyFeature(p_plus=0.9, p_minus=0.6, eta=0.3, sigma=0.8, d=3)
    generator, n = np.random.default_rng(1), 40000
    w, radius, bias = 1.2, 0.2, 0.4
    exact = model.accuracies(w, radius, bias, first_attackable)
    for label, share, value in zip((1, -1), (0.9, 0.6), exact, strict=True):
        first = np.where(generator.random(n) < share, label, -label)
        x = np.column_stack([first, generator.normal(label * 0.3, 0.8, (n, 3))])
        drawn = answered_right(x, label, w, bias, radius, first_attackable).mean()
        assert abs(drawn - value) < 4 * math.sqrt(value * (1 - value) / n)


def test_the_ends_of_w_look_at_one_kind_of_feature():
    model = NoisyFeature(**FIGURE)
    alone = ndtr(0.4 / math.sqrt(0.6))
    assert [*model.accuracies(0)] == pytest.approx([alone, alone], rel=1e-15)
    for radius in (0, 0.3, 5):
        assert [*model.accuracies(math.inf, radius, bias=7)] == [0.85, 0.7]
    for radius, left in ((0.999, 1), (1, 0), (1.5, 0)):
        expected = [left * 0.85, left * 0.7]
        assert [*model.accuracies(math.inf, radius, first_attackable=True)] == expected
    large = model.accuracies(1e9, 0.5, first_attackable=True)
    assert [*large] == pytest.approx([*model.accuracies(math.inf, 0.5, first_attackable=True)], rel=1e-15)


def test_what_is_read_off_the_accuracies():
    accuracies = NoisyFeature(**FIGURE).accuracies([0.0, 1.0])
    np.testing.assert_allclose(accuracies.gap, accuracies.plus - accuracies.minus)
    np.testing.assert_array_equal(accuracies.worst, accuracies.minus)
    np.testing.assert_allclose(accuracies.average(), accuracies.plus / 2 + accuracies.minus / 2)
    swapped = NoisyFeature(**FIGURE).accuracies(1.0, bias=-2.0)
    assert swapped.gap < 0
    assert swapped.worst == swapped.plus


def test_unequal_weights_of_the_weak_features_gain_nothing():
    generator = np.random.default_rng(2)
    for _ in range(50):
        d, eta, sigma, p = int(generator.integers(2, 8)), generator.uniform(0.1, 1), generator.uniform(0.3, 2), 0.7
        model = NoisyFeature(p_plus=p, p_minus=p, eta=eta, sigma=sigma, d=d)
        v = generator.normal(0.5, 1, d)
        reach, spread = eta * v.sum(), sigma * np.linalg.norm(v)
        w = np.concatenate([np.linspace(0, 50, 5001), -np.linspace(0, 50, 5001)]) * np.linalg.norm(v)
        unequal = p * ndtr((w + reach) / spread) + (1 - p) * ndtr((reach - w) / spread)
        assert unequal.max() <= model.accuracies(model.best_weight()).average() + 1e-12


@pytest.mark.parametrize("first_attackable", CONVENTIONS)
def test_no_w_on_a_grid_beats_the_best(first_attackable):
    models, radii = random_models(60), np.array([0, 0.05, 0.2, 0.5, 0.9, 0.999, 1, 1.2])
    many = NoisyFeature(**{name: getattr(models, name)[:, None, None] for name in FIGURE})
    grid = np.concatenate([[0], np.logspace(-4, 5, 3000), [np.inf]])
    found = many.accuracies(grid, radii[:, None], first_attackable=first_attackable)
    own = many.best_weight_of_class(radii[:, None], first_attackable)
    best = many.best_weight(radii[:, None], first_attackable)
    kinds = {"none": 0, "inside": 0, "only": 0}
    for on_grid, w, pick in (
        (found.average(), best, lambda each: each.average()),
        (found.plus, own.plus, lambda each: each.plus),
        (found.minus, own.minus, lambda each: each.minus),
    ):
        reached = pick(many.accuracies(w, radii[:, None], first_attackable=first_attackable))
        assert w.shape == (60, 8, 1)
        assert (reached[..., 0] >= on_grid.max(-1) - 1e-14).all()
        kinds["none"] += (w == 0).sum()
        kinds["only"] += np.isinf(w).sum()
        kinds["inside"] += ((w > 0) & np.isfinite(w)).sum()
    assert kinds["inside"] > 100
    assert kinds["only"] > 100
    assert (kinds["none"] > 100) == first_attackable


@pytest.mark.parametrize("first_attackable", CONVENTIONS)
def test_the_best_w_is_where_a_free_search_ends(first_attackable):
    """1e-6 of w: the accuracy is flat at its maximum, so a search by values alone resolves w to the root of 1e-16 only."""
    compared = 0
    models = random_models(40, seed=3)
    for i in range(40):
        model = NoisyFeature(**{name: getattr(models, name)[i] for name in FIGURE})
        radius = 0.3 * float(model.eta)
        w = float(model.best_weight(radius, first_attackable))
        if not 1e-3 < w < 50 * float(model.sigma):
            continue

        def lost(x, model=model, radius=radius):
            return 1 - float(model.accuracies(x, radius, first_attackable=first_attackable).average())

        if lost(w) > lost(w * 1.2) - 1e-6:
            continue  # so flat that rounding decides
        search = minimize_scalar(lost, bounds=(w / 2, w * 1.5), method="bounded", options={"xatol": 1e-12})
        assert search.x == pytest.approx(w, rel=3e-6)
        compared += 1
    assert compared >= 15


@pytest.mark.parametrize("radius", [0.0, 0.2])
def test_the_best_bias_is_where_a_free_search_ends(radius):
    """1e-5: see above; the value itself agrees to 1e-14."""
    for settings_ in (FIGURE, FALLING, {**FIGURE, "d": 7, "p_plus": 0.9}):
        model = NoisyFeature(**settings_)

        def lost(x, model=model):
            return 1 - float(model.accuracies(abs(x[0]), radius, x[1]).average())

        found = min(
            (
                minimize(lost, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-16})
                for start in ([0.3, 0], [2, 1], [2, -1])
            ),
            key=lambda each: each.fun,
        )
        best = model.best_with_bias(radius)
        assert lost([float(best.w), float(best.bias)]) <= found.fun + 1e-14
        assert [abs(found.x[0]), found.x[1]] == pytest.approx([float(best.w), float(best.bias)], rel=1e-5)


def test_no_classifier_of_any_form_beats_the_best_bias_on_clean_data():
    """The likelier class at every point, by integration: trapezoids of 1e-3 standard deviations, good to 1e-7."""
    sigma = FIGURE["sigma"]
    x = np.linspace(-9, 9, 20001) * sigma
    density = {y: np.exp(-((x - 0.4 * y) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for y in (1, -1)}
    total = sum(np.trapezoid(np.maximum(a * density[1], b * density[-1]), x) / 2 for a, b in ((0.85, 0.3), (0.15, 0.7)))
    model = NoisyFeature(**FIGURE)
    best = model.best_with_bias()
    assert model.accuracies(best.w, bias=best.bias).average() == pytest.approx(total, abs=1e-7)
    assert model.accuracies(model.best_weight()).average() < total - 1e-3


def test_a_bias_narrows_the_gap_and_keeps_its_sign():
    models = random_models(20000, seed=4)
    plain, best = models.accuracies(models.best_weight()), models.best_with_bias()
    free = models.accuracies(best.w, bias=best.bias)
    assert (best.w >= 0).all()
    assert (best.bias <= 0).all()
    assert (free.gap >= -1e-15).all()
    assert (free.gap <= plain.gap + 1e-15).all()
    assert (free.average() >= plain.average() - 1e-15).all()
    figure = NoisyFeature(**FIGURE)
    best = figure.best_with_bias()
    assert [*figure.accuracies(figure.best_weight())] == pytest.approx([0.8504, 0.7441], abs=5e-5)
    assert [*figure.accuracies(best.w, bias=best.bias)] == pytest.approx([0.8206, 0.7778], abs=5e-5)


def test_beyond_eta_only_the_first_feature_is_left():
    model = NoisyFeature(**FIGURE)
    for radius in (0.4, 0.5, 3.0):
        assert model.best_weight(radius) == math.inf
        assert [*model.best_weight_of_class(radius)] == [math.inf, math.inf]
        assert [*model.best_with_bias(radius)] == [math.inf, 0]
    assert model.best_weight(0.4 - 1e-9) < math.inf


@pytest.mark.parametrize("first_attackable", CONVENTIONS)
def test_slopes_are_finite_differences(first_attackable):
    models, step = random_models(200, seed=5), 1e-5
    for radius in (0.0, 0.3, 0.9):
        for w in (0.1, 1.0, 4.0):
            slopes = models.slopes(w, radius, first_attackable)
            after, before = (
                models.accuracies(w + each, radius, first_attackable=first_attackable) for each in (step, -step)
            )
            for slope, high, low in zip(slopes, after, before, strict=True):
                np.testing.assert_allclose(slope, (high - low) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("first_attackable", CONVENTIONS)
@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(0.5, 0.95),
    more=st.floats(0.001, 0.04),
    eta=st.floats(0.02, 2),
    sigma=st.floats(0.2, 3),
    d=st.integers(1, 200),
    w=st.floats(0.05, 20),
    radius=st.floats(0, 0.9),
)
def test_accuracies_and_slopes_rise_with_the_reliability(first_attackable, low, more, eta, sigma, d, w, radius):
    """Theorem 1, and what theorem 4 rests on; equal only where rounding leaves nothing between."""
    model = NoisyFeature(p_plus=low + more, p_minus=low, eta=eta, sigma=sigma, d=d)
    assert model.accuracies(w, radius, first_attackable=first_attackable).gap >= -1e-15
    slopes = model.slopes(w, radius, first_attackable)
    assert slopes.plus >= slopes.minus - 1e-15


@pytest.mark.parametrize("first_attackable", CONVENTIONS)
def test_theorem_1_the_class_of_the_noisier_feature_is_worse(first_attackable):
    models = random_models(5000, seed=6)
    for w, radius in ((0.5, 0.0), (2.0, 0.1), (1.0, 0.5)):
        assert (models.accuracies(w, radius, first_attackable=first_attackable).gap >= 0).all()
    known = NoisyFeature(**FIGURE)
    gap = 0.15 * (ndtr((2 + 0.4) / math.sqrt(0.6)) - ndtr((0.4 - 2) / math.sqrt(0.6)))
    assert known.accuracies(2.0).gap == pytest.approx(gap, rel=1e-13)


def test_theorem_2_the_best_weight_grows_with_the_radius():
    models = random_models(2000, seed=7)
    radii = np.linspace(0, 0.999, 50)[:, None] * models.eta
    w = models.best_weight(radii)
    assert (np.diff(w, axis=0) > 0).all()
    mean = (np.asarray(models.p_plus) + np.asarray(models.p_minus)) / 2
    expected = np.asarray(models.sigma) ** 2 * np.log(mean / (1 - mean)) / (2 * (models.eta - radii))
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def test_theorem_2_does_not_hold_where_the_first_feature_is_attacked():
    model = NoisyFeature(**FALLING)
    w = model.best_weight([0, 0.04, 0.1, 0.2], first_attackable=True)
    np.testing.assert_allclose(w, [0.37785, 0.30973, 0.17032, 0], atol=5e-6)
    jump = 0.4 - ndtri(0.575) / math.sqrt(10)
    assert jump == pytest.approx(0.3402, abs=5e-5)
    assert [*model.best_weight([jump - 1e-9, jump + 1e-9], first_attackable=True)] == [0, math.inf]


def test_where_the_best_weight_falls_at_first():
    """It does if and only if w0 + w0^2 / d < sigma^2, w0 the best natural weight."""
    models = random_models(3000, seed=8)
    natural = models.best_weight()
    little = 1e-6 * np.asarray(models.eta)
    change = models.best_weight(little, first_attackable=True) - natural
    criterion = natural + natural**2 / models.d - np.asarray(models.sigma) ** 2
    clear = (np.abs(criterion) > 1e-3 * np.asarray(models.sigma) ** 2) & (natural > 1e-6)
    assert clear.sum() > 2500
    np.testing.assert_array_equal(change[clear] < 0, criterion[clear] < 0)
    assert 0.1 < (criterion < 0).mean() < 0.9


def test_theorem_3_the_hard_class_is_best_at_a_smaller_weight():
    models = random_models(5000, seed=9)
    own = models.best_weight_of_class()
    assert (own.plus > own.minus).all()
    average = models.best_weight()
    assert ((own.minus <= average) & (average <= own.plus)).all()
    assert NoisyFeature(p_plus=0.8, p_minus=0.5, eta=0.3, sigma=1, d=2).best_weight_of_class().minus == 0


def changes(models, w, step, radius, first_attackable=False):
    after, before = (models.accuracies(each, radius, first_attackable=first_attackable) for each in (w + step, w))
    return after.plus - before.plus, after.minus - before.minus


def test_theorem_4_a_larger_weight_costs_the_hard_class_more_and_gives_it_less():
    models, generator = random_models(5000, seed=10), np.random.default_rng(11)
    w, step = models.best_weight_of_class().plus * generator.uniform(1, 2, 5000), generator.uniform(0.01, 2, 5000)
    plus, minus = changes(models, w, step, 0.0)
    assert (minus <= plus + 1e-15).all()
    assert (plus <= 1e-15).all()
    w = generator.uniform(0.01, 5, 5000)
    for radius in (2 * np.asarray(models.eta), 1.01 * np.asarray(models.eta)):  # the paper has 2 eta
        plus, minus = changes(models, w, step, radius)
        assert (minus >= -1e-15).all()
        assert (minus <= plus + 1e-15).all()
    assert (minus < plus).mean() > 0.9


def test_theorem_4_needs_the_large_radius_for_its_sign():
    model = NoisyFeature(p_plus=0.8, p_minus=0.6708, eta=0.2137, sigma=1.097, d=15)
    assert changes(model, 5.84, 0.33, 0.1133)[1] < 0
    assert model.best_weight_of_class(0.1133).minus < 5.84
    assert changes(model, 5.84, 0.33, 0.2137)[1] > 0


def test_theorem_4_where_the_first_feature_is_attacked():
    """From eta on, robust accuracy rises for every w if and only if the radius is at most 2 p - 1."""
    w = np.linspace(0, 30, 3001)
    for share in (0.6, 0.75, 0.9):
        model = NoisyFeature(p_plus=share, p_minus=share, eta=0.05, sigma=1.0, d=3)
        for radius in (2 * share - 1 - 1e-3, 2 * share - 1 + 1e-3):
            always = (model.slopes(w, radius, first_attackable=True).plus >= 0).all()
            assert always == (radius <= 2 * share - 1)


def test_a_sweep_over_a_grid_is_its_points():
    p, radius = np.linspace(0.5, 0.95, 13)[:, None], np.linspace(0, 0.6, 9)
    sweep = NoisyFeature(p_plus=0.96, p_minus=p, eta=0.4, sigma=0.8, d=np.array([1, 5, 20])[:, None, None])
    results = {
        "best": sweep.best_weight(radius),
        "full": sweep.best_weight(radius, first_attackable=True),
        "bias": sweep.best_with_bias(radius).bias,
        "accuracy": sweep.accuracies(1.5, radius, 0.2, first_attackable=True).minus,
        "slope": sweep.slopes(1.5, radius, first_attackable=True).minus,
    }
    for i, j, k in itertools.product(range(3), range(13), range(9)):
        point = NoisyFeature(p_plus=0.96, p_minus=p[j, 0], eta=0.4, sigma=0.8, d=(1, 5, 20)[i])
        assert results["best"][i, j, k] == pytest.approx(point.best_weight(radius[k]), rel=1e-13)
        assert results["full"][i, j, k] == pytest.approx(point.best_weight(radius[k], first_attackable=True), rel=1e-13)
        assert results["bias"][i, j, k] == pytest.approx(point.best_with_bias(radius[k]).bias, rel=1e-13)
        alone = point.accuracies(1.5, radius[k], 0.2, first_attackable=True).minus
        assert results["accuracy"][i, j, k] == pytest.approx(alone, rel=1e-13)
        slope = point.slopes(1.5, radius[k], first_attackable=True).minus
        assert results["slope"][i, j, k] == pytest.approx(slope, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_plus": 1.0}, "p_minus must be at least 1/2 and p_plus below 1"),
        ({"p_minus": 0.49}, "p_minus must be at least 1/2"),
        ({"p_plus": 0.65}, "swap the names of the classes"),
        ({"p_plus": math.nan}, "p_plus holds values that are not finite"),
        ({"eta": 0.0}, "eta must be above 0"),
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"sigma": math.inf}, "sigma holds values that are not finite"),
        ({"d": 0}, "d must be a whole number"),
        ({"d": 1.5}, "d must be a whole number"),
        ({"eta": np.ones(3), "sigma": np.ones(4)}, "do not broadcast"),
    ],
)
def test_parameters_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        NoisyFeature(**(FIGURE | change))


def test_arguments_out_of_range_are_refused():
    model = NoisyFeature(**FIGURE)
    for bad in (-0.1, math.nan):
        with pytest.raises(ValueError, match="w must be at least 0"):
            model.accuracies(bad)
    for call in (
        lambda bad: model.accuracies(1, bad),
        lambda bad: model.slopes(1, bad),
        model.best_weight,
        model.best_weight_of_class,
        model.best_with_bias,
    ):
        for bad in (-0.1, math.nan, math.inf):
            with pytest.raises(ValueError, match="radius must be finite and at least 0"):
                call(bad)
    with pytest.raises(ValueError, match="bias must be finite"):
        model.accuracies(1, bias=math.inf)
    with pytest.raises(ValueError, match="w must be finite"):
        model.slopes(math.inf)
