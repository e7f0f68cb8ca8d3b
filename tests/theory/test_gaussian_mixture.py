"""The best linear classifier between two Gaussians: reference values, free minimisation, brute force, high precision."""

import dataclasses
import itertools
import json

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import ndtr

from classwise.theory.gaussian_mixture import ALL_MINUS, ALL_PLUS, INTERIOR, GaussianPair

SEEDS = range(50)
WIDE = {"theta": [0.5, 0.5], "sigma_plus": 2.0, "sigma_minus": 1.0}


def trained_error(w, b, *, theta, mid, sigma_plus, sigma_minus, prior, radius, factor):
    """Trained error of sign(<w, x> + b), from the distribution of <w, x>; w (..., D) and b (...), not normalised."""
    length = np.sqrt((w * w).sum(-1))
    loss = radius * np.abs(w).sum(-1)
    scale = np.sqrt(factor) * length
    plus = ndtr(-((w * (mid + theta)).sum(-1) + b - loss) / (scale * sigma_plus))
    minus = ndtr(((w * (mid - theta)).sum(-1) + b + loss) / (scale * sigma_minus))
    return prior * plus + (1 - prior) * minus


def slope(w, b, *, theta, mid, sigma_plus, sigma_minus, prior, radius, factor):
    """Gradient of the trained error in (w, b)."""
    length = np.sqrt((w * w).sum())
    total = np.zeros(len(w) + 1)
    for sign, spread, share in ((1, sigma_plus, prior), (-1, sigma_minus, 1 - prior)):
        u = sign * (w @ (mid + sign * theta) + b) - radius * np.abs(w).sum()
        scale = np.sqrt(factor) * spread
        density = np.exp(-0.5 * (u / (scale * length)) ** 2) / np.sqrt(2 * np.pi)
        in_w = (sign * (mid + sign * theta) - radius * np.sign(w)) / (scale * length) - u * w / (scale * length**3)
        total -= share * density * np.append(in_w, sign / (scale * length))
    return total


def random_instance(generator, features, radius):
    """An instance whose means all lie above the radius, so that its trained error is smooth where it is least."""
    signs = generator.choice([-1.0, 1.0], features)
    return {
        "theta": signs * (radius + generator.uniform(0.2, 1.0, features)),
        "mid": generator.normal(0, 0.5, features),
        "sigma_plus": np.exp(generator.uniform(-0.7, 0.7)),
        "sigma_minus": np.exp(generator.uniform(-0.7, 0.7)),
        "prior": generator.choice([0.5, generator.uniform(0.3, 0.7)]),
    }


def any_instance(seed):
    """Two coordinates whose means may lie below the radius; priors and variances differ, or priors are equal."""
    generator = np.random.default_rng(seed)
    theta = generator.uniform(-1, 1, 2)
    plus, minus = np.exp(generator.uniform(-0.7, 0.7, 2))
    prior = generator.choice([0.5, generator.uniform(0.1, 0.9)])
    return theta, plus, minus, prior, generator.uniform(0, 1.2)


def test_all_reference_values(shared):
    cases = [
        each
        for each in json.loads((shared / "fixtures" / "theory.json").read_text())["cases"]
        if each["name"] == "gauss_linear_optimal"
    ]
    assert len(cases) == 9
    for case in cases:
        x, wanted = case["inputs"], case["outputs"]
        pair = GaussianPair(
            theta=x["theta"],
            mid=x["mid"],
            sigma_plus=x["sigma_plus"],
            sigma_minus=x["sigma_minus"],
            prior=x["alpha"],
        )
        best = pair.best_linear(x["eps_train"], x["g_train"])
        original, mixed = pair.errors(best, x["eps_eval"]), pair.errors(best, x["eps_eval"], x["g_train"])
        found = {
            "w_unit": best.weight,
            "margin": best.reach - x["eps_train"] * best.length,
            "c": best.offset,
            "b_unit": pair.intercept(best),
            "risk_plus_original": original.plus,
            "risk_minus_original": original.minus,
            "risk_plus_mixed": mixed.plus,
            "risk_minus_mixed": mixed.minus,
        }
        assert set(found) | {"status"} == set(wanted)
        assert str(best.status).replace(" ", "") == wanted["status"]
        for name, value in found.items():
            np.testing.assert_allclose(
                value, np.asarray(wanted[name], dtype=float), case["rtol"], case["atol"], err_msg=name
            )


