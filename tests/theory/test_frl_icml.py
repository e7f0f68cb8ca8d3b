"""FRL (ICML): reference values, printed formulas beside the exact ones, and what the paper's claims are worth."""

import json
import math

import numpy as np
import pytest
from scipy.special import ndtr

from classwise.theory import frl_icml as frl
from classwise.theory.frl_terms import expressiveness, gap, gap_slope, printed_errors, q

FIGURE_2 = {"d": 2, "eta": 2.0, "ratio": 2**0.5, "sigma": 1.0}


def cases(shared, name):
    return [
        each for each in json.loads((shared / "fixtures" / "theory.json").read_text())["cases"] if each["name"] == name
    ]


def random_parameters(n=5000, seed=0):
    """d, eta, K, sigma, eps of the paper's range, each (n,)."""
    generator = np.random.default_rng(seed)
    eta = np.exp(generator.uniform(-3, 1, n))
    d = generator.integers(1, 50, n)
    sigma = eta * np.sqrt(d) * np.exp(generator.uniform(-1.5, 1.5, n))  # neither all right nor all wrong
    return d, eta, 1 + np.exp(generator.uniform(-4, 2, n)), sigma, eta * generator.uniform(0.01, 0.99, n)


def test_all_reference_values(shared):
    found = cases(shared, "frl_v2")
    assert len(found) == 5
    for case in found:
        x, wanted = case["inputs"], case["outputs"]
        shape, eps, eps0 = (x["d"], x["eta"], x["K"], x["sigma"]), x["eps"], x["eps0"]
        pair = frl.pair(*shape)
        root, b_rob = math.sqrt(x["d"]), frl.intercept(x["d"], x["eta"] - eps, x["K"], x["sigma"])
        values = {
            "q": q(x["K"]),
            "A": expressiveness(root * x["eta"], x["K"], x["sigma"]),
            "B": expressiveness(root * (x["eta"] - eps), x["K"], x["sigma"]),
            "b_nat": frl.intercept(*shape),
            "b_rob": b_rob,
            "b_rob_positive": b_rob > 0,
        }
        for kind, size in (("nat", 0.0), ("rob", eps)):
            for test, test_size in (("clean", 0.0), ("robust", eps0)):
                errors = frl.errors(*shape, size, test_size)
                values |= {f"{kind}_{test}_plus": errors.plus, f"{kind}_{test}_minus": errors.minus}
        robust = pair.best_linear(eps)
        for name, boundary in (
            ("bdy_rob", pair.boundary_errors(robust, eps0)),
            ("bdy_printed_rob", pair.boundary_errors(robust, eps0, as_printed=True)),
        ):
            values |= {f"{name}_plus": boundary.plus, f"{name}_minus": boundary.minus}
        assert set(values) == set(wanted)
        for name, value in values.items():
            np.testing.assert_allclose(float(value), float(wanted[name]), case["rtol"], case["atol"], err_msg=name)


def test_reference_values_of_what_follows(shared):
    flips, thresholds, gaps = (
        cases(shared, name)
        for name in (
            "frl_v2_robust_order_flip_radius",
            "frl_v2_both_classes_worse_threshold",
            "frl_gap_and_slope",
        )
    )
    assert (len(flips), len(thresholds), len(gaps)) == (3, 2, 3)
    for case in flips:
        x = case["inputs"]
        pair = frl.pair(x["d"], x["eta"], x["K"], x["sigma"])
        best = pair.best_linear(x["eps_train"])
        flip = frl.flip_radius(pair, best)
        np.testing.assert_allclose(flip, case["outputs"]["eps0_flip"], case["rtol"], case["atol"])
        common = [case["outputs"]["common_robust_error"]] * 2
        np.testing.assert_allclose(pair.errors(best, flip), common, case["rtol"], case["atol"])
    for case in thresholds:
        x = case["inputs"]
        threshold = frl.both_rise_threshold(x["d_robust"], x["eta_robust"], x["K"], x["sigma"], x["eps"])
        np.testing.assert_allclose(threshold, case["outputs"]["m_gamma2_threshold"], case["rtol"], case["atol"])
    for case in gaps:
        a, k = case["inputs"]["A"], case["inputs"]["K"]
        np.testing.assert_allclose(gap(a, k), case["outputs"]["gap"], case["rtol"], case["atol"])
        np.testing.assert_allclose(gap_slope(a, k), case["outputs"]["slope"], case["rtol"], case["atol"])


