"""Worst-case class weights: printed values, brute force, a convex solver, optimality, invariances."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize
from torch.utils._python_dispatch import TorchDispatchMode

from classwise.theory import attainable_range, optimality_gap, worst_case_weights
from classwise.theory.kl_ball import dual_optimum

LOSSES = [-0.52, -0.71, -0.18, 0.12, -0.33, -0.09, -0.44, -0.57, -0.66, -0.61]
DIRECTIONS = ["reverse", "forward"]

KINDS = {
    "uniform": lambda g, n, c: g.random((n, c)),
    "normal": lambda g, n, c: g.standard_normal((n, c)),
    "tied": lambda g, n, c: g.integers(0, 3, (n, c)).astype(float),
    "nearly tied": lambda g, n, c: g.integers(0, 3, (n, c)) + 10.0 ** g.integers(-12, -2, (n, 1)) * g.random((n, c)),
    "heavy tails": lambda g, n, c: g.standard_cauchy((n, c)) ** 3,
    "many scales": lambda g, n, c: -np.exp(g.uniform(-30, 0, (n, c))),
    "tiny range": lambda g, n, c: 1e-9 * g.random((n, c)),
    "one high": lambda g, n, c: np.eye(c)[g.integers(0, c, n)],
    "one low": lambda g, n, c: -np.eye(c)[g.integers(0, c, n)],
}


def radii(generator, count, smallest=1e-12):
    return np.exp(generator.uniform(math.log(smallest), math.log(20), count))


def divergence(weights, direction):
    """KL of (…, C) weights with uniform, in the direction of the ball, along the last dimension."""
    classes = weights.shape[-1]
    if direction == "reverse":
        return -np.log(classes * weights).mean(-1)
    logs = np.log(classes * weights, where=weights > 0, out=np.zeros_like(weights))
    return (weights * logs).sum(-1)


@pytest.mark.parametrize(
    ("losses", "tau", "direction", "expected"),
    [
        (
            LOSSES,
            0.5,
            "reverse",
            [
                *(0.04046281003, 0.03175216932, 0.07948068564, 0.5328693552, 0.05575940802),
                *(0.1067217532, 0.0457469626, 0.03773837592, 0.03365899787, 0.03580948221),
            ],
        ),
        ([0, 1], 0.5, "reverse", [0.1024699512, 0.8975300488]),
        ([1, 0.5, 0, -1], 0.1, "reverse", [0.4226605699, 0.2630555147, 0.190949266, 0.1233346494]),
        ([1, 1, 0, -1], 0.6, "forward", [0.4891639966, 0.4891639966, 0.02078853397, 0.0008834729207]),
        ([1, 1, 0, -1], 1.0, "forward", [0.5, 0.5, 0, 0]),
    ],
)
def test_printed_values(losses, tau, direction, expected):
    weights = worst_case_weights(losses, tau, direction=direction)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=6e-11)


def test_all_reference_values(shared):
    cases = json.loads((shared / "fixtures" / "theory.json").read_text())["cases"]
    checked = 0
    for case in cases:
        given, wanted = case["inputs"], case["outputs"]
        tolerance = {"rtol": case["rtol"], "atol": case["atol"]}
        if case["name"] in ("kl_dro_reverse", "kl_dro_forward"):
            direction = case["name"].removeprefix("kl_dro_")
            weights = worst_case_weights(given["losses"], given["tau"], given.get("present"), direction)
            np.testing.assert_allclose(weights, wanted["q"], **tolerance)
            np.testing.assert_allclose(weights @ np.array(given["losses"]), wanted["value"], **tolerance)
            gap = optimality_gap(given["losses"], weights, given["tau"], given.get("present"), direction)
            assert abs(gap) <= 1e-14
            value, unknown = dual_optimum(given["losses"], given["tau"], given.get("present"), direction)
            np.testing.assert_allclose(value, wanted["value"], **tolerance)
            np.testing.assert_allclose(unknown, float(wanted["nu" if direction == "reverse" else "beta"]), **tolerance)
            if direction == "reverse":
                kept = weights[np.array(given["present"] or [True] * len(weights))]
                np.testing.assert_allclose(divergence(kept, direction), wanted["kl"], **tolerance)
            checked += 1
        if case["name"] == "kl_dro_reverse_weight_range":
            smallest, largest = attainable_range(given["C"], given["tau"])
            np.testing.assert_allclose([smallest, largest], [wanted["q_min"], wanted["q_max"]], **tolerance)
            checked += 1
    assert checked == 24


def test_public_convex_program_of_the_paper(shared):
    """Its objective sums over samples: a class scores its count times its loss, a missing class 0."""
    cases = json.loads((shared / "fixtures" / "methods" / "faal_weights.json").read_text())["cases"]
    assert len(cases) == 14
    for case in cases:
        counts = np.bincount(case["labels"], minlength=len(case["class_loss"]))
        scores = np.where(counts > 0, counts * np.array(case["class_loss"]), 0)
        weights = worst_case_weights(scores, case["tau"])
        np.testing.assert_allclose(weights, case["weights"], rtol=0, atol=2e-4)
        np.testing.assert_allclose(weights @ scores, case["objective"], rtol=0, atol=1e-5 * np.ptp(scores))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("tau", [0.01, 0.3, 0.9])
def test_brute_force_on_three_classes(direction, tau):
    """A general-purpose optimiser finds nothing better, and comes close."""
    losses = np.array([0.2, -0.5, 0.9])
    weights = worst_case_weights(losses, tau, direction=direction)
    found = minimize(
        lambda q: -q @ losses,
        np.full(3, 1 / 3),
        bounds=[(1e-9, 1)] * 3,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "ineq", "fun": lambda q: tau - divergence(q, direction)},
        ],
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert found.success
    assert -found.fun == pytest.approx(weights @ losses, abs=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_convex_solver_agrees(direction, classes):
    cvxpy = pytest.importorskip("cvxpy")
    generator = np.random.default_rng(classes)
    for trial in range(7):
        losses = generator.standard_normal(classes)
        if trial % 3 == 0:
            losses = losses.round(0)
        tau = float(np.exp(generator.uniform(math.log(0.01), math.log(2))))
        weights = worst_case_weights(losses, tau, direction=direction)
        q, centre = cvxpy.Variable(classes), np.full(classes, 1 / classes)
        ball = cvxpy.kl_div(centre, q) if direction == "reverse" else cvxpy.kl_div(q, centre)
        program = cvxpy.Problem(cvxpy.Maximize(losses @ q), [cvxpy.sum(ball) <= tau, cvxpy.sum(q) == 1])
        program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10, tol_ktratio=1e-8)
        assert abs(program.value - weights @ losses) <= 1e-8 * np.ptp(losses)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 10, 43, 100, 200])
@pytest.mark.parametrize("problems", [1, 300])
def test_optimality_conditions(kind, classes, problems):
    """Active constraint, order of the losses, and a gap of rounding size: together they prove the optimum."""
    generator = np.random.default_rng([classes, problems])
    losses, tau = KINDS[kind](generator, problems, classes), radii(generator, problems)
    keep = np.ptp(losses, -1) > 1e-14 * abs(losses).max(-1)
    losses, tau = losses[keep], tau[keep]
    weights = worst_case_weights(losses, tau)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-14)
    assert (np.diff(np.take_along_axis(weights, losses.argsort(-1), -1), axis=-1) >= 0).all()
    assert (np.abs(optimality_gap(losses, weights, tau)) <= 1e-12 * np.ptp(losses, -1)).all()
    # Rounding of the weights alone moves the divergence by about 1e-16 sqrt(C tau).
    resolved = weights.min(-1) > 1e-250
    wrong = np.abs(divergence(weights, "reverse") - tau)
    assert (wrong <= 1e-11 * tau + 1e-14 * np.sqrt(tau) + 1e-15)[resolved].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 10, 43, 200])
@pytest.mark.parametrize("problems", [1, 300])
def test_optimality_conditions_forward(kind, classes, problems):
    """The divergence is tau, or the largest one if tau exceeds it; log weights are affine in the losses."""
    generator = np.random.default_rng([classes, problems])
    losses, tau = KINDS[kind](generator, problems, classes), radii(generator, problems)
    keep = np.ptp(losses, -1) > 1e-14 * abs(losses).max(-1)
    losses, tau = losses[keep], tau[keep]
    tau[::2] = np.log(classes) * generator.random(len(tau[::2]))  # radii near the largest divergence too
    weights = worst_case_weights(losses, tau, direction="forward")
    top = losses == losses.max(-1, keepdims=True)
    largest = np.log(classes / top.sum(-1))
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-14)
    wanted = np.minimum(tau, largest)
    wrong = np.abs(divergence(weights, "forward") - wanted)
    assert (wrong <= 1e-11 * wanted + 1e-14 * np.sqrt(wanted) + 1e-15).all()
    saturated = tau >= largest
    np.testing.assert_allclose(weights[saturated], (top / top.sum(-1, keepdims=True))[saturated], atol=1e-15)
    assert (np.abs(optimality_gap(losses, weights, tau, direction="forward")) <= 1e-12 * np.ptp(losses, -1)).all()
    for row, q in zip(losses[~saturated], weights[~saturated], strict=True):
        usable = q > 1e-200
        row, logs = row[usable] - row.max(), np.log(q[usable])
        if np.ptp(logs) < 1e-4:  # the slope would be rounding
            continue
        slope = np.ptp(logs) / np.ptp(row)
        assert np.abs(logs - logs.max() - slope * row).max() <= 1e-10 * (1 + np.ptp(logs))


@pytest.mark.parametrize("distance", [1e-5, 1e-8, 1e-11])
def test_forward_radius_just_below_the_largest_divergence(distance):
    losses = np.array([0.4, 0.4, 0.1, -0.3, -0.2])
    largest = math.log(5 / 2)
    below = worst_case_weights(losses, largest - distance, direction="forward")
    assert (below > 0).all()
    assert divergence(below, "forward") == pytest.approx(largest - distance, abs=1e-14)
    above = worst_case_weights(losses, largest + distance, direction="forward")
    assert above.tolist() == [0.5, 0.5, 0, 0, 0]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gap_bounds_the_error_of_any_weights(direction):
    """Against the optimum, for feasible weights that are not optimal."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        losses = generator.standard_normal(6)
        tau = float(radii(generator, 1, 1e-3)[0])
        best = worst_case_weights(losses, tau, direction=direction)
        nearby = losses + 0.3 * generator.standard_normal(6)
        other = worst_case_weights(nearby, tau * generator.random(), direction=direction)
        error = (best - other) @ losses
        gap = optimality_gap(losses, other, tau, direction=direction)
        assert error > 0 or (direction == "forward" and other.max() == 1)  # both have all weight on the largest loss
        assert error - 1e-14 <= gap <= error + 1e-12


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_dual_equals_the_primal(direction, kind):
    """Its value, and the weights that its unknown gives."""
    generator = np.random.default_rng(5)
    losses, tau = KINDS[kind](generator, 200, 10), radii(generator, 200, 1e-6)
    losses = losses[np.ptp(losses, -1) > 1e-12 * abs(losses).max(-1)]
    tau = np.minimum(tau[: len(losses)], 3)
    weights = worst_case_weights(losses, tau, direction=direction)
    value, unknown = dual_optimum(losses, tau, direction=direction)
    size = np.abs(losses).max(-1)
    assert (np.abs(value - (weights * losses).sum(-1)) <= 1e-14 * size).all()
    if kind == "heavy tails":  # nu and the largest loss agree in all digits: the weights cannot be read off
        return
    if direction == "reverse":
        assert (unknown > losses.max(-1)).all()
        share = 1 / (unknown[:, None] - losses)
    else:
        assert ((unknown == 0) == (tau >= np.log(10 / (losses == losses.max(-1, keepdims=True)).sum(-1)))).all()
        share = np.exp((losses - losses.max(-1, keepdims=True)) / np.maximum(unknown, 1e-300)[:, None])
    # Below, the unknown is rounded to the digits of the losses, and with it the weights.
    rounding = 1e-14 * size / np.ptp(losses, -1)
    apart = np.abs(share / share.sum(-1, keepdims=True) - weights).max(-1)
    assert (apart <= 1e-11 + 1e2 * rounding).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_dual_where_nothing_is_to_choose(direction):
    value, unknown = dual_optimum([0.3, 0.3, 0.3], 0.5, direction=direction)
    assert (value, unknown) == (pytest.approx(0.3), math.inf)
    value, unknown = dual_optimum(torch.tensor(LOSSES), 0.0, direction=direction)
    assert value.item() == pytest.approx(np.mean(LOSSES), abs=1e-7)
    assert unknown.item() == math.inf
    present = torch.tensor([[False] * 3, [False, True, False]])
    value, unknown = dual_optimum(torch.tensor([math.nan, 2.0, -1.0]).expand(2, 3), 0.5, present, direction)
    assert value.tolist() == [0, 2]
    assert unknown.tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_absent_classes_leave_the_reduced_problem(direction):
    generator = np.random.default_rng(1)
    for classes in (2, 10, 100):
        losses = generator.standard_normal((20, classes))
        tau = radii(generator, 20, 1e-4)
        present = generator.random((20, classes)) > 0.4
        present[:, 0] = True
        filled = np.where(present, losses, generator.choice([math.nan, math.inf, -1e30], (20, classes)))
        weights = worst_case_weights(filled, tau, present, direction)
        assert (weights[~present] == 0).all()
        for row, radius, mask, q in zip(losses, tau, present, weights, strict=True):
            reduced = worst_case_weights(row[mask], radius, direction=direction)
            np.testing.assert_allclose(q[mask], reduced, rtol=1e-9, atol=1e-13)
        gaps = optimality_gap(filled, weights, tau, present, direction)
        assert (np.abs(gaps) <= 1e-12).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_class_or_one_class_present(direction):
    losses = torch.rand(2, 4, dtype=torch.float64)
    present = torch.tensor([[False] * 4, [False, True, False, False]])
    weights = worst_case_weights(losses, 0.5, present, direction)
    assert weights.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert optimality_gap(losses, weights, 0.5, present, direction).abs().max() == 0
    assert worst_case_weights([3.0], 0.5, direction=direction).tolist() == [1]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("classes", [3, 10, 100])
