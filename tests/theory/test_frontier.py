"""The frontier of average against worst-class robust error, and where the methods stand: against search and minimisation."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import ndtr

from classwise.theory import attainable_range, worst_case_weights
from classwise.theory.frontier import (
    constrained,
    equal_errors,
    frontier,
    kl_dro,
    least_average,
    method_points,
    weighted,
)
from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.trained_radii import class_radii, trades

PAIRS = {
    "wide": ([0.6, 0.6, 0.6], 2.0, 1.0, 0.5, 0.2),
    "narrow": ([1.0, -0.5], 0.5, 1.0, 0.5, 0.2),
    "equal": ([0.8, -0.5, 0.1], 0.9, 0.9, 0.5, 0.15),
    "priors": ([0.8, -0.5, 0.1], 0.7, 1.3, 0.35, 0.15),
    "natural": ([1.0, 0.3, 0.3, 0.2], 1.5, 0.8, 0.6, 0.0),
    "constant": ([0.3, 0.1], 2.0, 1.0, 0.8, 0.0),
    "constant, other class": ([0.3, 0.1], 1.0, 2.0, 0.2, 0.05),
    "beyond the means": ([0.5, 0.5], 2.0, 1.0, 0.5, 0.8),
    "jump": ([1.2, 0.4], 3.0, 1.0, 0.72, 0.1),
}


def made(name):
    theta, plus, minus, prior, radius = PAIRS[name]
    return GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus, prior=prior), radius


def robust_errors(pair, radius, w, b):
    """Class errors of sign(<w, x> + b), w of any length but 0, b (...,): the definition, without the module's shortcuts."""
    length = np.sqrt((w * w).sum(-1))
    reach, moved = (w * pair.theta).sum(-1), radius * np.abs(w).sum(-1)
    plus = ndtr((-(reach + b) + moved) / (length * pair.sigma_plus))
    minus = ndtr((b - reach + moved) / (length * pair.sigma_minus))
    return plus, minus


def searched_to(name, otherwise):
    """TRADES is found by comparing values of an objective that is flat there: its errors are good to about 1e-7."""
    return 1e-6 if name == "TRADES" else otherwise


def searched(pair, radius, number=60000, seed=0):
    """Errors of random classifiers, some far away, some near the best one."""
    generator = np.random.default_rng(seed)
    w = generator.standard_normal((number, len(pair.theta)))
    best = pair.best_linear(radius).weight
    w[::2] = best + 10.0 ** generator.uniform(-4, 0, (len(w[::2]), 1)) * w[::2]
    b = 3 * generator.standard_normal(number) * np.sqrt((w * w).sum(-1))
    return robust_errors(pair, radius, w, b)


@pytest.mark.parametrize("name", PAIRS)
def test_no_classifier_beats_the_frontier(name):
    pair, radius = made(name)
    plus, minus = searched(pair, radius)
    average, worst = pair.prior * plus + (1 - pair.prior) * minus, np.maximum(plus, minus)
    least = least_average(pair, radius, worst)
    assert np.isfinite(least).all()  # so no worst-class error is below that of equal errors
    told = worst < 1 - 1e-6  # nearer to 1, the last digit of an error leaves the offset open
    assert told.sum() > 30000
    assert (average >= least - 1e-12)[told].all()
    assert worst.min() >= frontier(pair, radius).worst[0] - 1e-15
    assert (average - least).min() < 2e-3  # and the search comes close to it


@pytest.mark.parametrize("name", PAIRS)
def test_every_point_of_the_frontier_is_reached(name):
    pair, radius = made(name)
    curve = frontier(pair, radius, points=41)
    best = pair.best_linear(radius)
    inner = np.isfinite(curve.offset)
    w = np.broadcast_to(best.weight, (inner.sum(), len(pair.theta)))
    plus, minus = robust_errors(pair, radius, w, curve.offset[inner])
    np.testing.assert_allclose(plus, curve.errors.plus[inner], rtol=0, atol=1e-14)
    np.testing.assert_allclose(minus, curve.errors.minus[inner], rtol=0, atol=1e-14)
    np.testing.assert_allclose(curve.errors.average(pair.prior), curve.average, rtol=0, atol=1e-15)
    assert (curve.errors.worst <= curve.worst + 1e-13).all()
    assert (np.diff(curve.average) <= 1e-15).all()
    assert (np.diff(curve.worst) >= 0).all()
    # The ends: equal errors, and what minimises the average.
    assert curve.errors.gap[0] == pytest.approx(0, abs=1e-15)
    assert curve.offset[-1] == best.offset
    assert curve.average[-1] == pytest.approx(float(pair.errors(best, radius).average(pair.prior)), abs=1e-15)


