"""The l_1 ball in the box against enumeration, a quadratic program and certificates; PGD in it on linear models."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from torch import Tensor, nn

from classwise.attacks import PGD, Inner, attack_list
from classwise.attacks.losses import logit_margin
from classwise.configuration import from_plain, replace, to_plain
from classwise.l1_ball import sparse_ascent
from classwise.randomness import GeneratorNoise, KeyedNoise
from classwise.theory.linear import boxed_robust_margin, robust_margin
from classwise.threat import ThreatModel, l1, linf

BALL = l1(1)


def noise(n: int, seed: int = 0) -> KeyedNoise:
    return KeyedNoise(seed, torch.arange(n))


def points(samples: int, *shape: int, spread: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points to project, centres of which a third of the coordinates lie on the box, and radii from 0 upwards."""
    generator = torch.Generator().manual_seed(seed)
    x = (1.6 * torch.rand(samples, *shape, generator=generator, dtype=torch.float64) - 0.3).clamp(0, 1)
    x_adv = x + spread * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    most = 0.4 * x[0].numel() * spread
    return x_adv, x, torch.linspace(0, most, samples, dtype=torch.float64)


def by_enumeration(x_adv: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """The projection by trying which coordinates stay, which move freely and which reach the box."""
    wanted = x_adv - x
    size, room = np.abs(wanted), np.where(wanted > 0, 1 - x, x)
    best, shortest = x, np.sum(wanted**2)
    for case in itertools.product((0, 1, 2), repeat=len(x)):
        state = np.array(case)
        for binding in (False, True):
            moving = state == 1
            if binding and not moving.any():
                continue
            excess = (size[moving].sum() + room[state == 2].sum() - radius) / moving.sum() if binding else 0.0
            length = np.where(moving, size - excess, np.where(state == 2, room, 0.0))
            if (length < 0).any() or (length > room + 1e-14).any() or length.sum() > radius + 1e-13:
                continue
            distance = np.sum((wanted - np.sign(wanted) * length) ** 2)
            if distance < shortest:
                best, shortest = x + np.sign(wanted) * length, distance
    return best


def farthest(slope: np.ndarray, x: np.ndarray, radius: float) -> float:
    """The largest ``slope . (z - x)`` over the points z of ball and box: steepest coordinates first."""
    gained, left = 0.0, radius
    for j in np.argsort(-np.abs(slope)):
        step = min(left, 1 - x[j] if slope[j] > 0 else x[j])
        gained, left = gained + abs(slope[j]) * step, left - step
    return gained


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_projection_equals_enumeration(dimensions: int) -> None:
    x_adv, x, radius = points(60, dimensions, seed=dimensions)
    projected = BALL.project(x_adv, x, radius)
    expected = [by_enumeration(a.numpy(), b.numpy(), float(r)) for a, b, r in zip(x_adv, x, radius, strict=True)]
    np.testing.assert_allclose(projected.numpy(), np.array(expected), rtol=0, atol=1e-12)
    single = BALL.project(x_adv.float(), x.float(), radius.float())
    np.testing.assert_allclose(single.numpy(), np.array(expected), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_the_projection_equals_a_quadratic_program() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    x_adv, x, radius = points(40, 30, seed=9)
    projected = BALL.project(x_adv, x, radius).numpy()
    for i in range(1, 40):
        z = cvxpy.Variable(30)
        inside = [cvxpy.norm1(z - x[i].numpy()) <= float(radius[i]), z >= 0, z <= 1]
        program = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(z - x_adv[i].numpy())), inside)
        program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
        np.testing.assert_allclose(projected[i], z.value, rtol=0, atol=1e-8)


# Dense in zeros, ones and equal values, where the sorted bends coincide.
_value = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
_wish = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), st.floats(-3, 3))


@st.composite
def problems(draw: Any) -> tuple[np.ndarray, np.ndarray, float]:
    size = draw(st.integers(1, 8))
    x = draw(arrays(float, size, elements=_value))
    return (
        draw(arrays(float, size, elements=_wish)),
        x,
        draw(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 6))),
    )


@given(problems())
def test_no_point_of_the_set_is_nearer(problem: tuple[np.ndarray, np.ndarray, float]) -> None:
    """p is the projection of v exactly if no z of the set has ``(v - p) . (z - p) > 0``; the largest is known."""
    x_adv, x, radius = problem
    projected = _project(x_adv, x, radius)
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert np.abs(projected - x).sum() <= radius + 1e-12
    residual = x_adv - projected
    assert farthest(residual, x, radius) - residual @ (projected - x) <= 1e-11
    np.testing.assert_allclose(_project(projected, x, radius), projected, rtol=0, atol=1e-14)
    generator = np.random.default_rng(0)
    for _ in range(5):
        other = _project(x + generator.normal(size=len(x)), x, radius)
        assert np.sum((x_adv - other) ** 2) >= np.sum(residual**2) - 1e-11