@pytest.mark.parametrize("seed", range(12))
def test_free_minimisation_finds_the_same_classifier(seed):
    generator = np.random.default_rng(seed)
    radius, factor = generator.choice([0.0, 0.3]), generator.choice([1.0, 0.6])
    instance = random_instance(generator, int(generator.integers(1, 5)), radius)
    pair = GaussianPair(**instance)
    best = pair.best_linear(radius, factor)
    features = len(instance["theta"])
    given_ = {**instance, "radius": radius, "factor": factor}

    def objective(p):
        return trained_error(p[:-1], p[-1], **given_)

    runs = [
        minimize(
            objective,
            np.append(generator.normal(size=features), generator.normal()),
            jac=lambda p: slope(p[:-1], p[-1], **given_),
            method="BFGS",
            options={"gtol": 1e-12},
        )
        for _ in range(8)
    ]
    found = min(runs, key=lambda run: run.fun)
    closed = pair.errors(best, radius, factor).average(instance["prior"])
    assert str(best.status) == INTERIOR
    np.testing.assert_allclose(found.fun, closed, rtol=0, atol=1e-13)
    length = np.linalg.norm(found.x[:-1])
    # The error is flat at its minimum: the point itself is known to the root of the error's precision.
    np.testing.assert_allclose(found.x[:-1] / length, best.weight, rtol=0, atol=3e-7)
    np.testing.assert_allclose(found.x[-1] / length, pair.intercept(best), rtol=0, atol=3e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_classifier_of_a_dense_grid_is_better(seed):
    theta, plus, minus, prior, radius = any_instance(seed)
    pair = GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus, prior=prior)
    best = pair.best_linear(radius)
    error = pair.errors(best, radius).average(prior)
    angles = np.linspace(0, 2 * np.pi, 721)[:-1, None]  # the axes are among them
    offsets = np.linspace(-8, 8, 1601)
    w = np.stack([np.cos(angles), np.sin(angles)], -1)
    tried = trained_error(
        w,
        offsets,
        theta=theta,
        mid=0,
        sigma_plus=plus,
        sigma_minus=minus,
        prior=prior,
        radius=radius,
        factor=1,
    )
    least = min(tried.min(), prior, 1 - prior)
    assert error <= least + 1e-13
    assert error >= least - 1e-4
    assert (str(best.status) == INTERIOR) == np.isfinite(best.offset)


def test_the_grid_above_meets_every_status():
    seen = set()
    for seed in SEEDS:
        theta, plus, minus, prior, radius = any_instance(seed)
        best = GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus, prior=prior).best_linear(radius)
        seen.add((str(best.status), bool(radius > np.abs(theta).max())))
    assert seen == set(itertools.product([INTERIOR, ALL_PLUS, ALL_MINUS], [True, False]))


def test_a_radius_above_the_means():
    pair = GaussianPair(**WIDE)
    best = pair.best_linear(0.8)
    assert str(best.status) == INTERIOR
    np.testing.assert_allclose(pair.errors(best, 0.8).average(), 0.4595580845, rtol=0, atol=5e-11)
    assert sorted(best.weight) == [0, 1]
    equal = GaussianPair(theta=[0.5, 0.5], sigma_plus=1, sigma_minus=1)
    for radius in (0.5, 0.8):
        assert str(equal.best_linear(radius).status) == ALL_PLUS
    assert str(dataclasses.replace(equal, prior=0.4).best_linear(0.8).status) == ALL_MINUS