@pytest.mark.parametrize("name", PAIRS)
def test_least_average_equals_a_fine_search_over_offsets(name):
    """Also past the end of the frontier, where the limit no longer binds, and where the best offset jumps."""
    pair, radius = made(name)
    best = pair.best_linear(radius)
    offsets = np.concatenate([np.linspace(-15, 15, 60001), [-math.inf, math.inf]])
    errors = pair.errors(dataclasses.replace(best, offset=offsets), radius)
    average = errors.average(pair.prior)
    for limit in np.linspace(frontier(pair, radius).worst[0], 1, 15)[1:]:
        wanted = average[errors.worst <= limit].min()
        found = float(least_average(pair, radius, limit))
        assert wanted - 2e-4 <= found <= wanted + 1e-15  # the step of the search is 5e-4


def test_less_than_equal_errors_is_out_of_reach():
    pair, radius = made("wide")
    equal = frontier(pair, radius).worst[0]
    assert equal == pytest.approx(ndtr(-2 * 0.4 * 3**0.5 / 3), abs=1e-15)
    assert least_average(pair, radius, equal * (1 - 1e-9)) == math.inf
    assert least_average(pair, radius, [0.0, equal, 1.0])[0] == math.inf


def test_the_constant_classifier_ends_the_frontier_where_it_wins():
    """Beyond a level stretch, between the local minimum and the constant answer."""
    pair, radius = made("jump")
    curve = frontier(pair, radius, points=2001)
    assert pair.best_linear(radius).status == "all +1"
    assert curve.average[-1] == pytest.approx(0.28)
    assert curve.worst[-1] == 1
    step = np.diff(curve.average)
    assert (step == 0).any()
    assert step[-1] < 0
    assert curve.offset[-2] < 1 < curve.offset[-1]


@pytest.mark.parametrize("name", PAIRS)
def test_natural_and_robust_training_are_the_best_linear_classifiers(name):
    pair, radius = made(name)
    points = method_points(pair, radius)
    for method, trained in (("natural", 0.0), ("adversarial", radius)):
        errors = pair.errors(pair.best_linear(trained), radius)
        assert points[method].errors == errors
        assert points[method].average == errors.average(pair.prior)
    assert points["adversarial"].excess == pytest.approx(0, abs=1e-14)
    assert points["natural"].excess >= -1e-14
    assert points["equal errors"].worst == pytest.approx(min(each.worst for each in points.values()), abs=1e-14)


def test_only_another_direction_loses_on_both_counts():
    """Natural training looks at features that the perturbation can turn, which costs more than any offset gains."""
    theta = [1.0, 1.0, *[0.2] * 30]
    points = method_points(GaussianPair(theta=theta, sigma_plus=1.5, sigma_minus=1.0), 0.4)
    assert points["natural"].excess > 0.05
    assert points["natural mixup"].excess > 0.05
    for name in ("adversarial", "equal errors", "adversarial mixup", "KL-DRO", "FRL constraint"):
        assert points[name].excess == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("name", ["wide", "narrow", "priors", "natural"])
def test_reweighting_minimises_the_weighted_error(name):
    pair, radius = made(name)
    classifier, share = weighted(pair, radius, (1.6, 0.9))

    def risk(point):
        plus, minus = robust_errors(pair, radius, point[:-1], point[-1] * np.linalg.norm(point[:-1]))
        return float(1.6 * pair.prior * plus + 0.9 * (1 - pair.prior) * minus)

    start = np.append(classifier.weight + 0.1, float(classifier.offset) + 0.3)
    found = minimize(risk, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14, "maxiter": 20000})
    errors = pair.errors(classifier, radius)
    reached = 1.6 * pair.prior * errors.plus + 0.9 * (1 - pair.prior) * errors.minus
    assert reached == pytest.approx(found.fun, abs=1e-9)
    assert reached <= found.fun + 1e-14
    scale = 1.6 * pair.prior + 0.9 * (1 - pair.prior)
    assert errors.average(share) == pytest.approx(reached / scale, abs=1e-15)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("tau", [0.0, 0.02, 0.5])
