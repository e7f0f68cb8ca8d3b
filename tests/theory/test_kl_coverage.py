"""Coverage of the worst-case loss: reference values, other ways of counting and solving, bounds, edges."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import rel_entr
from scipy.stats import multinomial

from classwise.theory import worst_case_weights
from classwise.theory.kl_coverage import (
    coverage,
    kl_from,
    labels_needed,
    log_probability,
    number_of_types,
    types,
    types_bound,
    worst_mix,
)

SHARES, LOSSES = [0.5, 0.3, 0.2], [0.0, 0.5, 1.0]


def test_reference_values(shared):
    cases = json.loads((shared / "fixtures" / "theory.json").read_text())["cases"]
    cases = [case for case in cases if case["name"] == "faal_upper_bound_failure_probability"]
    assert len(cases) == 1
    for case in cases:
        given, wanted = case["inputs"], case["outputs"]
        found = coverage(given["p"], given["losses"], given["tau"], given["n"])
        tolerance = {"rtol": case["rtol"], "atol": case["atol"]}
        np.testing.assert_allclose(found.missed, wanted["prob_V_below_target"], **tolerance)
        np.testing.assert_allclose(found.outside, wanted["prob_kl_exceeds_tau"], **tolerance)
        np.testing.assert_allclose(found.bound, wanted["types_bound"], **tolerance)
        np.testing.assert_allclose(found.printed, wanted["exp_minus_n_tau"], **tolerance)


@pytest.mark.parametrize(("n", "classes"), [(1, 1), (5, 1), (1, 4), (6, 2), (5, 3), (4, 5)])
def test_types_are_all_count_vectors_once(n, classes):
    found = types(n, classes)
    every = {each for each in itertools.product(range(n + 1), repeat=classes) if sum(each) == n}
    assert len(found) == len(every) == number_of_types(n, classes)
    assert set(map(tuple, found.tolist())) == every


def test_probabilities_are_multinomial():
    counts, shares = types(9, 4), [0.4, 0.3, 0.3, 0.0]
    chance = np.exp(log_probability(counts, shares))
    np.testing.assert_allclose(chance, multinomial.pmf(counts, 9, shares), rtol=1e-12)
    assert (chance[counts[:, 3] > 0] == 0).all()
    assert chance.sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("classes", [2, 3, 10, 50])
@pytest.mark.parametrize("tau", [0.0, 1e-12, 1e-6, 0.05, 0.5, 3.0, 20.0])
def test_a_uniform_reference_gives_the_weights_of_training(classes, tau):
    """Two solvers that share no code."""
    losses = np.random.default_rng(classes).standard_normal((30, classes))
    losses[::3] = losses[::3].round()
    wanted = worst_case_weights(losses, tau)
    value, weights = worst_mix(np.full(classes, 1 / classes), losses, tau)
    np.testing.assert_allclose(weights, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(value, (wanted * losses).sum(-1), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n", "classes"), [(50, 2), (30, 3), (8, 5)])
@pytest.mark.parametrize("tau", [1e-10, 1e-4, 0.15, 1.0, 8.0])
@pytest.mark.parametrize("kind", ["normal", "tied", "many scales"])
def test_the_value_of_the_dual_is_reached_in_the_ball(n, classes, tau, kind):
    """For every type, zeros included: the weights are feasible and have the value, which weak duality says is the most."""
    generator = np.random.default_rng([n, classes])
    losses = generator.standard_normal(classes)
    if kind == "tied":
        losses = losses.round()
    if kind == "many scales":
        losses = -np.exp(generator.uniform(-20, 0, classes))
    drawn = types(n, classes) / n
    value, weights = worst_mix(drawn, losses, tau)
    spread = np.ptp(losses)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-13)
    assert (kl_from(drawn, weights) <= tau + 1e-13 * (1 + tau)).all()
    np.testing.assert_allclose((weights * losses).sum(-1), value, rtol=0, atol=1e-13 * spread)
    for beyond in spread * np.array([0.0, 1e-3, 0.1, 1.0, 30.0]):  # nu - max l
        rest = losses.max() + beyond - losses
        logs = np.log(rest, where=rest > 0, out=np.full(classes, -math.inf))
        terms = np.where(drawn > 0, drawn * np.where(drawn > 0, logs, 0), 0)
        dual = losses.max() + beyond - np.exp(terms.sum(-1) - tau)
        assert (value <= dual + 1e-13 * spread).all()


def test_a_convex_solver_agrees():
    cvxpy = pytest.importorskip("cvxpy")
    generator = np.random.default_rng(0)
    for trial in range(12):
        counts = generator.multinomial(6, [0.4, 0.3, 0.2, 0.1])
        reference, losses, tau = counts / 6, generator.standard_normal(4), float(generator.uniform(0.02, 1.5))
        if trial % 3 == 0:  # nobody has drawn the class with the largest loss
            losses[0], reference = 3.0, np.array([0.0, 0.5, 0.25, 0.25])
        q = cvxpy.Variable(4, nonneg=True)
        kept = np.flatnonzero(reference)
        ball = cvxpy.sum(cvxpy.multiply(reference[kept], -cvxpy.log(q[kept])))
        room = tau - (reference[kept] * np.log(reference[kept])).sum()
        program = cvxpy.Problem(cvxpy.Maximize(losses @ q), [ball <= room, cvxpy.sum(q) == 1])
        program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        assert worst_mix(reference, losses, tau).value == pytest.approx(program.value, abs=1e-7)


def test_a_class_that_was_not_drawn_takes_what_the_ball_leaves_free():
    for tau in (0.01, 0.5, 4.0):
        value, weights = worst_mix([0.6, 0.4, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], tau)
        # 1e-14: the logarithm that is summed there has size 40.
        assert value == pytest.approx(1 - math.exp(-tau), abs=1e-14)
        half = (1 - math.exp(-tau)) / 2
        np.testing.assert_allclose(
            weights, [0.6 * math.exp(-tau), 0.4 * math.exp(-tau), half, half], rtol=0, atol=1e-14
        )
    # Its loss is not the largest: it takes nothing.
    value, weights = worst_mix([0.6, 0.4, 0.0], [0.0, 1.0, 0.5], 0.3)
    assert weights[2] == 0
    assert value == pytest.approx(worst_mix([0.6, 0.4], [0.0, 1.0], 0.3).value, abs=1e-15)


def test_nothing_to_gain_and_no_room():
    assert worst_mix(SHARES, [2.0, 2.0, 2.0], 0.5).value == pytest.approx(2)
    assert worst_mix([0.0, 1.0, 0.0], [0.0, 1.0, 0.0], 0.5).value == 1
    value, weights = worst_mix(SHARES, LOSSES, 0.0)
    assert value == pytest.approx(0.35)
    assert weights.tolist() == SHARES


def by_hand(shares, losses, tau, n):
    """Both probabilities, label by label: the primal by root finding in nu, sequences instead of types."""
    classes, missed, outside = len(shares), 0.0, 0.0
    true, top = float(np.dot(shares, losses)), max(losses)
    for labels in itertools.product(range(classes), repeat=n):
        chance = math.prod(shares[label] for label in labels)
        drawn = np.bincount(labels, minlength=classes) / n
        if rel_entr(drawn, shares).sum() > tau:
            outside += chance
        seen = [(a, b) for a, b in zip(drawn, losses, strict=True) if a > 0]

        def spare(nu, seen=seen):
            """How much further than tau the curve q ∝ drawn / (nu - l) lies."""
            mean = sum(a / (nu - b) for a, b in seen)
            return sum(a * math.log((nu - b) * mean) for a, b in seen) - tau

        def kept(nu, seen=seen):
            return math.exp(sum(a * math.log(nu - b) for a, b in seen) - tau)

        lowest = top + 1e-13
        if spare(lowest) < 0:  # the largest loss was not drawn, and nu goes down to it
            value = top - kept(top) if all(b < top for _, b in seen) else top
        else:
            nu = brentq(spare, lowest, top + 1e6, xtol=1e-14)
            value = nu - kept(nu)
        missed += chance * (value < true - 1e-9)
    return missed, outside


@pytest.mark.parametrize(
    ("shares", "losses", "tau", "n"),
    [
        (SHARES, LOSSES, 0.15, 7),
        (SHARES, LOSSES, 0.4, 6),
        ([0.1, 0.2, 0.7], [0.3, -1.0, 0.9], 0.1, 7),
        ([0.25, 0.75], [1.0, 0.0], 0.05, 9),
        ([0.4, 0.0, 0.6], [0.0, 5.0, 1.0], 0.2, 6),
    ],
)
def test_every_sequence_of_labels_counted_by_hand(shares, losses, tau, n):
    missed, outside = by_hand(shares, losses, tau, n)
    found = coverage(shares, losses, tau, n)
    assert found.missed == pytest.approx(missed, abs=1e-12)
    assert found.outside == pytest.approx(outside, abs=1e-12)


@pytest.mark.parametrize("n", [5, 20, 60])
def test_the_chain_of_bounds_holds_and_the_radii_are_vectorised(n):
    tau = np.concatenate([[0.0], np.geomspace(1e-3, 3, 7)]).reshape(2, 4)
    for losses in (LOSSES, [0.7, -0.2, 0.1], [0.0, 0.0, 1.0]):
        found = coverage(SHARES, losses, tau, n)
        assert found.missed.shape == found.bound.shape == tau.shape
        assert (found.missed <= found.outside + 1e-15).all()
        assert (found.outside <= found.bound + 1e-15).all()
        assert (np.diff(found.missed.ravel()) <= 1e-15).all()
        single = [coverage(SHARES, losses, float(radius), n).missed for radius in tau.ravel()]
        np.testing.assert_allclose(found.missed.ravel(), single, rtol=0, atol=1e-15)


def test_the_polynomial_factor_cannot_be_dropped():
    found = coverage(SHARES, LOSSES, 0.05, 60)
    assert found.outside == pytest.approx(5.10e-2, rel=1e-3)
    assert found.printed == pytest.approx(4.98e-2, rel=1e-3)
    assert found.outside > found.printed


def test_the_printed_event_does_not_depend_on_the_draw():
    """L_FAAL is never below the plain mean, and a distribution outside the ball beats it for every n."""
    one_high = np.eye(10)[0]
    worst = worst_case_weights(one_high, 0.5) @ one_high
    assert worst == pytest.approx(0.5748172910, abs=1e-10)
    outside = np.array([0.6, *[0.4 / 9] * 9])
    assert kl_from(np.full(10, 0.1), outside) > 0.5
    assert outside @ one_high > worst
    losses = np.random.default_rng(1).standard_normal((100, 10))
    assert ((worst_case_weights(losses, 0.5) * losses).sum(-1) > losses.mean(-1)).all()


def test_equal_losses_and_radius_zero_count_as_equal():
    found = coverage(SHARES, [0.3, 0.3, 0.3], [0.0, 0.1], 10)
    assert found.missed.tolist() == [0, 0]
    exactly = math.exp(log_probability([5, 3, 2], SHARES))
    assert found.outside[0] == pytest.approx(1 - exactly)


@pytest.mark.parametrize(("classes", "tau"), [(2, 0.01), (3, 0.15), (10, 0.5), (10, 5.0), (3, 4.0), (2, 2.1), (1, 1.0)])
def test_labels_needed_by_counting(classes, tau):
    n = np.arange(1, 20000)
    useless = n[n * tau <= classes * np.log(n + 1)]
    assert labels_needed(classes, tau) == (useless.max() + 1 if len(useless) else 1)


@pytest.mark.parametrize("tau", [1e3, 1e5, 1e300])
def test_large_radii_give_the_largest_loss_without_a_warning(tau):
    for reference in ([0, 0, 1], [0.5, 0.5, 0], [0.2, 0.3, 0.5]):
        for losses in itertools.permutations([0.0, 0.5, 1.0]):
            value, weights = worst_mix(reference, losses, tau)
            # Classes that were not seen may get all the weight, since a divergence from none of it costs nothing.
            assert value == pytest.approx(1, abs=1e-12), (reference, losses)
            assert weights @ np.array(losses) == pytest.approx(1, abs=1e-12)
            assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_what_the_bound_says_about_batches():
    """Theory: 128 labels are enough for 10 classes and tau 0.5, far too few for 100 classes and 0.05."""
    assert 0 < types_bound(10, 128, 0.5) < 1e-6
    assert types_bound(100, 128, 0.05) == 1
    assert labels_needed([10, 100], [0.5, 0.05]).tolist() == [91, 19786]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="finite number of nats, at least 0"):
        coverage(SHARES, LOSSES, -0.1, 5)
    with pytest.raises(ValueError, match="at least 0, with sum 1"):
        coverage([0.5, 0.6], [0.0, 1.0], 0.1, 5)
    with pytest.raises(ValueError, match="one of each per class"):
        coverage(SHARES, [0.0, 1.0], 0.1, 5)
    with pytest.raises(ValueError, match="too many to enumerate"):
        coverage(np.full(20, 0.05), np.arange(20.0), 0.1, 50)
    with pytest.raises(ValueError, match="give fewer radii"):
        coverage(SHARES, LOSSES, np.full(10000, 0.1), 100)
    with pytest.raises(ValueError, match="n is 0: it counts, so give a whole number of at least 1"):
        types(0, 3)
    for n in (-3, 0, 3.5, math.nan):
        with pytest.raises(ValueError, match=r"n is .*whole number of at least 1"):
            types_bound(10, n, 0.5)
        with pytest.raises(ValueError, match=r"n is .*whole number of at least 1"):
            coverage(SHARES, LOSSES, 0.5, n)
    with pytest.raises(ValueError, match=r"classes is \[2\.  0\.5\]"):
        types_bound([2, 0.5], 5, 0.5)
    with pytest.raises(ValueError, match="finite numbers"):
        worst_mix(SHARES, [0.0, math.nan, 1.0], 0.1)
    with pytest.raises(ValueError, match="give one per class"):
        worst_mix(SHARES, [0.0, 1.0], 0.1)
    with pytest.raises(ValueError, match="no number of labels suffices"):
        labels_needed(3, 0.0)


@pytest.mark.parametrize("tau", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("share", [1e-12, 1e-16, 1e-17, 1e-20, 1e-100, 1e-300])
def test_a_share_too_small_to_matter_changes_nothing(share: float, tau: float) -> None:
    """Two classes: where the likelier one has loss 0, the other takes 1 - exp(-tau) in the limit."""
    value, weights = worst_mix([share, 1.0], [1.0, 0.0], tau)
    assert value == pytest.approx(1 - np.exp(-tau), abs=1e-9)
    assert weights == pytest.approx([1 - np.exp(-tau), np.exp(-tau)], abs=1e-9)
