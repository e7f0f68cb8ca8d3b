"""On a linear model the strongest perturbation is known exactly, and PGD finds it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise.attacks import PGD, Inner
from classwise.attacks.losses import attack_loss, logit_margin
from classwise.randomness import KeyedNoise
from classwise.theory.linear import boxed_robust_margin, robust_margin
from classwise.threat import l2, linf


def noise(n: int, seed: int = 0) -> KeyedNoise:
    return KeyedNoise(seed, torch.arange(n))


def two_classes(model: nn.Sequential, rival: int) -> nn.Sequential:
    """The model that knows class 0 and one rival: then every loss has a single, exact maximiser."""
    pair = nn.Sequential(nn.Flatten(), nn.Linear(18, 2)).double()
    with torch.no_grad():
        pair[1].weight.copy_(model[1].weight[[0, rival]])
        pair[1].bias.copy_(model[1].bias[[0, rival]])
    return pair


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
@pytest.mark.parametrize("rival", [1, 2, 3, 4])
def test_linf_reaches_the_boxed_margin_of_two_classes(
    loss: Any, rival: int, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, _ = images
    model, y = two_classes(linear, rival), torch.arange(len(x)) % 2
    attack = PGD(steps=10, loss=loss, start="uniform")
    x_adv = attack(model, x, y, threat=linf("0.1"), noise=noise(40))
    exact = boxed_robust_margin(model[1].weight, model[1].bias, x, y, float(linf("0.1").radius))
    assert torch.allclose(logit_margin(model(x_adv), y), exact, rtol=0, atol=1e-12)


def test_linf_reaches_the_boxed_margin_of_five_classes(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """The rival may change on the way, so restarts are needed; the margin must never be below the exact one."""
    x, y = images
    attack = PGD(steps=20, loss="margin", restarts=8)
    x_adv = attack(linear, x, y, threat=linf("0.15"), noise=noise(40))
    exact = boxed_robust_margin(linear[1].weight, linear[1].bias, x, y, 0.15)
    found = logit_margin(linear(x_adv), y)
    assert bool((found >= exact - 1e-12).all())
    assert int((found - exact < 1e-9).sum()) >= 38
    assert torch.equal(found > 0, exact > 0)
    one_step = PGD(steps=1, loss="margin", relative_step=0.5, start="none")(
        linear, x, y, threat=linf("0.15"), noise=noise(40)
    )
    assert bool((logit_margin(linear(one_step), y) > exact + 1e-6).all())  # a weak attack is seen to be weak


@pytest.mark.parametrize("rival", [1, 2, 3, 4])
def test_l2_reaches_the_margin_where_the_box_is_far(
    rival: int, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x = 0.4 + 0.2 * images[0]  # at least 0.4 from the box
    model, y = two_classes(linear, rival), torch.arange(len(x)) % 2
    x_adv = PGD(steps=60, relative_step=0.25)(model, x, y, threat=l2("0.3"), noise=noise(40))
    exact = robust_margin(model[1].weight, model[1].bias, x, y, "l2", 0.3)
    assert torch.allclose(logit_margin(model(x_adv), y), exact, rtol=0, atol=1e-6)
    assert torch.allclose((x_adv - x).flatten(1).norm(dim=1), torch.full((40,), 0.3, dtype=x.dtype), rtol=0, atol=1e-9)


@pytest.mark.parametrize("threat", [linf("0.12"), l2("0.5")], ids=str)
@pytest.mark.parametrize("inner", [Inner(), Inner(loss="kl", start="gauss"), Inner(loss="margin", start="none")])
def test_a_radius_per_sample_equals_a_loop_over_scalar_radii(
    threat: Any, inner: Inner, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    radius = torch.linspace(0, 1.5 * float(threat.radius), 40, dtype=x.dtype)
    scale = torch.linspace(0.5, 2, 40)
    attack = PGD(steps=7)
    together = attack(linear, x, y, threat=threat, noise=noise(40), radius=radius, step_scale=scale, inner=inner)
    for i in range(40):
        one = slice(i, i + 1)
        alone = attack(
            linear,
            x[one],
            y[one],
            threat=threat,
            noise=KeyedNoise(0, torch.tensor([i])),
            radius=radius[one],
            step_scale=scale[one],
            inner=inner,
        )
        # One row alone goes through another matrix kernel; the KL gradient at its tiny start magnifies the last bit.
        assert torch.allclose(together[one], alone, rtol=0, atol=1e-9), i
    distance = threat.distance(together, x)
    assert bool((distance <= radius + 1e-9).all())
    assert float(distance[-1]) > 1.2 * float(threat.radius)  # a large radius is used, not cut to the base


def test_the_step_does_not_grow_with_a_samples_radius(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    x, y = 0.3 + 0.4 * images[0], images[1]
    radius = torch.full((40,), 0.2, dtype=torch.float64)
    attack = PGD(steps=1, start="none", step_size="0.03")
    moved = attack(linear, x, y, threat=linf("0.1"), noise=noise(40), radius=radius)
    assert torch.allclose((moved - x).abs(), torch.tensor(0.03, dtype=x.dtype))
    relative = PGD(steps=1, start="none", relative_step=0.25)
    moved = relative(linear, x, y, threat=linf("0.1"), noise=noise(40), radius=radius, step_scale=2 * radius / radius)
    assert torch.allclose((moved - x).abs(), torch.tensor(0.05, dtype=x.dtype))


def test_stop_when_fooled_freezes_at_the_first_wrong_iterate(
    linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    arguments = {"threat": linf("0.3"), "inner": Inner(start="none")}
    frozen = PGD(steps=12, stop_when_fooled=True)(linear, x, y, noise=noise(40), **arguments)
    expected, done = x.clone(), linear(x).argmax(1) != y
    for steps in range(1, 13):
        iterate = PGD(steps=steps)(linear, x, y, noise=noise(40), **arguments)
        expected[~done] = iterate[~done]
        done |= linear(iterate).argmax(1) != y
    assert torch.allclose(frozen, expected, rtol=0, atol=1e-12)
    assert torch.equal(frozen[:4], x[:4])
    assert 10 < int(done.sum()) <= 40


def test_the_better_restart_is_kept(
    linear: nn.Sequential, images: tuple[Tensor, Tensor], given_noise: Callable[..., Any]
) -> None:
    """A sample that any start fools is fooled in the end."""
    x, y = images
    starts = [torch.rand(40, 18, generator=torch.Generator().manual_seed(i), dtype=x.dtype) for i in range(4)]
    one = PGD(steps=1, relative_step=0.05)
    single = [one(linear, x, y, threat=linf("0.2"), noise=given_noise(start)) for start in starts]
    fooled = torch.stack([linear(each).argmax(1) != y for each in single])
    assert 0 < int(fooled.all(0).sum()) < int(fooled.any(0).sum()) < 40
    several = PGD(steps=1, relative_step=0.05, restarts=4)
    x_adv = several(linear, x, y, threat=linf("0.2"), noise=given_noise(*starts))
    assert torch.equal(linear(x_adv).argmax(1) != y, fooled.any(0))
    assert bool(torch.stack([(x_adv == each).flatten(1).all(1) for each in single]).any(0).all())


def test_a_kl_attack_needs_its_gaussian_start(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """At the original the gradient of the divergence vanishes, so its sign there is rounding noise."""
    x, y = images
    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(attack_loss("kl", linear(at), y, linear(x).detach()).sum(), at)
    assert float(gradient.abs().max()) < 1e-14
    moved = PGD(steps=10, loss="kl", start="gauss")(linear, x, y, threat=linf("0.1"), noise=noise(40))
    inside = (x > 0.1) & (x < 0.9)
    assert float(((moved - x).abs()[inside] - 0.1).abs().median()) < 1e-6
    divergence = attack_loss("kl", linear(moved), y, linear(x))
    uniform = x + 0.1 * (2 * torch.rand(200, *x.shape, generator=torch.Generator().manual_seed(0)) - 1)
    best = torch.stack([attack_loss("kl", linear(each.clamp(0, 1)), y, linear(x)) for each in uniform]).amax(0)
    assert bool((divergence > best).all())  # better than the best of 200 random points
