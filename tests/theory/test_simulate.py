"""Simulations against closed forms, against the corners of the ball on the very same draws, and against SciPy's interval."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binomtest

from classwise.theory import simulate
from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.noisy_feature import NoisyFeature
from classwise.theory.simulate import draw_class, proportion, simulate_noisy_feature, simulate_pair

SAMPLES = 200_000
PAIR = GaussianPair(theta=[0.9, -0.4], sigma_plus=1.6, sigma_minus=0.8, prior=0.5, mid=[0.3, -1.0])


def near(simulated, probability):
    """Within 4.5 standard deviations of what so many draws give: by chance once in 150,000 times."""
    assert simulated.n == SAMPLES
    assert abs(simulated.value - probability) <= 4.5 * math.sqrt(probability * (1 - probability) / simulated.n)


def test_the_interval_is_wilsons():
    hits = np.arange(40) < 7
    expected = binomtest(7, 40).proportion_ci(0.95, "wilson")
    found = proportion(hits)
    assert (found.value, found.n) == (7 / 40, 40)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    classifier = PAIR.best_linear(0.2)
    truth = PAIR.errors(classifier, 0.2).plus
    found = [simulate_pair(PAIR, classifier, 0.2, 500, seed)[0] for seed in range(400)]
    covered = sum(each.low <= truth <= each.high for each in found)
    assert 0.92 * 400 <= covered <= 0.98 * 400  # 95 % with 2.7 standard deviations on both sides


def test_points_have_the_means_and_spreads_of_their_class():
    pair = GaussianPair(theta=[0.9, -0.4], sigma_plus=1.6, sigma_minus=0.8, mid=[0.3, -1.0], times=[1, 2])
    for label, spread, means in ((1, 1.6, [1.2, -1.4, -1.4]), (-1, 0.8, [-0.6, -0.6, -0.6])):
        x = draw_class(pair, label, SAMPLES, np.random.default_rng(3))
        assert x.shape == (SAMPLES, 3)
        deviation = spread / math.sqrt(SAMPLES)
        np.testing.assert_allclose(x.mean(0), means, rtol=0, atol=4.5 * deviation)
        np.testing.assert_allclose(np.cov(x.T), spread**2 * np.eye(3), rtol=0, atol=4.5 * 1.5 * spread * deviation)


@pytest.mark.parametrize("train", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("test", [0.0, 0.25])
def test_errors_between_gaussians_are_those_of_the_closed_form(train, test):
    classifier = PAIR.best_linear(train)
    weight, c = classifier.weight, float(classifier.offset)
    reach = float(weight @ [0.9, -0.4]) - test * float(np.abs(weight).sum())
    plus, minus = simulate_pair(PAIR, classifier, test, SAMPLES, 1)
    near(plus, float(ndtr(-(c + reach) / 1.6)))
    near(minus, float(ndtr((c - reach) / 0.8)))


def test_each_point_is_moved_as_the_worst_corner_of_its_ball_would():
    classifier, radius, n = PAIR.best_linear(0.1), 0.4, 20_000
    intercept = float(PAIR.intercept(classifier))
    corners = [np.array([a, b]) for a in (-radius, radius) for b in (-radius, radius)]
    for label, generator, found in zip(
        (1, -1),
        np.random.default_rng(5).spawn(2),
        simulate_pair(PAIR, classifier, radius, n, 5),
        strict=True,
    ):
        x = draw_class(PAIR, label, n, generator)
        broken = np.any([label * ((x + corner) @ classifier.weight + intercept) <= 0 for corner in corners], axis=0)
        assert found.value == broken.mean()


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.8])
def test_mixed_points_have_the_spread_of_mixed_points(lam):
    classifier = PAIR.best_linear()
    factor = lam**2 + (1 - lam) ** 2
    for found, expected in zip(
        simulate_pair(PAIR, classifier, 0.1, SAMPLES, 2, lam), PAIR.errors(classifier, 0.1, factor), strict=True
    ):
        near(found, float(expected))


@pytest.mark.parametrize("train", [0.05, 0.3, 0.7])
def test_coordinates_that_occur_several_times_are_drawn_so_often(train):
    """Radius 0.7 leaves no margin: then a single one of the three equal coordinates is looked at."""
    pair = GaussianPair(theta=[0.5, 0.1], sigma_plus=2.0, sigma_minus=1.0, times=[3, 10], mid=[0.2, 0.0])
    written_out = GaussianPair(
        theta=[0.5] * 3 + [0.1] * 10, sigma_plus=2.0, sigma_minus=1.0, mid=[0.2] * 3 + [0.0] * 10
    )
    found = simulate_pair(pair, pair.best_linear(train), 0.2, SAMPLES, 0)
    assert found == simulate_pair(written_out, written_out.best_linear(train), 0.2, SAMPLES, 0)
    for each, expected in zip(found, pair.errors(pair.best_linear(train), 0.2), strict=True):
        near(each, float(expected))


def test_one_answer_for_all_errs_on_one_class_alone():
    pair = GaussianPair(theta=[0.1], sigma_plus=1.0, sigma_minus=1.0, prior=0.9)
    classifier = pair.best_linear(0.5)
    assert str(classifier.status) == "all +1"
    assert [each.value for each in simulate_pair(pair, classifier, 0.2, 100, 0)] == [0.0, 1.0]


def test_a_seed_fixes_the_draws_and_the_memory_does_not(monkeypatch):
    classifier = PAIR.best_linear()
    whole = simulate_pair(PAIR, classifier, 0.1, 5000, 7)
    assert simulate_pair(PAIR, classifier, 0.1, 5000, 8) != whole
    monkeypatch.setattr(simulate, "CHUNK", 64)
    assert simulate_pair(PAIR, classifier, 0.1, 5000, 7) == whole


@pytest.mark.parametrize("attackable", [False, True])
@pytest.mark.parametrize(("w", "radius", "bias"), [(1.0, 0.0, 0.0), (2.0, 0.3, 0.0), (0.7, 0.8, -0.4), (0.0, 0.1, 0.2)])
def test_accuracies_with_a_noisy_feature_are_those_of_the_formulas(w, radius, bias, attackable):
    p, eta, sigma, d = {1: 0.85, -1: 0.7}, 0.4, 0.9, 3
    model = NoisyFeature(p_plus=p[1], p_minus=p[-1], eta=eta, sigma=sigma, d=d)
    found = simulate_noisy_feature(model, w, SAMPLES, 4, radius, bias, attackable)
    first = w * radius if attackable else 0.0
    for label, each in zip((1, -1), found, strict=True):
        sums = d * (eta - radius) + label * bias - first
        right, wrong = (float(ndtr((sums + sign * w) / (sigma * math.sqrt(d)))) for sign in (1, -1))
        near(each, p[label] * right + (1 - p[label]) * wrong)


@pytest.mark.parametrize(("radius", "attackable", "expected"), [(2.0, False, (0.85, 0.7)), (0.9, True, (0.85, 0.7))])
def test_an_infinite_weight_looks_at_the_noisy_feature_alone(radius, attackable, expected):
    model = NoisyFeature(p_plus=0.85, p_minus=0.7, eta=0.4, sigma=0.9, d=3)
    found = simulate_noisy_feature(model, math.inf, SAMPLES, 4, radius, first_attackable=attackable)
    for each, probability in zip(found, expected, strict=True):
        near(each, probability)


def test_a_radius_that_turns_the_noisy_feature_leaves_nothing():
    model = NoisyFeature(p_plus=0.85, p_minus=0.7, eta=0.4, sigma=0.9, d=3)
    found = simulate_noisy_feature(model, math.inf, 1000, 4, 1.5, first_attackable=True)
    assert [each.value for each in found] == [0.0, 0.0]


def test_what_cannot_be_simulated_is_refused():
    line = PAIR.best_linear()
    for match, call in {
        "no draw": lambda: proportion(np.empty(0, dtype=np.bool_)),
        "samples 0": lambda: simulate_pair(PAIR, line, 0.1, 0, 0),
        "radius -1": lambda: simulate_pair(PAIR, line, -1.0, 10, 0),
        "lam 1.5": lambda: simulate_pair(PAIR, line, 0.1, 10, 0, 1.5),
        "label 0": lambda: draw_class(PAIR, 0, 10, np.random.default_rng(0)),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
    half = GaussianPair(theta=[0.5], sigma_plus=1.0, sigma_minus=1.0, times=[2.5])
    with pytest.raises(ValueError, match="not whole"):
        simulate_pair(half, half.best_linear(), 0.1, 10, 0)
    for grid in (
        GaussianPair(theta=[[0.5], [0.6]], sigma_plus=1.0, sigma_minus=1.0),
        GaussianPair(theta=[0.5], sigma_plus=[1.0, 2.0], sigma_minus=1.0),
    ):
        with pytest.raises(ValueError, match="one set of parameters"):
            simulate_pair(grid, grid.best_linear(), 0.1, 10, 0)
    model = NoisyFeature(p_plus=np.array([0.8, 0.9]), p_minus=0.7, eta=0.4, sigma=1.0, d=3)
    with pytest.raises(ValueError, match="p_plus holds 2 numbers"):
        simulate_noisy_feature(model, 1.0, 10, 0)
    one = NoisyFeature(p_plus=0.8, p_minus=0.7, eta=0.4, sigma=1.0, d=3)
    with pytest.raises(ValueError, match="w -1"):
        simulate_noisy_feature(one, -1.0, 10, 0)