def test_batch_equals_loop(direction, classes):
    generator = torch.Generator().manual_seed(classes)
    losses = torch.randn(6, 7, classes, generator=generator, dtype=torch.float64)
    tau = 2 * torch.rand(6, 7, generator=generator, dtype=torch.float64)
    batch = worst_case_weights(losses, tau, direction=direction)
    assert batch.shape == losses.shape
    for i in range(6):
        for j in range(7):
            single = worst_case_weights(losses[i, j], tau[i, j].item(), direction=direction)
            torch.testing.assert_close(batch[i, j], single, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_problem_at_several_radii_broadcasts(direction):
    tau = np.array([[0.0], [0.1], [0.5]])
    weights = worst_case_weights(LOSSES, tau, direction=direction)
    assert weights.shape == (3, 1, 10)
    for radius, q in zip(tau[:, 0], weights[:, 0], strict=True):
        np.testing.assert_allclose(q, worst_case_weights(LOSSES, float(radius), direction=direction), atol=1e-14)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_permutation_shift_and_scale(direction):
    generator = np.random.default_rng(2)
    for classes in (3, 10, 100):
        losses = generator.standard_normal((30, classes))
        tau = radii(generator, 30, 1e-4)
        weights = worst_case_weights(losses, tau, direction=direction)
        order = generator.permutation(classes)
        permuted = worst_case_weights(losses[:, order], tau, direction=direction)
        np.testing.assert_allclose(permuted, weights[:, order], rtol=0, atol=1e-12)
        moved = worst_case_weights(3 + 7 * losses, tau, direction=direction)
        np.testing.assert_allclose(moved, weights, rtol=0, atol=1e-10)


def test_value_is_concave_and_increasing_in_tau():
    tau = np.linspace(0, 4, 81)
    values = worst_case_weights(LOSSES, tau) @ np.array(LOSSES)
    assert (np.diff(values) > 0).all()
    assert (np.diff(values, 2) < 0).all()
    spread = np.ptp(LOSSES)
    assert (values - np.mean(LOSSES) <= spread * np.sqrt(tau / 2)).all()  # Pinsker
    small = worst_case_weights(LOSSES, 1e-8) @ np.array(LOSSES) - np.mean(LOSSES)
    assert small == pytest.approx(np.std(LOSSES) * math.sqrt(2e-8), rel=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_flat_losses_and_no_radius_give_uniform(direction):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        weights = worst_case_weights(torch.full((5,), 0.3, dtype=dtype), 0.5, direction=direction)
        assert weights.dtype == dtype
        assert (weights == torch.tensor(0.2, dtype=dtype)).all()
    rounding = torch.full((5,), 0.3) + torch.tensor([0, 1, -1, 0, 1]) * torch.finfo(torch.float32).eps * 0.25
    assert rounding.unique().numel() > 1
    assert (worst_case_weights(rounding, 0.5, direction=direction) == 0.2).all()
    assert (worst_case_weights(LOSSES, 0.0, direction=direction) == 0.1).all()
    assert (worst_case_weights(LOSSES, 0, direction=direction) == 0.1).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("tau", [0.0, 1e-12, 50.0, 1e4])
def test_extreme_radii_stay_finite(direction, tau):
    for classes in (2, 10, 200):
        losses = np.random.default_rng(3).standard_normal(classes)
        weights = worst_case_weights(losses, tau, direction=direction)
        assert np.isfinite(weights).all()
        assert weights.sum() == pytest.approx(1, abs=1e-14)
        if tau >= 50:
            assert weights[losses.argmax()] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("tau", [1e-6, 0.05, 0.5, 3.0])
def test_attainable_range_are_the_two_roots(classes, tau):
    def excess(log_x):
        x = math.exp(log_x)
        rest = math.log(classes / (classes - 1)) + math.log1p(-x)
        return -(math.log(classes) + log_x + (classes - 1) * rest) / classes - tau

    middle = -math.log(classes)
    smallest, largest = attainable_range(classes, tau)
    low = brentq(excess, -classes * tau - 60, middle, xtol=1e-15, rtol=1e-14)
    high = brentq(excess, middle, -1e-16, xtol=1e-300, rtol=1e-14)
    assert smallest == pytest.approx(math.exp(low), rel=1e-8)
    assert largest == pytest.approx(math.exp(high), rel=1e-8)
    weights = worst_case_weights(np.random.default_rng(4).standard_normal((200, classes)), tau)
    assert smallest * (1 - 1e-9) <= weights.min()
    assert weights.max() <= largest * (1 + 1e-9)


def test_attainable_range_without_choice():
    assert attainable_range(1, 0.5) == (1, 1)
    assert attainable_range(4, 0.0) == (0.25, 0.25)


def test_attainable_range_of_an_array_of_radii():
    tau = np.array([[0.0, 0.05, 0.5], [1.0, 3.0, 20.0]])
    smallest, largest = attainable_range(10, tau)
    assert smallest.shape == largest.shape == tau.shape
    for at in np.ndindex(tau.shape):
        assert (smallest[at], largest[at]) == pytest.approx(attainable_range(10, tau[at]), rel=1e-12)
    assert [each.shape for each in attainable_range(2, [0.5])] == [(1,), (1,)]
    assert all(isinstance(each, float) for each in attainable_range(np.int64(2), np.float64(0.5)))


def test_types_follow_the_input():
    assert worst_case_weights(torch.tensor(LOSSES), 0.5).dtype == torch.float32
    assert worst_case_weights(torch.tensor([0, 1]), 0.5).dtype == torch.float64
    assert worst_case_weights(np.array(LOSSES, dtype=np.float32), 0.5).dtype == np.float32
    assert isinstance(worst_case_weights(LOSSES, 0.5), np.ndarray)
    losses = torch.tensor(LOSSES, requires_grad=True)
    assert not worst_case_weights(losses, 0.5).requires_grad


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_cannot_be_refused_on_a_device_shows_as_nan(direction):
    losses = torch.tensor([[0.0, math.nan, 1.0], [0.0, math.inf, 1.0], [0.0, 0.5, 1.0]])
    tau = torch.tensor([0.5, 0.5, -0.1])
    assert worst_case_weights(losses, tau, direction=direction).isnan().all()


def test_mistakes_are_named():
    for tau in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="radius of the ball"):
            worst_case_weights(LOSSES, tau)
    with pytest.raises(ValueError, match="'backward' is unknown"):
        worst_case_weights(LOSSES, 0.5, direction="backward")
    with pytest.raises(ValueError, match="'backward' is unknown"):
        optimality_gap(LOSSES, LOSSES, 0.5, direction="backward")
    with pytest.raises(ValueError, match="'backward' is unknown"):
        dual_optimum(LOSSES, 0.5, direction="backward")
    with pytest.raises(ValueError, match="boolean mask over the 10 classes"):
        worst_case_weights(torch.tensor(LOSSES), 0.5, present=torch.ones(10))
    with pytest.raises(ValueError, match="boolean mask over the 10 classes"):
        worst_case_weights(LOSSES, 0.5, present=[True, False])
    with pytest.raises(ValueError, match="must hold the classes"):
        worst_case_weights(torch.zeros(3, 0), 0.5)
    for classes in (0, 2.5):
        with pytest.raises(ValueError, match="a whole number of at least 1"):
            attainable_range(classes, 0.5)
    with pytest.raises(ValueError, match="radius of the ball"):
        attainable_range(2, [0.5, -0.1])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_shapes_that_do_not_fit_are_named(direction):
    losses, right, wrong = torch.rand(4, 3), torch.full((4,), 0.5), torch.full((2,), 0.5)
    present = torch.ones(2, 3, dtype=torch.bool)
    for solve in (worst_case_weights, dual_optimum):
        with pytest.raises(ValueError, match=r"tau is for problems of shape \(2,\), the losses are of \(4,\)"):
            solve(losses, wrong, direction=direction)
        with pytest.raises(ValueError, match=r"present is for problems of shape \(2,\), the losses are of \(4,\)"):
            solve(losses, right, present, direction)
    with pytest.raises(ValueError, match="tau is for problems"):
        worst_case_weights(losses.numpy(), wrong.numpy(), direction=direction)
    for weights in (torch.rand(4, 2), torch.rand(4, 1), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="the last dimension must hold the 3 classes"):
            optimality_gap(losses, weights, right, direction=direction)
    with pytest.raises(ValueError, match=r"weights is for problems of shape \(2,\)"):
        optimality_gap(losses, torch.rand(2, 3), right, direction=direction)
    assert optimality_gap(losses, torch.rand(3), right, direction=direction).shape == (4,)


class Recorder(TorchDispatchMode):
    """Names of all operations that reach a device."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", [(10,), (40, 100)])
def test_nothing_is_read_back_to_the_host(direction, shape):
    losses, present = torch.rand(shape), torch.rand(shape) > 0.2
    tau = torch.full(shape[:-1], 0.5)
    with Recorder() as seen:
        worst_case_weights(losses, 0.5, direction=direction)
        worst_case_weights(losses, tau, present, direction)
        optimality_gap(losses, losses, 0.5, present, direction)
        dual_optimum(losses, tau, present, direction)
    reads = {"_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "masked_select", "unique"}
    assert len(seen.names) > 100
    assert not reads & set(seen.names)
    # Tensors without data: any look at a value raises.
    meta = worst_case_weights(losses.to("meta"), tau.to("meta"), present.to("meta"), direction)
    assert meta.shape == shape


@pytest.mark.gpu
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gpu_equals_cpu_without_synchronising(direction):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for shape in ((10,), (64, 100)):
        losses = torch.randn(shape, dtype=torch.float64)
        present = torch.rand(shape) > 0.2
        wanted = worst_case_weights(losses, 0.5, present, direction)
        moved, mask = losses.cuda(), present.cuda()
        torch.cuda.set_sync_debug_mode("error")
        try:
            weights = worst_case_weights(moved, 0.5, mask, direction)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.testing.assert_close(weights.cpu(), wanted, rtol=0, atol=1e-12)