def test_kl_dro_is_the_minimax_over_all_classifiers(name, tau):
    """Against random search over (w, b) with the weights of training, refined by a general minimiser."""
    pair, radius = made(name)
    classifier, value, _ = kl_dro(pair, radius, tau)

    def worst_case(plus, minus):
        losses = np.stack([plus, minus], -1)
        return (worst_case_weights(losses, tau) * losses).sum(-1)

    errors = pair.errors(classifier, radius)
    assert value == pytest.approx(float(worst_case(*map(np.asarray, errors))), abs=1e-14)
    found = worst_case(*searched(pair, radius, 20000))
    constant = float(attainable_range(2, tau)[1])
    assert value <= min(found.min(), constant) + 1e-13

    def risk(point):
        return float(worst_case(*robust_errors(pair, radius, point[:-1], point[-1] * np.linalg.norm(point[:-1]))))

    best, nearest = pair.best_linear(radius), math.inf
    for shift in (-0.5, 0.5):
        offset = float(equal_errors(pair, radius).offset) + shift
        start = np.append(best.weight * (1 + 0.05 * np.arange(len(best.weight))), offset)
        nearest = min(nearest, minimize(risk, start, method="Nelder-Mead", options={"maxiter": 150}).fun)
    assert value <= nearest + 1e-13
    assert value == pytest.approx(
        min(nearest, constant), abs=1e-3
    )  # a minimum with a kink: the minimiser stays near it


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("tau", [0.001, 0.02, 0.1])
def test_kl_dro_is_a_fixed_point_of_weights_and_solution(name, tau):
    pair, radius = made(name)
    classifier, _, weight = kl_dro(pair, radius, tau)
    if not np.isfinite(classifier.offset):
        assert np.isnan(weight)
        return
    errors = pair.errors(classifier, radius)
    low, high = attainable_range(2, tau)
    if abs(errors.gap) > 1e-12:
        assert weight == pytest.approx(worst_case_weights([errors.plus, errors.minus], tau)[0], abs=1e-12)
    assert low - 1e-15 <= weight <= high + 1e-15
    trained = dataclasses.replace(pair, prior=weight).best_linear(radius)
    if trained.status == "interior":
        assert trained.offset == pytest.approx(float(classifier.offset), abs=1e-12)


def test_kl_dro_between_plain_training_and_equal_errors():
    pair, radius = made("wide")
    assert kl_dro(pair, radius, 0.0)[0].offset == pytest.approx(float(pair.best_linear(radius).offset), abs=1e-14)
    least = equal_errors(pair, radius)
    for tau in (0.5, 40.0, 800.0):
        classifier, value, weight = kl_dro(pair, radius, tau)
        assert classifier.offset == least.offset
        assert weight == pytest.approx(2 / 3)
    assert value == pytest.approx(float(pair.errors(least, radius).worst), abs=1e-14)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("slack", [0.01, 0.05, 0.2])
def test_the_constraint_is_kept_and_nothing_that_keeps_it_is_better(name, slack):
    pair, radius = made(name)
    errors = pair.errors(constrained(pair, radius, slack), radius)
    average = errors.average(pair.prior)
    assert errors.worst - average <= slack + 1e-13
    plus, minus = searched(pair, radius)
    found = pair.prior * plus + (1 - pair.prior) * minus
    kept = np.maximum(plus, minus) - found <= slack
    assert kept.sum() > 20
    assert average <= found[kept].min() + 1e-13
    offsets = np.linspace(-15, 15, 60001)
    near = pair.errors(dataclasses.replace(pair.best_linear(radius), offset=offsets), radius)
    line = near.average(pair.prior)
    assert average == pytest.approx(line[near.worst - line <= slack].min(), abs=5e-4)


def test_the_constraint_at_its_ends():
    for name in PAIRS:
        pair, radius = made(name)
        best, least = pair.best_linear(radius), equal_errors(pair, radius)
        assert constrained(pair, radius, 1.0).offset == pytest.approx(float(best.offset), abs=1e-14)
        assert constrained(pair, radius, 0.0).offset == pytest.approx(float(least.offset), abs=1e-12)


