"""Same-class mixup against stored numbers, direct minimisation, quadrature over lambda, and draws that are really mixed."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import betaln, ndtr

from classwise.theory.gaussian_mixture import GaussianPair
from classwise.theory.mixup import (
    DomainPair,
    balanced_offset,
    effective_factor,
    equivalent_prior,
    errors_of_mixup,
    variance_factor,
)
from classwise.theory.mixup_printed import (
    printed_chain_threshold,
    printed_constant,
    printed_errors,
    printed_gap,
    printed_threshold,
)
from classwise.theory.mixup_random import best_linear_random, random_errors, random_factors
from classwise.theory.simulate import simulate_pair


def cases(shared: Path, name: str) -> list[dict]:
    stored = json.loads((shared / "fixtures" / "theory.json").read_text())["cases"]
    return [case for case in stored if case["name"] == name]


def domain(**changes) -> DomainPair:
    given = {"d": 5, "mu_plus": 0.9, "mu_minus": 0.6, "sigma_plus": 1.2, "sigma_minus": 0.8, "prior": 0.5}
    return DomainPair(**{**given, **changes})


def test_stored_cases(shared: Path) -> None:
    found = cases(shared, "mixup")
    for case in found:
        inputs, expected = case["inputs"], case["outputs"]
        classes = DomainPair(
            prior=inputs["alpha"],
            **{name: inputs[name] for name in ("d", "mu_plus", "mu_minus", "sigma_plus", "sigma_minus")},
        )
        pair, radius, factor = classes.pair, inputs["eps_train"], variance_factor(inputs["lam"])
        plain, mixed = pair.best_linear(radius), pair.best_linear(radius, factor)
        errors = errors_of_mixup(pair, factor, radius, inputs["eps_eval"])
        numbers = {
            "g": factor,
            "L": pair.log_odds,
            "t": classes.threshold(mixed),
            "t_no_mixup": classes.threshold(plain),
            "t_printed": printed_threshold(classes, factor, radius),
            "avg_plain": errors.plain.average(inputs["alpha"]),
            "avg_original": errors.original.average(inputs["alpha"]),
            "equivalent_prior": equivalent_prior(pair, factor),
            "remark_gap_printed_plain": printed_gap(classes, 1.0, radius),
            "remark_gap_printed_mixup": printed_gap(classes, factor, radius),
            "remark2_A_printed": printed_chain_threshold(classes, radius),
            "remark2_A_right": classes.chain_threshold(radius),
        }
        for kind, of_kind in errors._asdict().items():
            numbers |= {f"{kind}_plus": of_kind.plus, f"{kind}_minus": of_kind.minus, f"gap_{kind}": abs(of_kind.gap)}
        says = {"status": mixed.status, "status_no_mixup": plain.status}
        assert expected.keys() <= numbers.keys() | says.keys()
        for name, value in expected.items():
            if name in says:
                assert str(says[name]).replace(" ", "") == value
            elif math.isinf(float(value)):
                assert numbers[name] == float(value), name
            else:
                np.testing.assert_allclose(numbers[name], value, rtol=case["rtol"], atol=case["atol"], err_msg=name)
    assert len(found) == 10


def test_stored_cases_with_a_random_share(shared: Path) -> None:
    found = cases(shared, "mixup_random_lambda_uniform01")
    for case in found:
        inputs, expected = case["inputs"], case["outputs"]
        pair = GaussianPair(
            theta=[inputs["half_distance"]],
            times=[inputs["d"]],
            sigma_plus=inputs["sigma_plus"],
            sigma_minus=inputs["sigma_minus"],
            prior=inputs["alpha"],
        )
        best = best_linear_random(pair)
        plus, minus = pair.errors(best)
        numbers = {
            "c": best.offset,
            "g_effective": effective_factor(pair, best),
            "original_plus": plus,
            "original_minus": minus,
        }
        assert numbers.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(numbers[name], value, rtol=case["rtol"], atol=case["atol"], err_msg=name)
    assert len(found) == 3


def test_numeric_minima_of_the_methods_file(shared: Path) -> None:
    """A minimiser that only compares values finds a minimum to about the root of rounding, so t to 1e-6; errors to 1e-7."""
    found = json.loads((shared / "fixtures" / "methods" / "theory.json").read_text())["domain_mixup"]
    for stored in found:
        sigma = {"sigma_plus": stored["sigma"], "sigma_minus": stored["sigma"]}
        classes = DomainPair(prior=stored["prior"], **{n: stored[n] for n in ("d", "mu_plus", "mu_minus")}, **sigma)
        mixed = float(variance_factor(stored["lam"]))
        for kind, factor, radius in (
            ("plain", 1.0, 0.0),
            ("mixup", mixed, 0.0),
            ("adv_plain", 1.0, stored["eps"]),
            ("adv_mixup", mixed, stored["eps"]),
        ):
            best = classes.pair.best_linear(radius, factor)
            np.testing.assert_allclose(classes.threshold(best), stored[kind]["t_formula"], rtol=1e-10)
            np.testing.assert_allclose(
                printed_threshold(classes, factor, radius), stored[kind]["t_formula"], rtol=1e-10
            )
            np.testing.assert_allclose(classes.threshold(best), stored[kind]["t_numeric"], atol=1e-6, rtol=0)
            for name, of_test in (("risk_on_mixed", factor), ("risk_on_original", 1.0)):
                errors = classes.pair.errors(best, radius, of_test)
                np.testing.assert_allclose(errors, stored[kind][name], atol=1e-7, rtol=0)
    assert len(found) == 5


# --- fixed share -----------------------------------------------------------------------------------------------------


def test_the_offset_minimises_the_error_on_mixed_data() -> None:
    """The trained error written down anew and searched; its value tells minima apart far better than its place does."""
    rng = np.random.default_rng(0)
    interior = 0
    for _ in range(150):
        d, lam, prior = int(rng.integers(1, 30)), rng.uniform(), rng.uniform(0.05, 0.95)
        mu_plus, mu_minus = rng.uniform(-0.1, 0.1) + rng.uniform(0.1, 1.3, 2)
        sigma_plus, sigma_minus = np.exp(rng.normal(0, 0.5, 2))
        radius = rng.uniform(0, 0.4) * (mu_plus + mu_minus)
        classes = domain(
            d=d, mu_plus=mu_plus, mu_minus=mu_minus, sigma_plus=sigma_plus, sigma_minus=sigma_minus, prior=prior
        )
        spread = np.sqrt(d * (lam**2 + (1 - lam) ** 2))

        def error(
            t, d=d, a=mu_plus - radius, b=mu_minus - radius, s=sigma_plus * spread, r=sigma_minus * spread, p=prior
        ):
            return p * ndtr((-t - d * a) / s) + (1 - p) * ndtr((t - d * b) / r)

        grid = np.linspace(-1, 1, 4001) * (d + 8 * spread * (sigma_plus + sigma_minus))
        at = int(error(grid).argmin())
        searched = minimize_scalar(
            error, bounds=(grid[max(at - 1, 0)], grid[min(at + 1, 4000)]), method="bounded", options={"xatol": 1e-10}
        )
        best = classes.pair.best_linear(radius, variance_factor(lam))
        threshold = float(classes.threshold(best))
        least = min(searched.fun, prior, 1 - prior)
        assert error(threshold) <= least + 1e-13
        if best.status == "interior":
            interior += 1
            np.testing.assert_allclose(error(threshold), least, rtol=1e-9, atol=1e-15)
            slope = (error(threshold + 1e-5) - error(threshold - 1e-5)) / 2e-5
            assert abs(slope) < 1e-8
    assert interior > 100


def test_right_form_of_the_printed_theorem() -> None:
    """Theorem 3 and 4 with the factor d put back, and d^2 in the root."""
    d, mu_plus, mu_minus, plus, minus, prior, g, radius = 7, 0.5, 0.8, 0.7, 1.1, 0.6, 0.58, 0.2
    classes = domain(d=d, mu_plus=mu_plus, mu_minus=mu_minus, sigma_plus=plus, sigma_minus=minus, prior=prior)
    left, odds, apart = (
        mu_plus + mu_minus - 2 * radius,
        math.log(prior * minus / ((1 - prior) * plus)),
        minus**2 - plus**2,
    )
    middle = -d * (mu_plus * minus**2 + mu_minus * plus**2 - radius * (plus**2 + minus**2))
    t = (middle + d * plus * minus * left * math.sqrt(1 + 2 * g * odds * apart / (d * left**2))) / apart
    assert math.isclose(classes.threshold(classes.pair.best_linear(radius, g)), t, rel_tol=1e-12)
    assert not math.isclose(printed_threshold(classes, g, radius), t, rel_tol=0.1)
    single = domain(d=1, mu_plus=mu_plus, mu_minus=mu_minus, sigma_plus=plus, sigma_minus=minus, prior=prior)
    right = single.threshold(single.pair.best_linear(radius, g))
    assert math.isclose(printed_threshold(single, g, radius), right, rel_tol=1e-12)
    np.testing.assert_allclose(
        printed_errors(single, g, radius), errors_of_mixup(single.pair, g, radius).mixed, rtol=1e-11
    )


def test_errors_of_points_that_are_really_mixed() -> None:
    classes = domain(mu_plus=0.5, mu_minus=0.2, prior=0.4)
    samples = 60_000
    for lam, radius in ((0.5, 0.0), (0.3, 0.1)):
        factor = variance_factor(lam)
        best = classes.pair.best_linear(radius, factor)
        expected = errors_of_mixup(classes.pair, factor, radius)
        for right, share in ((expected.mixed, lam), (expected.original, None)):
            drawn = simulate_pair(classes.pair, best, radius, samples, 3, share)
            for error, simulated in zip(right, drawn, strict=True):
                assert abs(simulated.value - error) < 4.5 * math.sqrt(error * (1 - error) / samples)
    assert expected.mixed.plus < expected.original.plus - 0.02  # the test would see one taken for the other


positive = st.floats(0.2, 3)


@given(
    half=st.floats(0.05, 2),
    sigmas=st.tuples(positive, positive),
    prior=st.floats(0.05, 0.95),
    shrink=st.floats(0, 0.9),
    lams=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    d=st.integers(1, 20),
)
def test_what_mixup_does_to_original_and_mixed_data(half, sigmas, prior, shrink, lams, d) -> None:
    radius = shrink * half
    pair = GaussianPair(theta=[half], times=[d], sigma_plus=sigmas[0], sigma_minus=sigmas[1], prior=prior)
    weak, strong = sorted(variance_factor(lams))[::-1]  # lambda near 1/2 is the strong one
    less, more = (errors_of_mixup(pair, g, radius) for g in (weak, strong))
    tiny = 1e-12
    assert abs(more.original.gap) <= abs(less.original.gap) + tiny <= abs(less.plain.gap) + 2 * tiny
    assert abs(more.mixed.gap) <= abs(less.mixed.gap) + tiny <= abs(less.plain.gap) + 2 * tiny
    assert more.original.worst <= less.original.worst + tiny
    assert more.original.average(prior) >= less.original.average(prior) - tiny
    assert less.original.average(prior) >= less.plain.average(prior) - tiny

    best = pair.best_linear(radius, strong)
    assume(best.status == "interior")
    margin = best.reach - radius * best.length
    z_plus, z_minus = (best.offset + margin) / sigmas[0], (best.offset - margin) / sigmas[1]
    size = z_plus**2 + z_minus**2 + 1
    assert abs(z_plus**2 - z_minus**2 - 2 * strong * pair.log_odds) < 1e-12 * size
    again = GaussianPair(
        theta=[half], times=[d], sigma_plus=sigmas[0], sigma_minus=sigmas[1], prior=equivalent_prior(pair, strong)
    ).best_linear(radius)
    if again.status == "interior":
        np.testing.assert_allclose(again.offset, best.offset, rtol=1e-8, atol=1e-9 * (1 + margin))
    if abs(pair.log_odds) > 1e-3:
        assert abs(effective_factor(pair, best, radius) - strong) < 1e-10 * size / abs(pair.log_odds)
    balanced = balanced_offset(pair, radius)
    assert abs(best.offset - balanced) <= abs(pair.best_linear(radius).offset - balanced) + 1e-12 * (1 + margin)
    equal = pair.errors(pair.linear([1.0], balanced), radius)
    assert abs(equal.gap) < 1e-12


def test_the_direction_is_left_alone() -> None:
    pair = GaussianPair(theta=[1.0, 0.5, 0.3], sigma_plus=1.2, sigma_minus=0.7, prior=0.6)
    plain, mixed = pair.best_linear(0.35), pair.best_linear(0.35, 0.5)
    np.testing.assert_array_equal(plain.weight, mixed.weight)
    assert mixed.weight[2] == 0
    assert abs(plain.offset - mixed.offset) > 0.01


def test_equal_variances_and_priors_leave_nothing_to_do() -> None:
    classes = domain(sigma_plus=1.0, sigma_minus=1.0)
    errors = errors_of_mixup(classes.pair, 0.5)
    np.testing.assert_array_equal(errors.plain, errors.original)
    assert classes.chain_threshold() == np.inf
    assert printed_constant(classes) == 0
    assert np.isnan(effective_factor(classes.pair, classes.pair.best_linear()))


def test_a_gap_at_another_radius_can_grow() -> None:
    """Adversarial training, natural errors: the abstract claims more than holds. Numbers of the specification."""
    pair = domain(d=2, mu_plus=1.0, mu_minus=1.0, sigma_plus=1.5, sigma_minus=0.8, prior=0.7).pair
    errors = errors_of_mixup(pair, 0.5, 0.3, 0.0)
    assert abs(errors.plain.gap) == pytest.approx(0.003594656, abs=1e-9)
    assert abs(errors.original.gap) == pytest.approx(0.021527498, abs=1e-9)


def test_mixup_can_bring_back_a_plane_between_the_classes() -> None:
    pair = domain(d=1, mu_plus=0.6, mu_minus=0.6, sigma_plus=1.5, sigma_minus=0.5, prior=0.75).pair
    assert pair.best_linear().status == "all +1"
    assert pair.best_linear(0.0, 0.5).status == "interior"
    errors = errors_of_mixup(pair, 0.5)
    assert tuple(errors.plain) == (0, 1)
    assert abs(errors.original.gap) < 1e-12
    assert np.isnan(effective_factor(pair, pair.best_linear()))


def test_the_equivalent_prior_does_not_always_give_the_same_classifier() -> None:
    """Without mixup one answer for everything wins at that prior; with mixup, whose points have less spread, it does not."""
    pair = GaussianPair(theta=[1.0], times=[2], sigma_plus=1.0, sigma_minus=2.0, prior=0.25)
    assert pair.best_linear(0.5, 0.5).status == "interior"
    again = dataclasses.replace(pair, prior=equivalent_prior(pair, 0.5))
    assert again.best_linear(0.5).status == "all -1"


def test_remarks_as_printed_and_as_they_are() -> None:
    """Equal variances: the gap keeps the term that the print drops; the chain holds from the corrected threshold on."""
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(400):
        d, sigma, prior = int(rng.integers(1, 12)), rng.uniform(0.3, 2), rng.uniform(0.52, 0.99)
        half, radius, g = rng.uniform(0.1, 0.6), rng.uniform(0, 0.1), rng.uniform(0.5, 1)
        classes = domain(d=d, mu_plus=half, mu_minus=half, sigma_plus=sigma, sigma_minus=sigma, prior=prior)
        errors, left, constant = (
            errors_of_mixup(classes.pair, g, radius),
            2 * (half - radius),
            d * math.log(prior / (1 - prior)),
        )
        if left < 1e-3:
            continue
        apart, tilt = math.sqrt(d) * left / (2 * sigma), constant * sigma / (d**1.5 * left)
        gap = ndtr(apart / g**0.5 + tilt * g**0.5) - ndtr(apart / g**0.5 - tilt * g**0.5)
        np.testing.assert_allclose(abs(errors.mixed.gap), gap, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(
            abs(errors.original.gap), ndtr(apart + g * tilt) - ndtr(apart - g * tilt), rtol=1e-9, atol=1e-13
        )
        np.testing.assert_allclose(printed_gap(classes, g, radius), 1 - 2 * ndtr(-tilt * g**0.5), rtol=1e-9)
        np.testing.assert_allclose(printed_errors(classes, g, radius), errors.mixed, rtol=1e-9, atol=1e-300)
        np.testing.assert_allclose(classes.chain_threshold(radius), (apart / tilt) ** 2, rtol=1e-9)
        assert printed_chain_threshold(classes, radius) == pytest.approx(classes.chain_threshold(radius) / d**2)
        plain, mixed = errors.plain, errors.mixed
        chain = bool(plain.plus <= mixed.plus <= mixed.minus <= plain.minus)
        if plain.plus > 1e-4 and mixed.minus < 1 - 1e-4:  # elsewhere rounding decides
            assert chain == (g >= classes.chain_threshold(radius))
            assert not chain or plain.minus >= 0.5
            seen.add(chain)
        original = errors.original
        assert plain.plus <= original.plus <= original.minus <= plain.minus
    assert seen == {True, False}


def test_the_printed_chain_threshold_promises_too_much() -> None:
    classes = domain(d=4, mu_plus=0.5, mu_minus=0.3, sigma_plus=1.0, sigma_minus=1.0, prior=0.7)
    plain, mixed, _ = errors_of_mixup(classes.pair, 0.6)
    assert printed_chain_threshold(classes) < 0.6
    np.testing.assert_allclose([*plain, *mixed], [0.09183, 0.39341, 0.07451, 0.26677], atol=5e-6)
    assert mixed.plus < plain.plus  # where the remark has it the other way round


@pytest.mark.parametrize("prior", [0.5, 0.7])
def test_without_a_margin_there_is_no_chain_and_no_warning(prior: float) -> None:
    classes = domain(mu_plus=0.5, mu_minus=0.5, sigma_plus=1.0, sigma_minus=1.0, prior=prior)
    for radius in (0.5, 0.75):  # the means meet, or change sides
        assert classes.distance(radius) <= 0
        assert np.isnan(classes.chain_threshold(radius))
        assert np.isnan(printed_chain_threshold(classes, radius))
    assert classes.chain_threshold(0.4) > 0
    gap = printed_gap(classes, 0.5, 0.5)
    assert np.isnan(gap) if prior == 0.5 else gap == 1
    assert [bool(np.isnan(each)) for each in classes.chain_threshold([0.4, 0.5, 0.6])] == [False, True, True]


def test_prints_that_are_not_defined() -> None:
    unequal = domain()
    assert np.isnan(printed_gap(unequal))
    assert np.isnan(unequal.chain_threshold())
    assert np.isnan(
        printed_threshold(domain(d=1, mu_plus=0.1, mu_minus=0.1, prior=0.9, sigma_plus=2.0, sigma_minus=0.5))
    )
    # Radius beyond the means: one coordinate alone is looked at, and there is no common weight to divide by.
    assert np.isnan(unequal.threshold(unequal.pair.best_linear(0.8)))


# --- random share ----------------------------------------------------------------------------------------------------


def mean_over_shares(alpha: float, of_factor) -> float:
    """The mean over lambda of Beta(alpha, alpha), by adaptive quadrature in lambda; alpha at least 1."""
    value, _ = quad(
        lambda lam: (lam * (1 - lam)) ** (alpha - 1) * of_factor(lam**2 + (1 - lam) ** 2),
        0,
        0.5,
        epsabs=0,
        epsrel=1e-12,
    )
    return float(2 * value / math.exp(betaln(alpha, alpha)))


@pytest.mark.parametrize("alpha", [1.0, 2.5, 8.0])
def test_a_random_share_minimises_its_own_error(alpha: float) -> None:
    for a, plus, minus, prior in ((1.0, 1.5, 0.8, 0.5), (0.7, 1.0, 1.0, 0.75), (2.0, 0.6, 1.4, 0.3)):
        pair = GaussianPair(theta=[a], sigma_plus=plus, sigma_minus=minus, prior=prior)

        def error(c, a=a, plus=plus, minus=minus, prior=prior):
            return mean_over_shares(
                alpha,
                lambda g: prior * ndtr(-(c + a) / (plus * g**0.5)) + (1 - prior) * ndtr((c - a) / (minus * g**0.5)),
            )

        best = best_linear_random(pair, alpha)
        c = float(best.offset)
        np.testing.assert_allclose(random_errors(pair, best, alpha).average(prior), error(c), rtol=1e-11)
        searched = minimize_scalar(error, bounds=(c - 1, c + 1), method="bounded", options={"xatol": 1e-9})
        assert error(c) <= searched.fun + 1e-15
        assert abs(c - searched.x) < 1e-6
        step = 1e-3
        assert abs(error(c + step) - error(c - step)) < 1e-2 * (error(c + step) + error(c - step) - 2 * error(c))


def test_a_plane_far_behind_the_rarer_class() -> None:
    """Nearly equal variances, a small prior and hardly a margin: here a step of Newton's method leaves the bracket."""
    plus, minus, prior, radius = 0.94383, 0.97685, 0.03103, 1.785
    pair = GaussianPair(theta=[1.874], times=[10], sigma_plus=plus, sigma_minus=minus, prior=prior)
    best = best_linear_random(pair, 20.0, radius)
    margin = float(best.reach - radius * best.length)
    assert best.status == "interior"
    assert best.offset < -10 * margin

    def density(z: float) -> float:
        return mean_over_shares(20.0, lambda g: math.exp(-(z**2) / (2 * g)) / g**0.5)

    rise = (1 - prior) / minus * density((best.offset - margin) / minus)
    fall = prior / plus * density((best.offset + margin) / plus)
    assert rise / fall == pytest.approx(1, rel=1e-9)  # both are very small
    # With a uniform share the error falls without end, by less than a number can hold against the prior.
    assert best_linear_random(pair, 1.0, radius).status == "all -1"