def test_values_of_a_numerical_minimiser(shared):
    found = json.loads((shared / "fixtures" / "methods" / "theory.json").read_text())["gaussian_two_class"]
    assert len(found) == 5
    for case in found:
        shape, eps, numeric = (case["d"], case["eta"], case["K"], case["sigma"]), case["eps"], case["numeric"]
        nat, clean, robust = frl.errors(*shape), frl.errors(*shape, eps), frl.errors(*shape, eps, eps)
        b = [frl.intercept(*shape), frl.intercept(case["d"], case["eta"] - eps, case["K"], case["sigma"])]
        formula = case["formula"]
        np.testing.assert_allclose(nat[::-1], [formula["nat_minus"], formula["nat_plus"]], rtol=1e-9)
        np.testing.assert_allclose(clean[::-1], [formula["rob_nat_minus"], formula["rob_nat_plus"]], rtol=1e-9)
        np.testing.assert_allclose(robust[::-1], [formula["rob_rob_minus"], formula["rob_rob_plus"]], rtol=1e-9)
        np.testing.assert_allclose(b, [numeric["b_nat_formula"], numeric["b_rob_formula"]], rtol=1e-9)
        # The error is flat where it is least, so a minimiser that sees values only finds b to about the root of the
        # precision of doubles, 1e-8 (largest difference here 6e-8), and the class errors to that times their slope.
        np.testing.assert_allclose(b, [numeric["b_nat"], numeric["b_rob"]], rtol=0, atol=1e-7)
        for errors, name in ((nat, "nat"), (clean, "rob_nat"), (robust, "rob_rob")):
            np.testing.assert_allclose(errors[::-1], numeric[name], rtol=0, atol=1e-8)
        # Where the minimiser stopped beside the minimum one class gains what the other loses, to first order.
        np.testing.assert_allclose(nat.average(), np.mean(numeric["nat"]), rtol=0, atol=1e-14)
        np.testing.assert_allclose(robust.average(), np.mean(numeric["rob_rob"]), rtol=0, atol=1e-14)


def test_theorems_1_and_2_are_right_as_printed():
    d, eta, k, sigma, eps = random_parameters()
    np.testing.assert_allclose(frl.printed_theorem_1(d, eta, k, sigma), frl.errors(d, eta, k, sigma), 1e-9, 1e-12)
    for test in (0, eps, 0.3 * eta):
        printed = frl.printed_theorem_2(d, eta, k, sigma, eps, test)
        np.testing.assert_allclose(printed, frl.errors(d, eta, k, sigma, eps, test), 1e-9, 1e-12)
    printed, right = frl.printed_intercept(d, eta, k, sigma), frl.intercept(d, eta, k, sigma)
    # The printed form is a difference of numbers that grow as 1 / (K - 1).
    np.testing.assert_allclose(printed, right, rtol=1e-9, atol=1e-9 * float(np.max(d * eta)))


def test_theorem_1_needs_a_wide_class_plus():
    """For K < 1 the print is the plane with the largest error, at K = 1 it is 0/0."""
    printed, right = frl.printed_theorem_1(2, 0.6, 0.5), frl.errors(2, 0.6, 0.5)
    np.testing.assert_allclose(printed, [0.99992, 0.00017], rtol=0, atol=5e-6)
    np.testing.assert_allclose(right, [0.0657260348, 0.1728772681], rtol=0, atol=5e-11)
    pair = frl.pair(2, 0.6, 0.5)
    worst = frl.printed_intercept(2, 0.6, 0.5) / math.sqrt(2)
    errors = [float(pair.errors(pair.linear([1.0, 1.0], worst + step)).average()) for step in (-0.01, 0, 0.01)]
    np.testing.assert_allclose(errors[1], printed.average(), rtol=1e-12)
    assert errors[1] > max(errors[0], errors[2])
    assert np.isnan(frl.printed_theorem_1(2, 0.6, 1)).all()
    np.testing.assert_allclose(frl.errors(2, 0.6, 1), [ndtr(-math.sqrt(2) * 0.6)] * 2, rtol=1e-14)