def test_no_stationary_point_gives_one_answer():
    pair = GaussianPair(theta=[0.3], sigma_plus=2, sigma_minus=1, prior=[0.8, 0.2])
    # 4 a^2 + 2 L (sm^2 - sp^2) < 0 for the first prior: L = ln 2.
    assert 4 * 0.3**2 + 2 * pair.log_odds[0] * (1 - 4) < 0
    assert list(pair.best_linear().status) == [ALL_PLUS, INTERIOR]
    errors = pair.errors(pair.best_linear())
    assert (errors.plus[0], errors.minus[0]) == (0, 1)
    assert pair.intercept(pair.best_linear())[0] == np.inf


def test_a_stationary_point_that_is_no_global_minimum():
    """Only with unequal priors and variances; one answer for all is then better than the stationary plane."""
    generator = np.random.default_rng(0)
    prior, theta = generator.uniform(0.5, 0.95, 1000), generator.uniform(0.05, 0.8, (1000, 1))
    plus, minus = np.exp(generator.uniform(-0.7, 0.7, (2, 1000)))
    pair = GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus, prior=prior)
    square = 4 * theta[:, 0] ** 2 + 2 * pair.log_odds * (minus**2 - plus**2)
    beaten = (square > 0) & (pair.best_linear().status == ALL_PLUS)
    assert beaten.sum() > 5
    offsets = np.linspace(-20, 20, 2001)[:, None]
    tried = prior * ndtr(-(offsets + theta[:, 0]) / plus) + (1 - prior) * ndtr((offsets - theta[:, 0]) / minus)
    assert (tried[:, beaten].min(0) >= 1 - prior[beaten] - 1e-13).all()
    interior = pair.best_linear().status == INTERIOR
    assert (pair.errors(pair.best_linear()).average(prior)[interior] <= tried[:, interior].min(0) + 1e-13).all()


def test_a_narrow_class_plus():
    """K < 1: the textbook root would be the worst plane."""
    pair = GaussianPair(theta=[0.6, 0.6], sigma_plus=0.5, sigma_minus=1)
    errors = pair.errors(pair.best_linear())
    np.testing.assert_allclose(errors, [0.0657260348, 0.1728772681], rtol=0, atol=5e-11)


@pytest.mark.parametrize("prior", [0.5, 0.7])
@pytest.mark.parametrize("margin", [0.9, 0.05, -0.2])
def test_nearly_equal_variances_keep_their_digits(prior, margin):
    """The textbook root and the comparison with a single answer, in 60 digits."""
    seen = set()
    with mpmath.workdps(60):
        for digits, sign in itertools.product(range(1, 16), (1, -1)):
            plus = 1.0 + sign * 10.0**-digits
            pair = GaussianPair(theta=[1.0], sigma_plus=plus, sigma_minus=1.0, prior=prior)
            sp, alpha, a = mpmath.mpf(plus), mpmath.mpf(prior), mpmath.mpf(1.0) - mpmath.mpf(1.0 - margin)
            square = 4 * a**2 + 2 * mpmath.log(alpha / ((1 - alpha) * sp)) * (1 - sp**2)
            best = pair.best_linear(1.0 - margin)
            seen.add(str(best.status))
            interior = prior == 0.5  # then a plane is never worse than one answer
            if square >= 0:  # with equal priors always
                exact = (sp * mpmath.sqrt(square) - a * (sp**2 + 1)) / (1 - sp**2)
                lost = alpha * mpmath.erfc((exact + a) / sp / mpmath.sqrt(2))
                gained = (1 - alpha) * mpmath.erfc((exact - a) / mpmath.sqrt(2))
                interior = interior or lost < gained
            assert (str(best.status) == INTERIOR) == interior
            if interior:
                assert abs(best.offset / exact - 1) < 1e-13
    assert seen == ({INTERIOR} if margin == 0.9 or prior == 0.5 else {INTERIOR, ALL_PLUS})