def cost_of_radii(pair, terms, w, c):
    """Weighted class errors at several radii for unit vectors along w and offsets c: (radius +1, radius -1, weight) each."""
    w = w / np.sqrt((w * w).sum(-1, keepdims=True))
    reach, length = (w * pair.theta).sum(-1), np.abs(w).sum(-1)
    return sum(
        weight
        * (
            pair.prior * ndtr(-(c + reach - plus * length) / pair.sigma_plus)
            + (1 - pair.prior) * ndtr((c - reach + minus * length) / pair.sigma_minus)
        )
        for plus, minus, weight in terms
    )


def least_found(pair, terms, near, seed):
    """Random search over free (w, c), its three best and one given classifier refined by a general minimiser."""
    generator = np.random.default_rng(seed)
    w = generator.standard_normal((20000, len(pair.theta)))
    at = np.where(near.times > 0, near.weight, 0)
    w[::2] = at + 10.0 ** generator.uniform(-3, 0, (10000, 1)) * w[::2]
    c = 3 * max(pair.sigma_plus, pair.sigma_minus) * generator.standard_normal(len(w))
    costs = cost_of_radii(pair, terms, w, c)
    starts = [np.append(w[i] / np.linalg.norm(w[i]), c[i]) for i in costs.argsort()[:3]]
    if np.isfinite(near.offset):
        starts.append(np.append(at + 1e-3, float(near.offset)))

    def cost(point):
        return float(cost_of_radii(pair, terms, point[:-1], point[-1]))

    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 2000, "maxfev": 4000}
    found = [minimize(cost, start, method="Nelder-Mead", options=options).fun for start in starts]
    return min(*found, float(pair.prior), 1 - float(pair.prior))


def drawn_pair(seed):
    """A random pair and a radius; every third has coordinates of one size only, where directions are tied."""
    generator = np.random.default_rng(seed)
    number, scale = int(generator.integers(1, 6)), generator.choice([0.3, 1.0, 2.0])
    theta = scale * (np.ones(number) if seed % 3 == 0 else generator.standard_normal(number))
    plus, minus = 10 ** generator.uniform(-0.7, 0.5, 2)
    pair = GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus, prior=generator.choice([0.5, 0.3, 0.8]))
    return pair, np.abs(theta).max() * generator.choice([0.05, 0.2, 0.5, 0.9, 1.3])


BETAS = [0.0, 0.1, 0.5, 1.0, 1.2, 2.0, 6.0, 20.0]


@pytest.mark.parametrize("seed", range(16))
def test_trades_is_the_least_over_all_classifiers(seed):
    """Against (w, b) of any form: the reduction to soft thresholds plays no part in what it is held against."""
    pair, radius = drawn_pair(seed)
    beta = BETAS[seed % len(BETAS)]
    classifier = trades(pair, radius, beta)
    natural, robust = pair.errors(classifier), pair.errors(classifier, radius)
    reached = float((1 - beta) * natural.average(pair.prior) + beta * robust.average(pair.prior))
    found = least_found(pair, [(0.0, 0.0, 1 - beta), (radius, radius, beta)], classifier, seed)
    assert reached <= found + 1e-12
    assert reached == pytest.approx(found, abs=1e-5)  # the minimiser stops short at kinks, where weights are 0
    whole = (classifier.times * classifier.weight**2).sum(-1)
    assert whole == pytest.approx(1, abs=1e-12)
    assert classifier.length == pytest.approx((classifier.times * np.abs(classifier.weight)).sum(-1), rel=1e-12)


@pytest.mark.parametrize("seed", range(16, 28))
def test_radii_by_class_are_the_least_over_all_classifiers(seed):
    pair, radius = drawn_pair(seed)
    plus, minus = np.random.default_rng(seed).choice([0.0, 0.5, 1.1, 1.8], 2)
    classifier = class_radii(pair, radius, (plus, minus))
    reached = pair.prior * pair.errors(classifier, plus * radius).plus
    reached = float(reached + (1 - pair.prior) * pair.errors(classifier, minus * radius).minus)
    found = least_found(pair, [(plus * radius, minus * radius, 1.0)], classifier, seed)
    assert reached <= found + 1e-13
    assert reached == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_trades_and_radii_by_class_contain_natural_and_adversarial_training(name):
    pair, radius = made(name)
    natural, robust = pair.best_linear(), pair.best_linear(radius)
    for beta, trained in ((0.0, natural), (1.0, robust)):
        classifier = trades(pair, radius, beta)
        assert classifier.status == trained.status
        for at in (0.0, radius):
            np.testing.assert_allclose(pair.errors(classifier, at), pair.errors(trained, at), rtol=0, atol=1e-6)
    for factors, trained in (((0.0, 0.0), natural), ((1.0, 1.0), robust)):
        assert pair.errors(class_radii(pair, radius, factors), radius) == pair.errors(trained, radius)


