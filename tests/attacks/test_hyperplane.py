"""The shortest way to a hyperplane in the box against linear programs, enumeration and closed forms."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from classwise.attacks.hyperplane import dual_length, length_of, to_hyperplane

NORMS = ["linf", "l2", "l1"]


def along(weight: Tensor, delta: Tensor) -> Tensor:
    return (weight * delta).flatten(1).sum(1)


def cases(number: int, dimensions: int, reach: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points a third of whose coordinates lie on the box, weights some of which are 0, and gaps of both signs.

    The gaps are spread from 0 to ``reach`` times what the box allows in their direction.
    """
    generator = torch.Generator().manual_seed(seed)
    x = (1.6 * torch.rand(number, dimensions, generator=generator, dtype=torch.float64) - 0.3).clamp(0, 1)
    weight = torch.randn(number, dimensions, generator=generator, dtype=torch.float64)
    weight = weight * (torch.rand(weight.shape, generator=generator) > 0.15)
    up = (weight * torch.where(weight > 0, 1 - x, -x)).sum(1)
    down = (weight * torch.where(weight > 0, -x, 1 - x)).sum(1)
    share = reach * torch.linspace(0, 1, number, dtype=torch.float64)
    return x, weight, share * torch.where(torch.arange(number) % 2 == 0, up, down)


def shortest_by_program(x: np.ndarray, weight: np.ndarray, gap: float, norm: str) -> float:
    """Least length by a linear program: the displacement and bounds on its size are the unknowns."""
    n = len(x)
    bounds = 1 if norm == "linf" else n
    over = np.ones((n, 1)) if norm == "linf" else np.eye(n)
    sizes = np.block([[np.eye(n), -over], [-np.eye(n), -over]])
    found = linprog(
        np.r_[np.zeros(n), np.ones(bounds)],
        A_ub=sizes,
        b_ub=np.zeros(2 * n),
        A_eq=np.r_[weight, np.zeros(bounds)][None],
        b_eq=[gap],
        bounds=[*zip(-x, 1 - x, strict=True), *[(0, None)] * bounds],
    )
    assert found.success
    return float(found.fun)


def shortest_by_enumeration(x: np.ndarray, weight: np.ndarray, gap: float) -> np.ndarray:
    """The Euclidean solution by trying which coordinates rest at the lower end, at the upper end, or move freely."""
    best, least = None, np.inf
    for state in itertools.product((0, 1, 2), repeat=len(x)):
        held = np.array(state)
        moved = np.where(held == 0, -x, np.where(held == 1, 1 - x, 0.0))
        free = weight * (held == 2)
        missing = gap - weight @ moved
        if free.any():
            moved = moved + missing * free / (free @ free)
        elif abs(missing) > 1e-12:
            continue
        if (x + moved < -1e-12).any() or (x + moved > 1 + 1e-12).any():
            continue
        if moved @ moved < least:
            best, least = moved, moved @ moved
    assert best is not None
    return best


@pytest.mark.parametrize("norm", ["linf", "l1"])
@pytest.mark.parametrize("dimensions", [1, 2, 7])
def test_the_length_is_that_of_a_linear_program(norm: Any, dimensions: int) -> None:
    x, weight, gap = cases(80, dimensions, reach=0.99)
    delta = to_hyperplane(x, weight, gap, norm)
    exact = [shortest_by_program(*row, norm) for row in zip(x.numpy(), weight.numpy(), gap.tolist(), strict=True)]
    assert torch.allclose(length_of(delta, norm), torch.tensor(exact, dtype=torch.float64), rtol=0, atol=1e-9)
    assert torch.allclose(along(weight, delta), gap, rtol=0, atol=1e-12)
    assert float((x + delta).min()) >= -1e-15
    assert float((x + delta).max()) <= 1 + 1e-15


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_the_euclidean_way_equals_enumeration(dimensions: int) -> None:
    x, weight, gap = cases(40, dimensions, reach=0.99, seed=1)
    delta = to_hyperplane(x, weight, gap, "l2")
    exact = [shortest_by_enumeration(*row) for row in zip(x.numpy(), weight.numpy(), gap.tolist(), strict=True)]
    assert torch.allclose(delta, torch.from_numpy(np.stack(exact)), rtol=0, atol=1e-10)
    held = (weight != 0) & ((x + delta < 1e-12) | (x + delta > 1 - 1e-12)) & (delta.abs() > 0)
    if dimensions == 5:
        assert 5 < int(held.any(1).sum()) < 40  # the box matters to some of them