def test_factors_of_a_random_share() -> None:
    """Mean 1/2 + 1 / (4 alpha + 2), and that of 1 / g by quadrature."""
    for alpha in (1e-3, 0.05, 0.5, 1.0, 3.0, 100.0, 1e3):
        factors, weights = random_factors(alpha)
        assert factors.min() > 0.5
        assert factors.max() <= 1
        assert (weights * factors).sum() == pytest.approx(0.5 + 1 / (4 * alpha + 2), rel=1e-10)
    factors, weights = random_factors(2.0)
    assert (weights / factors).sum() == pytest.approx(mean_over_shares(2.0, lambda g: 1 / g), rel=1e-12)


def test_a_random_share_on_a_grid_of_hard_parameters() -> None:
    """No point of a dense scan of offsets has less error; the effective g lies between 1/2 and 1; a grid is its points."""
    rng = np.random.default_rng(2)
    n = 300
    plus, minus = np.exp(rng.normal(0, 0.7, (2, n)))
    minus[: n // 5] = plus[: n // 5]
    half = np.exp(rng.normal(0, 1, n))
    radius = rng.uniform(0, 1.3, n) * half * (rng.random(n) < 0.5)
    prior, times = rng.uniform(0.02, 0.98, n), rng.integers(1, 20, n)
    pair = GaussianPair(theta=half[:, None], times=times[:, None], sigma_plus=plus, sigma_minus=minus, prior=prior)
    for alpha in (0.05, 1.0, 20.0):
        best = best_linear_random(pair, alpha, radius)
        least = random_errors(pair, best, alpha, radius).average(prior)
        assert (least <= np.minimum(prior, 1 - prior) + 1e-12).all()
        margin = np.abs(best.reach - radius * best.length)
        reach = margin * np.minimum((plus**2 + minus**2) / np.maximum(np.abs(plus**2 - minus**2), 1e-9), 50)
        scan = np.linspace(-1, 1, 301)
        for place in np.sign(scan) * scan**2:
            moved = dataclasses.replace(best, offset=place * (reach + 8 * (plus + minus)))
            assert (random_errors(pair, moved, alpha, radius).average(prior) >= least - 1e-12).all()
        factor = effective_factor(pair, best, radius)
        inside = best.status == "interior"
        assert inside.sum() > 200
        assert ((factor[inside] > 0.5) & (factor[inside] < 1)).all()
    for i in range(0, n, 17):
        one = GaussianPair(
            theta=half[i : i + 1], times=times[i : i + 1], sigma_plus=plus[i], sigma_minus=minus[i], prior=prior[i]
        )
        np.testing.assert_allclose(best_linear_random(one, 20.0, radius[i]).offset, best.offset[i], rtol=1e-12)


def test_limits_of_a_random_share() -> None:
    """A concentrated share is lambda = 1/2, one at the ends is no mixup, and far classes hardly notice a uniform one."""
    pair = GaussianPair(theta=[0.5], times=[4], sigma_plus=1.3, sigma_minus=0.9, prior=0.6)
    half, none = pair.best_linear(0.1, 0.5).offset, pair.best_linear(0.1).offset
    middle, ends = (best_linear_random(pair, alpha, 0.1).offset for alpha in (1e3, 1e-3))
    assert abs(middle - half) < 0.01 * abs(none - half)
    assert abs(ends - none) < 0.01 * abs(none - half)
    factors = []
    for a in (0.2, 1.0, 3.0, 10.0, 30.0):
        far = GaussianPair(theta=[a], sigma_plus=1.5, sigma_minus=0.8)
        factors.append(float(effective_factor(far, best_linear_random(far))))
    assert factors == sorted(factors)
    assert factors[-1] > 0.99
    # Without log-odds the plane is that of equal errors, whatever the share.
    level = GaussianPair(theta=[1.0], sigma_plus=1.0, sigma_minus=1.0)
    assert abs(best_linear_random(level).offset) < 1e-12


def test_points_mixed_with_a_random_share() -> None:
    """Draw the share of every point and mix; lambda and both partners are new for each."""
    rng = np.random.default_rng(5)
    d, half, radius, samples, alpha = 3, 0.5, 0.1, 100_000, 0.7
    pair = GaussianPair(theta=[half], times=[d], sigma_plus=1.2, sigma_minus=0.8, prior=0.6)
    best = best_linear_random(pair, alpha, radius)
    expected = random_errors(pair, best, alpha, radius)
    for label, sigma, error in ((1, 1.2, expected.plus), (-1, 0.8, expected.minus)):
        own, other = label * half + sigma * rng.standard_normal((2, samples, d))
        share = rng.beta(alpha, alpha, samples)[:, None]
        x = share * own + (1 - share) * other - label * radius
        wrong = np.mean(label * (x.sum(1) / math.sqrt(d) + best.offset) <= 0)
        assert abs(wrong - error) < 4.5 * math.sqrt(error * (1 - error) / samples)


# --- grids and refusals ----------------------------------------------------------------------------------------------


def test_a_grid_is_its_points() -> None:
    d, radius, lam = np.array([1, 5, 40])[:, None, None], np.array([0.0, 0.1])[:, None], np.array([0.5, 0.3, 0.9])
    classes = domain(d=d, prior=0.65)
    factor = variance_factor(lam)
    errors = errors_of_mixup(classes.pair, factor, radius)
    best = classes.pair.best_linear(radius, factor)
    threshold, printed = classes.threshold(best), printed_threshold(classes, factor, radius)
    assert errors.mixed.plus.shape == errors.original.minus.shape == threshold.shape == printed.shape == (3, 2, 3)
    for i, j, k in np.ndindex(3, 2, 3):
        one, size, g = domain(d=d[i, 0, 0], prior=0.65), radius[j, 0], factor[k]
        alone = errors_of_mixup(one.pair, g, size)
        for each, of_grid in zip(alone, (errors.plain, errors.mixed, errors.original), strict=True):
            for value, values in zip(each, of_grid, strict=True):
                assert value == np.broadcast_to(values, (3, 2, 3))[i, j, k]
        assert one.threshold(one.pair.best_linear(size, g)) == threshold[i, j, k]
        np.testing.assert_allclose(printed_threshold(one, g, size), printed[i, j, k], rtol=1e-13)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d": 0}, "d must be at least 1"),
        ({"mu_plus": -0.6}, r"mu_plus \+ mu_minus must be above 0"),
        ({"mu_plus": np.nan}, "mu_plus holds values that are not finite"),
        ({"sigma_minus": 0.0}, "sigma_minus must be above 0"),
        ({"prior": 1.0}, "prior must lie strictly between 0 and 1"),
        ({"mu_plus": np.ones(2), "mu_minus": np.ones(3)}, "do not broadcast"),
        ({"mu_plus": np.ones(2), "prior": np.full(3, 0.5)}, "do not broadcast"),
    ],
)
def test_classes_that_there_are_not(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        domain(**changes)


def test_shares_and_laws_that_there_are_not() -> None:
    for lam in (-0.1, 1.1, np.nan, [0.5, 2.0]):
        with pytest.raises(ValueError, match=r"lam must lie in \[0, 1\]"):
            variance_factor(lam)
    for alpha in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"must lie in \[0\.001, 1000\]"):
            random_factors(alpha)
    with pytest.raises(ValueError, match="radius must be finite and at least 0"):
        best_linear_random(domain().pair, 1.0, -0.1)
    with pytest.raises(ValueError, match="variance_factor must be above 0"):
        errors_of_mixup(domain().pair, 0.0)