@given(arrays(float, st.integers(1, 8), elements=_wish), st.floats(0, 6))
def test_the_plain_ball_satisfies_moreau(delta: np.ndarray, radius: float) -> None:
    """The rest of a projection onto the l_1 ball is the proximal point of the dual norm, ``radius * l_inf``."""
    shrunk = BALL.shrink(torch.from_numpy(delta)[None], torch.tensor([radius], dtype=torch.float64))[0].numpy()
    rest = delta - shrunk
    assert np.abs(shrunk).sum() <= radius + 1e-12
    assert radius * np.abs(rest).max() - rest @ shrunk <= 1e-11


def _project(x_adv: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    given_radius = torch.tensor([radius], dtype=torch.float64)
    return BALL.project(torch.from_numpy(x_adv)[None], torch.from_numpy(x)[None], given_radius)[0].numpy()


def test_by_hand_and_why_clipping_is_not_enough() -> None:
    x = torch.tensor([[0.9, 0.5, 0.5]], dtype=torch.float64)
    x_adv = x + torch.tensor([[1.0, 0.4, 0.1]], dtype=torch.float64)
    radius = torch.tensor([0.4], dtype=torch.float64)
    exact = torch.tensor([[1.0, 0.8, 0.5]], dtype=torch.float64)  # 0.1 to the box, 0.3 of the 0.4, nothing of the 0.1
    assert torch.allclose(BALL.project(x_adv, x, radius), exact, rtol=0, atol=1e-15)
    shrunk = torch.tensor([[0.4, 0.0, 0.0]], dtype=torch.float64)  # 1 - 0.6, 0.4 - 0.6 < 0
    assert torch.allclose(BALL.shrink(x_adv - x, radius), shrunk, rtol=0, atol=1e-15)
    clipped = (x + BALL.shrink(x_adv - x, radius)).clamp(0, 1)
    assert float(BALL.distance(clipped, x)) == pytest.approx(0.1)  # a quarter of the radius is left
    assert float((clipped - x_adv).norm()) > float((exact - x_adv).norm()) + 0.05


def test_far_from_the_box_it_is_the_plain_ball() -> None:
    x_adv, x, radius = points(40, 3, 4, 4, spread=0.1, seed=3)
    x_adv, x = x_adv - x + 0.5, torch.full_like(x, 0.5)
    assert float((x_adv - x).abs().max()) < 0.5
    expected = x + BALL.shrink(x_adv - x, radius)
    assert torch.allclose(BALL.project(x_adv, x, radius), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rounding_never_leaves_the_ball(dtype: torch.dtype) -> None:
    """Thousands of roundings to nearest would; in float32 by more than the base class lets pass."""
    exact, x, radius = points(30, 3, 32, 32, seed=5)
    x_adv, x, radius = exact.to(dtype), x.to(dtype), radius.to(dtype)
    projected = BALL.project(x_adv, x, radius)
    assert projected.dtype == dtype
    assert bool((BALL.distance(projected, x) <= radius.double() + (1e-11 if dtype == torch.float64 else 0)).all())
    assert float(projected.min()) == 0
    assert float(projected.max()) == 1
    assert torch.equal(projected[0], x[0])
    again = BALL.project(projected, x, radius)
    assert torch.allclose(again, projected, rtol=0, atol=1e-15)
    slack = 2 * radius.double() + 3072
    assert torch.equal(BALL.project(x_adv.clamp(0, 1), x, slack.to(dtype)), x_adv.clamp(0, 1))


def test_coordinates_that_do_not_change_are_the_originals() -> None:
    x_adv, x, _ = points(10, 3, 16, 16, seed=6)
    projected = BALL.project(x_adv.float(), x.float(), torch.full((10,), 2.0))
    assert bool(((projected == x.float()).flatten(1).float().mean(1) > 0.9).all())


def test_radii_per_sample_equal_a_loop() -> None:
    x_adv, x, radius = points(30, 2, 3, 3, seed=7)
    together, shrunk = BALL.project(x_adv, x, radius), BALL.shrink(x_adv - x, radius)
    for i in range(30):
        one = slice(i, i + 1)
        assert torch.allclose(together[one], BALL.project(x_adv[one], x[one], radius[one]), rtol=0, atol=1e-14)
        assert torch.allclose(shrunk[one], BALL.shrink(x_adv[one] - x[one], radius[one]), rtol=0, atol=1e-14)
    assert torch.equal(together[0], x[0])
    assert torch.equal(shrunk[0], torch.zeros_like(x[0]))


@pytest.mark.slow
def test_nothing_waits_for_the_host() -> None:
    """On tensors without data, an operation whose course depends on values is an error."""
    x, radius = torch.empty(4, 3, 8, 8, device="meta"), torch.empty(4, device="meta")
    start = BALL.uniform_start(x, radius, GeneratorNoise(None))  # type: ignore[arg-type]
    for made in (BALL.project(x, x, radius), BALL.shrink(x, radius), BALL.ascent(x, x, 0.1), start):
        assert made.shape == x.shape
    assert BALL.distance(x, x).shape == (4,)


def test_distance_adds_all_changes() -> None:
    x = torch.zeros(2, 1, 2, 2)
    x_adv = torch.tensor([[0.5, 0.25, 0.0, 0.25], [0.0, 1.0, 1.0, 1.0]]).view_as(x)
    assert torch.equal(BALL.distance(x_adv, x), torch.tensor([1.0, 3.0], dtype=torch.float64))


def test_random_starts_are_uniform_in_the_ball() -> None:
    x = torch.full((20_000, 3), 0.5, dtype=torch.float64)
    radius = torch.full((20_000,), 0.4, dtype=torch.float64)
    change = (BALL.uniform_start(x, radius, noise(20_000)) - x).numpy() / 0.4
    assert stats.kstest(np.abs(change).sum(1) ** 3, "uniform").pvalue > 1e-3  # volume within a length, of 3 dimensions
    for j in range(3):
        assert stats.kstest(np.abs(change[:, j]), stats.beta(1, 3).cdf).pvalue > 1e-3
    octant = (change > 0) @ np.array([1, 2, 4])
    assert stats.chisquare(np.bincount(octant, minlength=8)).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_random_starts_are_in_ball_and_box(dtype: torch.dtype) -> None:
    _, x, radius = points(50, 3, 16, 16, seed=8)
    x, radius = x.to(dtype), radius.to(dtype)
    start = BALL.uniform_start(x, radius, noise(50))
    assert start.dtype == dtype
    assert bool((BALL.distance(start, x) <= radius.double() + 1e-9).all())
    assert float(start.min()) >= 0
    assert float(start.max()) <= 1
    assert torch.equal(start[0], x[0])
    assert bool((start[1:] != x[1:]).flatten(1).any(1).all())


def test_a_step_moves_the_largest_share_that_the_box_lets_move() -> None:
    gradient = torch.tensor([[3.0, -1.0, 2.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[0.6, 0.0, 0.4, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.allclose(BALL.ascent(gradient, None, 0.5), expected)
    assert torch.equal(BALL.ascent(gradient)[0], torch.tensor([1.0, 0.0, 0.0, 0.0]))  # at least one
    everything = BALL.ascent(gradient, None, 1.0)
    assert torch.allclose(everything, gradient / gradient.abs().sum(1, keepdim=True).clamp_min(1))
    at_the_box = torch.tensor([[1.0, 0.0, 0.0, 0.5], [0.5, 0.5, 0.5, 0.5]])
    # 3 up at 1 and -1 down at 0 are held; they are pushed on, by at most a whole step, and not counted.
    step = sparse_ascent(gradient, at_the_box, 0.25)[0]
    assert torch.equal(step, torch.tensor([1.0, -0.5, 1.0, 0.0]))
    held = sparse_ascent(gradient[:1].sign(), torch.tensor([[1.0, 0.0, 1.0, 1.0]]), 0.25)
    assert torch.equal(held, torch.tensor([[1.0, -1.0, 1.0, 1.0]]))


def two_classes(model: nn.Sequential, rival: int) -> nn.Sequential:
    pair = nn.Sequential(nn.Flatten(), nn.Linear(18, 2)).double()
    with torch.no_grad():
        pair[1].weight.copy_(model[1].weight[[0, rival]])
        pair[1].bias.copy_(model[1].bias[[0, rival]])
    return pair


def margin(model: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    return logit_margin(model(x), y).detach()


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
@pytest.mark.parametrize(("share", "steps", "length"), [(0.01, 20, 0.25), (0.2, 150, 2.0), (1.0, 120, 10.0)])
@pytest.mark.parametrize("start", ["none", "uniform"])
def test_pgd_reaches_the_boxed_margin_of_two_classes(
    loss: Any,
    share: float,
    steps: int,
    length: float,
    start: Any,
    linear: nn.Sequential,
    images: tuple[Tensor, Tensor],
) -> None:
    """Also where the steepest coordinates lie at the box, and with any share: it comes to rest at the optimum.

    Steps that move many coordinates tell near-equal slopes apart slowly, and are therefore made longer here.
    """
    x, _ = images
    model, y = two_classes(linear, 3), torch.arange(len(x)) % 2
    radius = torch.linspace(0.1, 4, 40, dtype=x.dtype)
    attack = PGD(steps=steps, relative_step=length, loss=loss, start=start, l1_share=share)
    x_adv = attack(model, x, y, threat=l1(2), noise=noise(40), radius=radius)
    exact = boxed_robust_margin(model[1].weight, model[1].bias, x, y, radius, "l1").detach()
    assert torch.allclose(margin(model, x_adv, y), exact, rtol=0, atol=1e-12)
    free = robust_margin(model[1].weight, model[1].bias, x, y, "l1", radius).detach()
    assert float((exact - free).min()) > -1e-12
    assert float((exact - free).max()) > 0.1  # the box matters
    assert bool((BALL.distance(x_adv, x) <= radius + 1e-12).all())


def test_pgd_reaches_the_boxed_margin_of_five_classes(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """The rival may change on the way, so restarts are needed; the margin must never be below the exact one."""
    x, y = images
    exact = boxed_robust_margin(linear[1].weight, linear[1].bias, x, y, 0.8, "l1").detach()
    attack = PGD(steps=30, loss="margin", restarts=8)
    found = margin(linear, attack(linear, x, y, threat=l1(0.8), noise=noise(40)), y)
    assert bool((found >= exact - 1e-12).all())
    assert int((found - exact < 1e-9).sum()) >= 36
    one_step = PGD(steps=1, loss="margin", relative_step=0.3, start="none")(
        linear, x, y, threat=l1(0.8), noise=noise(40)
    )
    assert bool((margin(linear, one_step, y) > exact + 1e-6).all())  # a weak attack is seen to be weak


def test_fgsm_is_exact_for_two_classes_in_linf(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    (fgsm,) = attack_list("fgsm")
    x, _ = images
    model, y = two_classes(linear, 2), torch.arange(len(x)) % 2
    radius = torch.linspace(0, 0.3, 40, dtype=x.dtype)
    x_adv = fgsm(model, x, y, threat=linf("0.3"), noise=noise(40), radius=radius)
    exact = boxed_robust_margin(model[1].weight, model[1].bias, x, y, radius).detach()
    assert torch.allclose(margin(model, x_adv, y), exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("inner", [Inner(), Inner(loss="kl", start="gauss"), Inner(loss="dlr", start="none")])
def test_a_radius_per_sample_equals_a_loop_over_scalar_radii(
    inner: Inner, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    radius = torch.linspace(0, 3, 40, dtype=x.dtype)
    attack = PGD(steps=7, l1_share=0.1)
    together = attack(linear, x, y, threat=l1(2), noise=noise(40), radius=radius, inner=inner)
    for i in range(40):
        one = slice(i, i + 1)
        alone = attack(
            linear,
            x[one],
            y[one],
            threat=l1(2),
            noise=KeyedNoise(0, torch.tensor([i])),
            radius=radius[one],
            inner=inner,
        )
        assert torch.allclose(together[one], alone, rtol=0, atol=1e-12), i
    assert torch.equal(together[0], x[0])
    assert float(BALL.distance(together, x)[-1]) > 2.2  # a large radius is used, not cut to the base


def test_pgd_accepts_dlr_and_finds_what_margin_finds(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    fooled = {}
    for loss in ("margin", "dlr"):
        attack = PGD(steps=30, loss=loss, restarts=4)
        fooled[loss] = margin(linear, attack(linear, x, y, threat=l1(0.5), noise=noise(40)), y) <= 0
    assert 4 < int(fooled["margin"].sum()) < 40
    assert torch.equal(fooled["dlr"], fooled["margin"])


def test_the_threat_is_written_and_read(linear: nn.Sequential) -> None:
    threat = l1(12)
    assert str(threat) == "l1 12"
    assert from_plain(ThreatModel, to_plain(threat)) == threat
    assert replace(threat, radius="3060/255").radius == 12  # no upper limit: it depends on the size of the image
    for share in (0.0, -0.1, 1.5):
        with pytest.raises(ValueError, match=r"l1_share .* must be above 0 and at most 1"):
            PGD(l1_share=share)