@pytest.mark.parametrize("norm", NORMS)
def test_far_from_the_box_the_way_is_the_closed_form(norm: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.full((20, 3, 4), 0.5, dtype=torch.float64)
    weight = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    gap = torch.linspace(-0.1, 0.1, 20, dtype=torch.float64)
    flat = weight.flatten(1)
    heaviest = flat.abs() == flat.abs().amax(1, keepdim=True)
    direction = {"linf": flat.sign(), "l2": flat, "l1": flat.sign() * heaviest}[norm]
    exact = direction * (gap / (flat * direction).sum(1))[:, None]
    delta = to_hyperplane(x, weight, gap, norm)
    assert torch.allclose(delta.flatten(1), exact, rtol=0, atol=1e-15)
    assert torch.allclose(length_of(delta, norm), gap.abs() / dual_length(weight, norm), rtol=1e-12, atol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("reach", [1.0, 1.01, 1000.0])
def test_out_of_reach_every_weighted_coordinate_goes_to_its_end(norm: Any, reach: float) -> None:
    x, weight, gap = cases(50, 6, reach=1.0, seed=3)
    gap = reach * torch.where(gap != 0, gap * 49 / torch.arange(50).clamp_min(1), 0)  # all at the same multiple
    weight[7] = 0.0
    gap[7] = 1.0
    towards = weight.sign() * gap.sign()[:, None]
    corner = torch.where(towards > 0, 1 - x, -x) * (towards != 0)
    delta = to_hyperplane(x, weight, gap, norm)
    assert torch.allclose(delta, corner, rtol=0, atol=1e-12)
    assert bool((delta[weight == 0] == 0).all())
    assert bool((weight == 0).any(1).sum() > 10)


@pytest.mark.parametrize("norm", NORMS)
def test_weights_too_small_to_count_do_no_harm(norm: Any) -> None:
    """Their squares underflow in single precision; out of reach of the first coordinate they cannot help either."""
    x, weight = torch.full((2, 3), 0.25), torch.tensor([1.0, 1e-30, 1e-42]).repeat(2, 1)
    delta = to_hyperplane(x, weight, torch.tensor([0.5, 5.0]), norm)
    assert torch.equal(delta, torch.tensor([[0.5, 0, 0], [0.75, 0, 0]]))


@pytest.mark.parametrize("norm", NORMS)
def test_no_gap_and_no_weight_mean_no_move(norm: Any) -> None:
    x, weight, _ = cases(10, 4, reach=0.5)
    assert not bool(to_hyperplane(x, weight, torch.zeros(10, dtype=torch.float64), norm).any())
    assert not bool(to_hyperplane(x, 0 * weight, torch.ones(10, dtype=torch.float64), norm).any())


@pytest.mark.parametrize("norm", NORMS)
def test_a_row_alone_is_the_row_in_company(norm: Any) -> None:
    x, weight, gap = cases(30, 48, reach=1.1, seed=4)
    together = to_hyperplane(x, weight, gap, norm)
    for i in range(30):
        alone = to_hyperplane(x[i : i + 1], weight[i : i + 1], gap[i : i + 1], norm)
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_single_precision_is_enough_for_images_and_gradients_of_any_scale(norm: Any, scale: float) -> None:
    """Gradients with a few dominant pixels, as those of networks are; 3,072 coordinates."""
    x, weight, gap = cases(24, 3072, reach=0.9, seed=5)
    weight = weight**3
    up = (weight * torch.where(weight > 0, 1 - x, -x)).sum(1)
    gap = up * torch.linspace(0, 0.9, 24, dtype=torch.float64)
    exact = to_hyperplane(x, weight, gap, norm)
    delta = to_hyperplane(x.float(), (scale * weight).float(), (scale * gap).float(), norm)
    assert delta.dtype == torch.float32
    assert torch.allclose(length_of(delta.double(), norm), length_of(exact, norm), rtol=1e-5, atol=1e-7)
    assert torch.allclose(along(weight, delta.double()), gap, rtol=1e-5, atol=1e-5)
    if norm != "l1":  # in l_1 rounding may swap two coordinates of equal weight
        assert float((delta - exact).abs().max()) <= 2e-5