def test_class_plus_has_the_larger_error_and_robust_training_adds_to_it():
    """Corollary 1, and b_rob < b_nat."""
    d, eta, k, sigma, eps = random_parameters()
    natural = frl.errors(d, eta, k, sigma)
    assert (natural.gap > 0).all()
    change = frl.increase(frl.pair(d, eta, k, sigma), eps)
    assert (change.plus > 0).all()
    assert (change.minus < 0).all()
    b_nat, b_rob = frl.intercept(d, eta, k, sigma), frl.intercept(d, eta - eps, k, sigma)
    assert (b_nat - b_rob >= eps * d * (k - 1) / (k + 1) * (1 - 1e-9)).all()
    gaps = [frl.errors(d, eta, k, sigma, share * eta).gap for share in (0, 0.2, 0.4, 0.6, 0.8)]
    assert (np.diff(gaps, axis=0) > 0).all()


def test_the_intercepts_need_not_be_positive():
    """Section 3.2 says 0 < b_rob."""
    np.testing.assert_allclose(frl.intercept(10, 0.5, 2), 0.4006, rtol=0, atol=5e-5)
    np.testing.assert_allclose(frl.intercept(10, 0.3, 2), -0.8723, rtol=0, atol=5e-5)
    d, _, k, sigma, _ = random_parameters(200)
    root = frl.intercept_root(d, k, sigma)
    np.testing.assert_allclose(frl.intercept(d, root, k, sigma) / (d * root), 0, rtol=0, atol=1e-13)
    assert (frl.intercept(d, root * 1.001, k, sigma) > 0).all()
    assert (frl.intercept(d, root * 0.999, k, sigma) < 0).all()


def test_what_robust_training_costs_on_average():
    for eta, d, k, eps, factor, digits in (
        (2.0, 2, 2**0.5, 0.5, 1.049, 5e-4),
        (0.5, 10, 2.0, 0.2, 1.07, 5e-3),
        (0.5, 10, 2.0, 0.45, 1.52, 5e-3),
    ):
        after, before = frl.errors(d, eta, k, 1, eps).average(), frl.errors(d, eta, k).average()
        np.testing.assert_allclose(after / before, factor, rtol=0, atol=digits)


def test_beyond_the_flip_radius_class_minus_is_less_robust():
    d, eta, k, sigma, eps = random_parameters(2000)
    pair = frl.pair(d, eta, k, sigma)
    for size in (0, eps):
        best = pair.best_linear(size)
        flip = frl.flip_radius(pair, best)
        assert (flip > size).all()
        b = expressiveness(np.sqrt(d) * (eta - size), k, sigma)
        by_hand = size + sigma * k * (k + 1) * (np.sqrt(b**2 + q(k)) - b) / (np.sqrt(d) * (k - 1))
        np.testing.assert_allclose(flip, by_hand, rtol=1e-7)
        z_scores = [
            (best.reach - flip * best.length + sign * best.offset) / s for sign, s in ((1, k * sigma), (-1, sigma))
        ]
        np.testing.assert_allclose(*z_scores, rtol=0, atol=1e-8)
        assert (pair.errors(best, flip * 0.99).gap >= 0).all()
        assert (pair.errors(best, flip * 1.01).gap <= 0).all()
    figure = frl.pair(**FIGURE_2)
    np.testing.assert_allclose(figure.errors(figure.best_linear(), 0.5), [0.0374, 0.0425], rtol=0, atol=5e-5)
    equal = frl.pair(2, 1, 1)
    assert np.isnan(frl.flip_radius(equal, equal.best_linear()))


def test_both_errors_rise_only_above_a_threshold():
    d, eta, k, sigma, eps = random_parameters(2000)
    threshold = frl.both_rise_threshold(d, eta, k, sigma, eps)
    assert (threshold > 0).all()
    for share, sign in ((0.99, -1), (1.01, 1)):
        gamma = np.minimum(eps, 1e-3 * eta)
        m = share * threshold / gamma**2
        change = frl.increase(frl.pair_with_weak(d, eta, m, gamma, k, sigma), eps)
        assert (sign * change.minus >= 0).all()
        assert (sign * change.minus > 0).mean() > 0.95  # elsewhere the errors are too small to differ
        assert (change.plus > 0).all()
    with pytest.raises(ValueError, match="radius must be below eta"):
        frl.both_rise_threshold(2, 0.5, 2, 1, 0.5)


