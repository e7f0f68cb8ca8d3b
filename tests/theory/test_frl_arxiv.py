"""FRL (arXiv v1): reference values, the printed equations beside the exact ones, and Omega with its limits."""

import json

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from classwise.theory import frl_arxiv as frl
from classwise.theory.frl_icml import flip_radius, increase
from classwise.theory.frl_terms import expressiveness, q

SHAPE = {"m": 4, "gamma": 1.0, "d": 100, "eta": 0.1, "ratio": 2.0, "sigma": 1.5}
KEPT = {"m": 4, "gamma": 1.0, "ratio": 2.0, "sigma": 1.5, "radius": 0.4}


def random_parameters(n=5000, seed=0):
    """Arguments of ``pair`` and a radius, eta < radius < gamma, each (n,)."""
    generator = np.random.default_rng(seed)
    gamma = np.exp(generator.uniform(-1, 1, n))
    radius = gamma * generator.uniform(0.05, 0.95, n)
    m, d = generator.integers(1, 10, n), generator.integers(1, 200, n)
    eta = radius * generator.uniform(0.01, 1, n)
    sigma = np.sqrt(m * gamma**2 + d * eta**2) * np.exp(generator.uniform(-1.5, 1.5, n))
    return (m, gamma, d, eta, 1 + np.exp(generator.uniform(-4, 2, n)), sigma), radius


def test_all_reference_values(shared):
    cases = [
        each
        for each in json.loads((shared / "fixtures" / "theory.json").read_text())["cases"]
        if each["name"] == "frl_v1"
    ]
    assert len(cases) == 4
    for case in cases:
        x, wanted = case["inputs"], case["outputs"]
        shape, eps = (x["m"], x["gamma"], x["d"], x["eta"], x["K"], x["sigma"]), x["eps"]
        kept = (x["m"], x["gamma"], x["K"], x["sigma"], eps)
        pair = frl.pair(*shape)
        change = increase(pair, eps)
        lengths = {
            "nat": np.sqrt(x["m"] * x["gamma"] ** 2 + x["d"] * x["eta"] ** 2),
            "adv": np.sqrt(x["m"]) * (x["gamma"] - eps),
        }
        values = {
            "q": q(x["K"]),
            "A": expressiveness(lengths["nat"], x["K"], x["sigma"]),
            "B": expressiveness(lengths["adv"], x["K"], x["sigma"]),
            "omega": frl.omega(pair, eps),
            "omega_limit_K_to_1": frl.omega_limit(*shape[:4], x["sigma"], eps),
            "increase_plus": change.plus,
            "increase_minus": change.minus,
            "printed_eq3_nat_clean_minus": frl.printed_eq3(*shape),
            "printed_eq8_adv_clean_minus": frl.printed_eq8(*kept),
            "printed_eq9_adv_clean_plus": frl.printed_eq9(*kept),
        }
        for kind, size in (("nat", 0.0), ("adv", eps)):
            best = pair.best_linear(size)
            values[f"b_over_w1_{kind}"] = frl.intercept_per_weight(pair, best)
            values[f"w0_printed_{kind}"] = frl.printed_intercept_per_weight(lengths[kind], x["K"], x["sigma"])
            for test, test_size in (("clean", 0.0), ("robust", x["eps0"])):
                errors = pair.errors(best, test_size)
                values |= {f"{kind}_{test}_plus": errors.plus, f"{kind}_{test}_minus": errors.minus}
        assert set(values) == set(wanted)
        for name, value in values.items():
            np.testing.assert_allclose(float(value), wanted[name], case["rtol"], case["atol"], err_msg=name)


def test_theorem_1_by_hand():
    """Eq. 4 and 6 are right, eq. 3 with K before its root, and eq. 5 with the factor of eq. 33."""
    (m, gamma, d, eta, k, sigma), eps = random_parameters()
    pair = frl.pair(m, gamma, d, eta, k, sigma)
    natural = pair.best_linear()
    a_length = np.sqrt(m * gamma**2 + d * eta**2)
    a = expressiveness(a_length, k, sigma)
    rho, s = (m * gamma + d * eta) / a_length, np.sqrt(a * a + q(k))
    by_hand = [ndtr(s - k * a + rho * eps / (k * sigma)), ndtr(a - k * s + rho * eps / sigma)]
    np.testing.assert_allclose(pair.errors(natural, eps), by_hand, rtol=1e-8, atol=1e-12)
    shape = (m, gamma, d, eta, k, sigma)
    right = pair.errors(natural).minus
    assert (frl.printed_eq3(*shape) > right).all()
    # Eq. 5 is what an attack of radius sigma does.
    np.testing.assert_allclose(frl.printed_eq5(*shape), pair.errors(natural, sigma).minus, rtol=1e-8, atol=1e-12)
    off = np.abs(frl.printed_eq31(*shape) - right) > 1e-3
    assert off.mean() > 0.3
    np.testing.assert_allclose(
        frl.printed_eq31(4, 1, 100, 0.1, 2),
        frl.pair(4, 1, 100, 0.1, 2).errors(frl.pair(4, 1, 100, 0.1, 2).best_linear()).minus,
        rtol=1e-12,
    )