def test_the_effective_radius_of_trades_passes_the_radius_where_beta_passes_1():
    """Below it up to beta = 1, above it after: which weak features TRADES keeps shows it."""
    theta, radius = np.array([1.0, 0.3, 0.2, 0.1]), 0.2
    pair = GaussianPair(theta=theta, sigma_plus=0.35, sigma_minus=0.3)
    betas = np.array([0.0, 0.3, 1.0, 1.5, 3.0, 6.0])
    w = trades(pair, radius, betas).weight
    assert w.shape == (6, 4)
    radii = (theta[0] * w[:, 1] - theta[1] * w[:, 0]) / (w[:, 1] - w[:, 0])  # w_i ~ theta_i - t while both are left
    assert (w[:, 1] > 0).all()
    assert (np.diff(radii) > 1e-3).all()
    assert radii[[0, 2]] == pytest.approx([0, radius], abs=1e-6)
    # The docstring's formula for it, at the classifiers themselves.
    c = trades(pair, radius, betas)
    z = [((-1 if side > 0 else 1) * c.offset - c.reach) / s for side, s in ((1, 0.35), (-1, 0.3))]
    robust = [(each * s + radius * c.length) / s for each, s in zip(z, (0.35, 0.3), strict=True)]
    density = [[np.exp(-each * each / 2) / s for each, s in zip(zs, (0.35, 0.3), strict=True)] for zs in (z, robust)]
    pull = betas * sum(density[1]) - (betas - 1) * sum(density[0])
    assert radii == pytest.approx(radius * betas * sum(density[1]) / pull, abs=1e-6)


def test_without_boundary_error_one_answer_for_everything_wins_at_a_large_beta():
    pair = GaussianPair(theta=[1.0, 0.1], sigma_plus=3.0, sigma_minus=1.5, times=[4.0, 100.0])  # FRL v1, docs/theory.md
    assert trades(pair, 0.4, 3.0).status == "interior"
    for prior, answer in ((0.5, "all +1"), (0.45, "all -1")):
        assert trades(dataclasses.replace(pair, prior=prior), 0.4, 6.0).status == answer
    point = method_points(pair, 0.4)["TRADES"]
    assert (point.worst, point.average) == (1, 0.5)


def test_the_larger_radius_is_an_advantage_of_its_class():
    pair, radius = made("wide")
    plain = pair.errors(pair.best_linear(radius), radius)
    errors = pair.errors(class_radii(pair, radius, (1.3, 0.7)), radius)
    assert errors.plus < plain.plus - 0.01
    assert errors.minus > plain.minus + 0.01


def test_where_features_are_equal_trades_may_stand_between_all_of_them_and_one():
    """Found by scanning random pairs. The cost depends on length alone; any split of it will do."""
    number, plus, minus, radius, beta = 29, 0.46, 0.9157, 1.0033, 0.05
    once = GaussianPair(theta=[1.0], sigma_plus=plus, sigma_minus=minus, times=[float(number)])
    apart = GaussianPair(theta=np.ones(number), sigma_plus=plus, sigma_minus=minus)
    classifier = trades(once, radius, beta)
    length, offset = float(classifier.length), float(classifier.offset)
    assert 1.5 < length < number**0.5 - 0.5
    assert classifier.times == pytest.approx([length**2])
    assert trades(apart, radius, beta).length == pytest.approx(length, abs=1e-6)

    def cost(reach, c):
        moved, sides = (radius - 1) * reach, ((1, plus), (-1, minus))
        natural, robust = (sum(ndtr((at - side * c) / s) / 2 for side, s in sides) for at in (-reach, moved))
        return (1 - beta) * natural + beta * robust

    reaches, offsets = np.linspace(1, number**0.5, 1201), np.linspace(-4, 4, 1601)
    least = cost(reaches[:, None], offsets)
    assert cost(length, offset) <= least.min() + 1e-13
    assert abs(reaches[least.min(1).argmin()] - length) < 0.02
    assert cost(length, offset) < least[[0, -1]].min() - 1e-5
    # One heavy weight a and equal others b with a + (n - 1) b = length, a^2 + (n - 1) b^2 = 1.
    heavy = (length + math.sqrt((number - 1) * (number - length**2))) / number
    w = np.array([heavy, *[(length - heavy) / (number - 1)] * (number - 1)])
    terms = [(0.0, 0.0, 1 - beta), (radius, radius, beta)]
    assert cost_of_radii(apart, terms, w, offset) == pytest.approx(cost(length, offset), abs=1e-14)