def test_theorem_3_holds_and_its_proof_does_not():
    d, eta, k, sigma, eps = random_parameters()
    generator = np.random.default_rng(1)
    m, gamma = generator.integers(0, 500, len(d)), eps * generator.uniform(0, 1, len(d))
    assert (frl.increase(frl.pair_with_weak(d, eta, m, gamma, k, sigma), eps).gap > 0).all()
    chain = frl.printed_theorem_3(d, eta, m, gamma, k, sigma, eps)
    assert not (chain.left > chain.right).any()  # 5000 draws, and not one for which the printed step holds
    example = frl.printed_theorem_3(1, 0.55, 100, 0.3, 2, 1, 0.5)
    np.testing.assert_allclose(example, [0.5930804150, 1.6099196230], rtol=0, atol=5e-11)


def test_the_gap_falls_with_the_margin_but_not_with_the_ratio():
    a, k = np.linspace(0.01, 3, 60), np.linspace(1.05, 6, 40)[:, None]
    step = 1e-5
    slope = (gap(a + step, k) - gap(a - step, k)) / (2 * step)
    np.testing.assert_allclose(gap_slope(a, k), slope, rtol=1e-8, atol=1e-10)
    assert (gap_slope(a, k) < 0).all()
    np.testing.assert_allclose(gap(a, k), printed_errors(a, k).gap, rtol=0, atol=1e-12)
    margin = 1e-4
    over_k = [float(frl.errors(1, margin, ratio).gap) for ratio in (1.01, 2, 1000)]
    np.testing.assert_allclose(over_k[0], ndtr(1) - ndtr(-1), rtol=0, atol=0.02)
    assert over_k[0] > over_k[1] > over_k[2] > 0.49


def test_exchanging_a_weight_can_raise_both_errors():
    """The proof of lemma 1 replaces w_i by a larger w_j and says that both errors fall."""
    pair = frl.pair(100, 0.2, 2)
    times, before = np.append(np.ones(99), 3.0), np.append(np.ones(98), [3.0, 3.0])
    ones = np.ones(100)
    cosines = [float(w @ ones / np.linalg.norm(w) / 10) for w in (times, before)]
    np.testing.assert_allclose(cosines, [0.98150, 0.96562], rtol=0, atol=5e-6)
    long = type(pair)(theta=np.full(100, 0.2), sigma_plus=2, sigma_minus=1)
    first, exchanged = (long.errors(long.linear(w, -0.2)) for w in (times, before))
    assert exchanged.plus > first.plus
    assert exchanged.minus > first.minus


def test_a_grid_of_parameters_equals_its_points():
    eta, k = np.linspace(0.3, 2, 5), np.linspace(0.5, 3, 6)[:, None]
    grid, flip = (
        frl.errors(3, eta, k, 1.2, 0.2, 0.1),
        frl.flip_radius(frl.pair(3, eta, k, 1.2), frl.pair(3, eta, k, 1.2).best_linear()),
    )
    assert grid.plus.shape == flip.shape == (6, 5)
    for i, j in np.ndindex(6, 5):
        one = frl.errors(3, eta[j], k[i, 0], 1.2, 0.2, 0.1)
        np.testing.assert_allclose([grid.plus[i, j], grid.minus[i, j]], one, rtol=1e-14)
        pair = frl.pair(3, eta[j], k[i, 0], 1.2)
        np.testing.assert_allclose(flip[i, j], frl.flip_radius(pair, pair.best_linear()), rtol=1e-13)
    assert frl.errors(2, np.linspace(0.1, 1, 200), np.linspace(1.1, 3, 200)[:, None]).plus.shape == (200, 200)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: frl.pair(0, 1, 2), "d must be finite and at least 1"),
        (lambda: frl.pair(2, -1, 2), "eta must be finite and at least 0"),
        (lambda: frl.pair(2, 1, 0), "ratio must be finite and above 0"),
        (lambda: frl.pair(2, 1, 2, np.nan), "sigma must be finite and above 0"),
        (lambda: frl.pair_with_weak(2, 1, -1, 0.1, 2), "m must be finite and at least 0"),
        (lambda: frl.errors(2, 1, 2, 1, -0.1), "radius must be finite and at least 0"),
        (lambda: frl.both_rise_threshold(2, 1, 0.5, 1, 0.1), "ratio must be finite and at least 1"),
        (lambda: gap(1, 1), "ratio must be finite and above 1"),
        (lambda: gap_slope(-1, 2), "A must be finite and at least 0"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