@pytest.mark.parametrize("prior", [0.5, 0.7, 0.1])
def test_equal_variances(prior):
    pair = GaussianPair(theta=[0.3, 0.8], sigma_plus=1.3, sigma_minus=1.3, prior=prior)
    best = pair.best_linear(0.1, 0.6)
    a = np.hypot(0.2, 0.7)
    np.testing.assert_allclose(best.offset, 0.6 * 1.3**2 * np.log(prior / (1 - prior)) / (2 * a), rtol=1e-14, atol=0)
    beside = dataclasses.replace(pair, sigma_plus=1.3 * (1 + 1e-9)).best_linear(0.1, 0.6)
    np.testing.assert_allclose(beside.offset, best.offset, rtol=0, atol=1e-8)


def test_unequal_priors_can_narrow_the_gap():
    """FRL's corollary needs equal priors."""
    pair = GaussianPair(theta=[1, 1], sigma_plus=1.5, sigma_minus=0.8, prior=0.7)
    gaps = [abs(float(pair.errors(pair.best_linear(radius)).gap)) for radius in (0, 0.2, 0.4, 0.6)]
    np.testing.assert_allclose(gaps, [0.03526, 0.01242, 0.00240, 1], rtol=0, atol=5e-6)


spreads = st.floats(0.3, 3)
means = st.lists(st.floats(-2, 2).filter(lambda each: abs(each) > 1e-3), min_size=1, max_size=4)
shares = st.floats(0.05, 0.95)


@given(means, spreads, spreads, shares, st.floats(0, 1.5), st.floats(0, 1), st.floats(0.5, 1))
def test_properties(theta, plus, minus, prior, radius, test_radius, factor):
    pair = GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus, prior=prior)
    best = pair.best_linear(radius, factor)
    errors = pair.errors(best, test_radius, factor)
    trained = float(pair.errors(best, radius, factor).average(prior))
    assert trained <= min(prior, 1 - prior) + 1e-15

    scaled = GaussianPair(theta=3 * np.array(theta), sigma_plus=3 * plus, sigma_minus=3 * minus, prior=prior)
    again = scaled.best_linear(3 * radius, factor)
    np.testing.assert_allclose(scaled.errors(again, 3 * test_radius, factor), errors, rtol=1e-9, atol=1e-13)

    swapped = GaussianPair(theta=-np.array(theta), sigma_plus=minus, sigma_minus=plus, prior=1 - prior)
    other = swapped.best_linear(radius, factor)
    np.testing.assert_allclose(swapped.errors(other, radius, factor).average(1 - prior), trained, rtol=0, atol=1e-13)
    if str(best.status) == INTERIOR and trained < min(prior, 1 - prior) - 1e-9:
        np.testing.assert_allclose(swapped.errors(other, test_radius, factor), errors[::-1], rtol=1e-7, atol=1e-10)
        z_plus = -(best.offset + best.reach - radius * best.length) / plus
        z_minus = (best.offset - best.reach + radius * best.length) / minus
        size = max(z_plus**2, z_minus**2, 1)
        assert abs(z_plus**2 - z_minus**2 - 2 * factor * pair.log_odds) < 1e-9 * size
        for step in (-1e-3, 1e-3):
            moved = dataclasses.replace(best, offset=best.offset + step)
            assert pair.errors(moved, radius, factor).average(prior) >= trained - 1e-15