def test_theorem_2_by_hand():
    """The relations of eq. 10-11 hold; eq. 9 and 39 are robust errors at the radius of training, not errors without attack."""
    (m, gamma, d, eta, k, sigma), eps = random_parameters()
    pair = frl.pair(m, gamma, d, eta, k, sigma)
    robust = pair.best_linear(eps)
    assert (robust.weight[..., 1] == 0).all()
    b = expressiveness(np.sqrt(m) * (gamma - eps), k, sigma)
    s = np.sqrt(b * b + q(k))
    for test in (0, eps, 0.5 * gamma):
        shift = np.sqrt(m) * (test - eps) / sigma
        by_hand = [ndtr(s - k * b + shift / k), ndtr(b - k * s + shift)]
        np.testing.assert_allclose(pair.errors(robust, test), by_hand, rtol=1e-8, atol=1e-12)
    kept = (m, gamma, k, sigma, eps)
    at_training, plain = pair.errors(robust, eps), pair.errors(robust)
    np.testing.assert_allclose(frl.printed_eq9(*kept), at_training.plus, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ndtr(b - k * s), at_training.minus, rtol=1e-8, atol=1e-12)  # eq. 39
    assert (frl.printed_eq9(*kept) > plain.plus).all()
    assert (frl.printed_eq8(*kept) > at_training.minus).all()
    assert (frl.printed_eq40(*kept) > 0.5).all()
    for printed, spread in ((frl.printed_eq8, sigma), (frl.printed_eq9, k * sigma)):
        z = [ndtri(printed(4, 1, 2, 1.5, 0.4, test)) for test in (0, 0.3)]
        np.testing.assert_allclose(z[1] - z[0], 2 * 0.3 / (1.5 if spread is sigma else 3), rtol=1e-9)


def test_lemmas_need_the_mean_in_the_ratio():
    for gamma in (0.8, 1.3):
        pair, eps = frl.pair(4, gamma, 100, 0.1, 2, 1.5), 0.4
        natural, robust = (frl.intercept_per_weight(pair, pair.best_linear(size)) for size in (0, eps))
        length = np.sqrt(4 * gamma**2 + 1)
        np.testing.assert_allclose(natural * gamma, frl.printed_intercept_per_weight(length, 2, 1.5), rtol=1e-12)
        left = frl.printed_intercept_per_weight(2 * (gamma - eps), 2, 1.5)
        np.testing.assert_allclose(robust * (gamma - eps), left, rtol=1e-12)
        weight = pair.best_linear().weight
        np.testing.assert_allclose(weight[0] / weight[1], gamma / 0.1, rtol=1e-12)  # the proof has eta : gamma


def test_the_gap_grows():
    """Corollary 1."""
    shape, eps = random_parameters(20_000)
    pair = frl.pair(*shape)
    assert (frl.omega(pair, eps) > 1).all()
    assert (increase(pair, eps).gap > 0).all()


def test_omega_near_equal_variances():
    args = (4, 1.0, 100, 0.1)
    limit = frl.omega_limit(*args, 1.5, 0.4)
    near = [float(frl.omega(frl.pair(*args, 1 + step, 1.5), 0.4)) for step in (1e-3, 5e-4)]
    np.testing.assert_allclose(near[0], limit, rtol=1e-3)
    # The error is of first order in K - 1: extrapolated, four more digits agree.
    np.testing.assert_allclose(2 * near[1] - near[0], limit, rtol=1e-6)
    assert frl.printed_eq12(4, 1, 100, 1.001, 1.5) < 1e-4


def test_omega_with_many_non_robust_features():
    d = np.array([40_000, 80_000])
    logs = np.log(frl.omega(frl.pair(4, 1.0, d, 0.1, 2, 1.5), 0.4))
    np.testing.assert_allclose(np.diff(logs) / np.diff(d), frl.omega_rate(0.1, 2, 1.5), rtol=2e-2)
    bound = np.log(frl.printed_eq12(4, 1, d, 2, 1.5))
    assert np.diff(bound) < 0.01 * np.diff(logs)