def test_a_sweep_equals_the_single_pairs():
    plus, prior = np.linspace(0.5, 3, 7)[:, None], np.linspace(0.1, 0.9, 5)
    theta = np.array([0.6, 0.2])
    radius = np.array([0.0, 0.1, 0.3, 0.5, 0.7])
    grid = GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=1.0, prior=prior)
    points, curve = method_points(grid, radius), frontier(grid, radius, points=9)
    assert curve.average.shape == curve.offset.shape == (9, 7, 5)
    for i in range(7):
        for j in range(5):
            pair = GaussianPair(theta=theta, sigma_plus=plus[i, 0], sigma_minus=1.0, prior=prior[j])
            single = method_points(pair, radius[j])
            for name, point in points.items():
                for part in ("average", "worst", "excess"):
                    wanted = getattr(single[name], part)
                    assert getattr(point, part)[i, j] == pytest.approx(float(wanted), abs=searched_to(name, 1e-13)), (
                        name
                    )
            alone = frontier(pair, radius[j], points=9)
            np.testing.assert_allclose(curve.average[:, i, j], alone.average, rtol=0, atol=1e-14)


def test_swapping_the_classes_swaps_the_errors():
    pair, radius = made("priors")
    swapped = GaussianPair(theta=-pair.theta, sigma_plus=1.3, sigma_minus=0.7, prior=0.65)
    ours = method_points(
        pair, radius, weights=(2, 1), shifted_prior=0.7, threshold=0.1, beta=1.5, radius_factors=(0.6, 1.3)
    )
    theirs = method_points(
        swapped, radius, weights=(1, 2), shifted_prior=0.3, threshold=-0.1, beta=1.5, radius_factors=(1.3, 0.6)
    )
    assert ours["TRADES"].classifier.status == "interior"
    for name, point in ours.items():
        near = searched_to(name, 1e-12)
        assert point.errors.plus == pytest.approx(float(theirs[name].errors.minus), abs=near)
        assert point.excess == pytest.approx(float(theirs[name].excess), abs=near)


def test_mistakes_are_named():
    pair, radius = made("wide")
    with pytest.raises(ValueError, match="at least 2"):
        frontier(pair, radius, points=1)
    with pytest.raises(ValueError, match="whole number"):
        frontier(pair, 0.1, 5.0)
    assert len(frontier(pair, 0.1, np.int64(5)).offset) == 5
    for tau in ([0.1, 0.2], np.array([0.1])):
        with pytest.raises(ValueError, match="tau must be a single number"):
            kl_dro(pair, radius, tau)
    assert kl_dro(pair, radius, np.array(0.1))[1] == kl_dro(pair, radius, 0.1)[1]
    for beta in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="beta must be finite and at least 0"):
            trades(pair, radius, beta)
    with pytest.raises(ValueError, match="radius must be finite and at least 0"):
        trades(pair, -0.1)
    for factors in ((-1.0, 1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="factors of the radius"):
            class_radii(pair, radius, factors)
    with pytest.raises(ValueError, match="error probability"):
        least_average(pair, radius, 1.2)
    with pytest.raises(ValueError, match="class weights must be above 0"):
        weighted(pair, radius, (1.0, 0.0))
    with pytest.raises(ValueError, match="slack must be at least 0"):
        constrained(pair, radius, -0.1)
    with pytest.raises(ValueError, match="radius of the ball"):
        kl_dro(pair, radius, -0.1)
    with pytest.raises(ValueError, match="radius must be finite and at least 0"):
        frontier(pair, -0.1)
    with pytest.raises(ValueError, match="prior must lie strictly between"):
        method_points(pair, radius, shifted_prior=1.0)
    with pytest.raises(ValueError, match="threshold must be finite"):
        method_points(pair, radius, threshold=math.nan)