@given(means, spreads, spreads, st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_errors_under_attack(theta, plus, minus, offset, small, more):
    pair = GaussianPair(theta=theta, sigma_plus=plus, sigma_minus=minus)
    own = pair.linear(np.arange(1, len(theta) + 1) - 2.5, offset)
    weaker, stronger = pair.errors(own, small), pair.errors(own, small + more)
    boundary, printed = pair.boundary_errors(own, small), pair.boundary_errors(own, small, as_printed=True)
    for at in range(2):
        assert weaker[at] <= stronger[at]
        assert boundary[at] == weaker[at] - pair.errors(own)[at]
        assert printed[at] >= boundary[at] >= 0


def test_errors_are_those_of_points_that_are_moved_at_worst():
    """Corners of the ball, enumerated for every point."""
    theta, mid = np.array([0.4, -0.7, 0.1]), np.array([0.2, 0.1, -0.4])
    pair = GaussianPair(theta=theta, mid=mid, sigma_plus=1.4, sigma_minus=0.7, prior=0.4)
    best = pair.best_linear(0.2)
    assert best.weight[2] == 0
    w, b, samples = best.weight, pair.intercept(best), 100_000
    generator = np.random.default_rng(5)
    corners = 0.3 * np.array(list(itertools.product([-1, 1], repeat=3)))
    for label, spread, at in ((1, 1.4, 0), (-1, 0.7, 1)):
        x = mid + label * theta + spread * generator.standard_normal((samples, 3))
        scores = label * ((x[:, None] + corners) @ w + b)
        right = label * (x @ w + b) > 0
        flipped = (np.sign(scores) != np.sign(label * (x @ w + b))[:, None]).any(1)
        for share, exact in (
            ((scores <= 0).any(1).mean(), pair.errors(best, 0.3)[at]),
            ((right & flipped).mean(), pair.boundary_errors(best, 0.3)[at]),
            (flipped.mean(), pair.boundary_errors(best, 0.3, as_printed=True)[at]),
        ):
            assert abs(share - exact) < 4.5 * np.sqrt(exact * (1 - exact) / samples)


def test_a_grid_equals_its_points():
    radii, ratios, priors = np.linspace(0, 1.2, 7), np.array([0.5, 1, 1.3, 2]), np.array([0.3, 0.5, 0.8])
    theta, mid, times = np.array([0.9, -0.4, 0.2]), np.array([0.1, 0, -0.3]), np.array([2, 3, 5])
    grid = GaussianPair(
        theta=theta, mid=mid, times=times, sigma_plus=ratios[:, None], sigma_minus=1, prior=priors[:, None, None]
    )
    best = grid.best_linear(radii)
    errors, boundary, b = grid.errors(best, 0.1, 0.7), grid.boundary_errors(best, 0.2), grid.intercept(best)
    assert errors.plus.shape == (3, 4, 7)
    seen = set()
    for i, j, k in np.ndindex(3, 4, 7):
        pair = GaussianPair(theta=theta, mid=mid, times=times, sigma_plus=ratios[j], sigma_minus=1, prior=priors[i])
        alone = pair.best_linear(radii[k])
        seen.add(str(alone.status))
        assert best.status[i, j, k] == alone.status
        np.testing.assert_array_equal(best.weight[..., :][k], alone.weight)
        np.testing.assert_allclose(b[i, j, k], pair.intercept(alone), rtol=1e-15)
        for many, one in ((errors, pair.errors(alone, 0.1, 0.7)), (boundary, pair.boundary_errors(alone, 0.2))):
            np.testing.assert_allclose([many.plus[i, j, k], many.minus[i, j, k]], one, rtol=0, atol=1e-15)
    assert seen == {INTERIOR, ALL_PLUS, ALL_MINUS}


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.5, 0.8])
def test_equal_coordinates_are_counted(radius):
    short = GaussianPair(
        theta=[0.5, 0.2, 9.0], mid=[0.3, -0.1, 1.0], times=[3, 2, 0], sigma_plus=2, sigma_minus=1, prior=0.45
    )
    long = GaussianPair(
        theta=[0.5] * 3 + [0.2] * 2, mid=[0.3] * 3 + [-0.1] * 2, sigma_plus=2, sigma_minus=1, prior=0.45
    )
    one, other = short.best_linear(radius), long.best_linear(radius)
    np.testing.assert_allclose(short.errors(one, 0.1), long.errors(other, 0.1), rtol=1e-14)
    np.testing.assert_allclose(short.intercept(one), long.intercept(other), rtol=1e-13)
    np.testing.assert_allclose((one.times * one.weight**2).sum(), 1, rtol=1e-15)
    np.testing.assert_allclose(one.length, np.abs(other.weight).sum(), rtol=1e-15)