def test_omega_where_the_printed_bound_grows():
    for shape, eps, omega, bound in (
        ((4, 1, 20, 0.2, 50, 1), 0.4, 1.0244, 1.09e4),
        ((4, 1, 100, 0.1, 2, 100), 0.4, 1.00838, 5.2e4),
    ):
        np.testing.assert_allclose(frl.omega(frl.pair(*shape), eps), omega, rtol=1e-4)
        m, gamma, d, _, k, sigma = shape
        np.testing.assert_allclose(frl.printed_eq12(m, gamma, d, k, sigma), bound, rtol=1e-2)
    wide = [float(frl.omega(frl.pair(4, 1, 20, 0.2, k), 0.4)) for k in (10, 100, 1000)]
    assert wide[0] > wide[1] > wide[2] > 1
    np.testing.assert_allclose(wide[2], 1, rtol=0, atol=2e-3)


def test_the_printed_boundary_error_makes_the_sum_too_large():
    """Eq. 16: natural plus boundary error is the robust error, but not as printed."""
    pair = frl.pair(**SHAPE)
    robust = pair.best_linear(0.4)
    exact, printed = pair.boundary_errors(robust, 0.3), pair.boundary_errors(robust, 0.3, as_printed=True)
    for at in range(2):
        natural, attacked = pair.errors(robust)[at], pair.errors(robust, 0.3)[at]
        np.testing.assert_allclose(natural + exact[at], attacked, rtol=1e-14)
        assert natural + printed[at] > attacked + 0.02


def test_robust_errors_follow_the_others_only_up_to_a_radius():
    pair = frl.pair(**SHAPE)
    natural = pair.best_linear()
    flip = flip_radius(pair, natural)
    assert 0.3 < flip < 0.31
    assert pair.errors(natural, 0.3).gap > 0 > pair.errors(natural, 0.31).gap


def test_without_non_robust_features():
    pair = frl.pair(4, 1, 0, 0.1, 2)
    other = frl.pair(4, 1, 50, 0.0, 2)
    for size in (0, 0.4):
        np.testing.assert_allclose(
            pair.errors(pair.best_linear(size), 0.2), other.errors(other.best_linear(size), 0.2), rtol=1e-14
        )
    assert frl.printed_eq12(4, 1, 0, 2) == 0


def test_grids():
    k, eps = np.linspace(1.1, 3, 200), np.linspace(0.2, 0.8, 200)[:, None]
    pair = frl.pair(4, 1, 100, 0.1, k, 1.5)
    omega, eq8 = frl.omega(pair, eps), frl.printed_eq8(4, 1, k, 1.5, eps, 0.1)
    assert omega.shape == eq8.shape == (200, 200)
    one = frl.pair(4, 1, 100, 0.1, k[7], 1.5)
    np.testing.assert_allclose(omega[3, 7], frl.omega(one, eps[3, 0]), rtol=1e-12)
    np.testing.assert_allclose(eq8[3, 7], frl.printed_eq8(4, 1, k[7], 1.5, eps[3, 0], 0.1), rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: frl.pair(**{**SHAPE, "m": 0}), "m must be finite and at least 1"),
        (lambda: frl.pair(**{**SHAPE, "d": -1}), "d must be finite and at least 0"),
        (lambda: frl.pair(**{**SHAPE, "gamma": np.inf}), "gamma must be finite and at least 0"),
        (lambda: frl.omega_limit(4, 1, 100, 0.5, 1, 0.4), "radius must lie between eta and gamma"),
        (lambda: frl.omega_limit(4, 1, 100, 0.1, 1, 1.0), "radius must lie between eta and gamma"),
        (lambda: frl.printed_eq3(**{**SHAPE, "ratio": 1}), "ratio must be finite and above 1"),
        (lambda: frl.printed_eq8(**{**KEPT, "radius": 1.0}), "radius must be below gamma"),
        (lambda: frl.printed_eq9(**KEPT, test_radius=-1), "test_radius must be finite and at least 0"),
        (lambda: frl.printed_eq12(4, 1, 100, 0.5), "ratio must be finite and at least 1"),
        (lambda: frl.printed_intercept_per_weight(0, 2), "length must be finite and above 0"),
        (lambda: frl.omega_rate(-1, 2), "eta must be finite and at least 0"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
