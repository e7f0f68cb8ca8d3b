"""Robust margins of linear models against linear programs, corner enumeration and sampling."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from classwise.theory import boxed_robust_margin, robust_margin


def problem(samples=12, features=5, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = torch.rand(samples, features, generator=generator, dtype=torch.float64)
    y = torch.randint(0, classes, (samples,), generator=generator)
    radius = 0.3 * torch.rand(samples, generator=generator, dtype=torch.float64)
    return draw(classes, features), draw(classes), x, y, radius


def margin_at(weight, bias, x, y):
    logits = x @ weight.T + bias
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return logits.gather(1, y[:, None])[:, 0] - others


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_margin_is_a_bound_that_is_attained(norm):
    weight, bias, x, y, radius = problem()
    exact = robust_margin(weight, bias, x, y, norm, radius)
    attained = torch.full_like(exact, torch.inf)
    for rival in range(len(weight)):
        slope = weight[y] - weight[rival]
        if norm == "linf":
            step = slope.sign()
        elif norm == "l2":
            step = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-30)
        else:
            top = slope.abs().argmax(1, keepdim=True)
            step = torch.zeros_like(slope).scatter(1, top, slope.gather(1, top).sign())
        attained = torch.minimum(attained, margin_at(weight, bias, x - radius[:, None] * step, y))
    torch.testing.assert_close(attained, exact, rtol=0, atol=1e-12)

    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    for seed in range(200):
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        direction /= torch.linalg.vector_norm(direction, ord=order, dim=1, keepdim=True)
        assert (margin_at(weight, bias, x + radius[:, None] * direction, y) >= exact - 1e-12).all()


def test_many_classes_keep_their_digits():
    """Above 25 rows the distance routine would by default take a shortcut that loses half the digits."""
    weight, bias, x, y, radius = problem(samples=40, features=30, classes=60)
    weight = 1 + 1e-6 * weight
    expected = torch.stack(
        [
            min(
                (weight[c] - weight[k]) @ a + bias[c] - bias[k] - r * (weight[c] - weight[k]).norm()
                for k in range(60)
                if k != c
            )
            for a, c, r in zip(x, y, radius, strict=True)
        ]
    )
    torch.testing.assert_close(robust_margin(weight, bias, x, y, "l2", radius), expected, rtol=0, atol=1e-13)


def test_boxed_margin_equals_a_linear_program():
    weight, bias, x, y, radius = problem(features=6)
    exact = boxed_robust_margin(weight, bias, x, y, radius).numpy()
    for i in range(len(x)):
        bounds = [(max(v - radius[i].item(), 0), min(v + radius[i].item(), 1)) for v in x[i].tolist()]
        values = []
        for rival in set(range(len(weight))) - {int(y[i])}:
            slope = (weight[y[i]] - weight[rival]).numpy()
            values.append(linprog(slope, bounds=bounds).fun + (bias[y[i]] - bias[rival]).item())
        np.testing.assert_allclose(exact[i], min(values), rtol=0, atol=1e-9)


def test_boxed_l1_margin_equals_a_linear_program():
    """Steps up and down are separate variables, each up to the box, that together spend at most the radius."""
    weight, bias, x, y, radius = problem(features=6)
    x[::2] = x[::2].round()  # at the box, where a coordinate moves one way only
    radius = 8 * radius  # up to 2.4 of a whole 6
    exact = boxed_robust_margin(weight, bias, x, y, radius, "l1").numpy()
    for i in range(len(x)):
        bounds = [(0, 1 - v) for v in x[i].tolist()] + [(0, v) for v in x[i].tolist()]
        values = []
        for rival in set(range(len(weight))) - {int(y[i])}:
            slope = (weight[y[i]] - weight[rival]).numpy()
            change = linprog(np.concatenate([slope, -slope]), np.ones((1, 12)), [radius[i].item()], bounds=bounds).fun
            values.append(slope @ x[i].numpy() + change + (bias[y[i]] - bias[rival]).item())
        np.testing.assert_allclose(exact[i], min(values), rtol=0, atol=1e-9)


def test_boxed_margin_equals_the_best_corner():
    weight, bias, x, y, _ = problem(features=4)
    exact = boxed_robust_margin(weight, bias, x, y, 0.4)
    ends = torch.stack([(x - 0.4).clamp_min(0), (x + 0.4).clamp_max(1)])
    corners = [
        margin_at(weight, bias, torch.stack([ends[side, :, j] for j, side in enumerate(choice)], 1), y)
        for choice in itertools.product((0, 1), repeat=4)
    ]
    torch.testing.assert_close(torch.stack(corners).amin(0), exact, rtol=0, atol=1e-12)


def test_box_helps_only_at_the_border():
    weight, bias, x, y, radius = problem()
    free = robust_margin(weight, bias, x, y, "linf", radius)
    assert (boxed_robust_margin(weight, bias, x, y, radius) >= free - 1e-12).all()
    inside = 0.4 + 0.2 * x
    for norm in ("linf", "l1"):
        boxed = boxed_robust_margin(weight, bias, inside, y, 0.3, norm)
        free = robust_margin(weight, bias, inside, y, norm, 0.3)
        torch.testing.assert_close(boxed, free, rtol=0, atol=1e-12)


def test_radius_zero_is_the_clean_margin_and_images_are_flattened():
    weight, bias, x, y, _ = problem(features=12)
    clean = margin_at(weight, bias, x, y)
    images = x.reshape(-1, 3, 2, 2)
    for norm in ("linf", "l2", "l1"):
        torch.testing.assert_close(robust_margin(weight, bias, images, y, norm, 0.0), clean)
    for norm in ("linf", "l1"):
        torch.testing.assert_close(boxed_robust_margin(weight, bias, images, y, 0.0, norm), clean)


def test_mistakes_are_named():
    weight, bias, x, y, radius = problem()
    with pytest.raises(ValueError, match="norm 'l3' is unknown"):
        robust_margin(weight, bias, x, y, "l3", radius)
    with pytest.raises(ValueError, match="norm 'l2' has no exact margin in the box"):
        boxed_robust_margin(weight, bias, x, y, radius, "l2")
    with pytest.raises(ValueError, match="single class"):
        robust_margin(weight[:1], bias[:1], x, torch.zeros_like(y), "l2", radius)