def test_a_single_mean_stands_for_all_coordinates():
    short = GaussianPair(theta=[0.5], mid=[0.1, -0.2, 0.3], sigma_plus=2, sigma_minus=1)
    long = GaussianPair(theta=[0.5] * 3, mid=[0.1, -0.2, 0.3], sigma_plus=2, sigma_minus=1)
    one, other = short.best_linear(0.1), long.best_linear(0.1)
    np.testing.assert_array_equal(one.weight, other.weight)
    assert short.errors(one) == long.errors(other)
    assert short.intercept(one) == long.intercept(other)


def test_own_weights_are_brought_to_length_one():
    pair = GaussianPair(theta=[0.5, 0.2], times=[4, 1], sigma_plus=2, sigma_minus=1)
    own = pair.linear([1.0, -2.0], 0.3)
    np.testing.assert_allclose(own.weight, np.array([1, -2]) / np.sqrt(8), rtol=1e-15)
    np.testing.assert_allclose([own.reach, own.length], np.array([4 * 0.5 - 0.4, 6]) / np.sqrt(8), rtol=1e-15)
    best = pair.best_linear(0.1)
    again = pair.linear(7 * best.weight, best.offset)
    np.testing.assert_allclose(pair.errors(again, 0.2), pair.errors(best, 0.2), rtol=1e-14)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"theta": 0.5}, "one per coordinate"),
        ({"theta": []}, "theta has no coordinates: give at least one"),
        ({"mid": []}, "mid has no coordinates"),
        ({"theta": None}, "theta is not numeric"),
        ({"theta": [0.5, None]}, "theta holds values that are not finite"),
        ({"theta": ["a", "b"]}, "theta is not numeric"),
        ({"theta": ["0.5"]}, "theta is not numeric"),
        ({"theta": [[0.5], [0.5, 1.0]]}, "theta is not numeric"),
        ({"sigma_plus": 1j}, "sigma_plus is not numeric"),
        ({"prior": "half"}, "prior is not numeric"),
        ({"times": {}}, "times is not numeric"),
        ({"theta": [np.nan, 0.5]}, "theta holds values that are not finite"),
        ({"sigma_plus": 0.0}, "sigma_plus must be above 0"),
        ({"sigma_minus": [1.0, -1.0]}, "sigma_minus must be above 0"),
        ({"prior": 1.0}, "prior must lie strictly between 0 and 1"),
        ({"times": [0, 0]}, "times must be at least 0"),
        ({"times": [-1, 2]}, "times must be at least 0"),
        ({"mid": [0.0, 0.0, 0.0]}, "shapes do not broadcast"),
        ({"theta": np.zeros((4, 2)), "prior": np.full(3, 0.5)}, "shapes do not broadcast"),
    ],
)
def test_what_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        GaussianPair(**{**WIDE, **change})


def test_what_the_methods_refuse():
    pair = GaussianPair(**WIDE)
    best = pair.best_linear()
    with pytest.raises(ValueError, match="radius must be finite and at least 0"):
        pair.best_linear(-0.1)
    with pytest.raises(ValueError, match="radius is not numeric"):
        pair.best_linear("small")
    with pytest.raises(ValueError, match="weight is not numeric"):
        pair.linear(None, 0.1)
    with pytest.raises(ValueError, match="radius must be finite and at least 0"):
        pair.errors(best, np.inf)
    for use in (lambda: pair.best_linear(0.1, 0.0), lambda: pair.errors(best, 0.1, 0.0)):
        with pytest.raises(ValueError, match="variance_factor must be above 0"):
            use()
    with pytest.raises(ValueError, match="weight must be finite and not all 0"):
        pair.linear([0.0, 0.0], 0.1)
