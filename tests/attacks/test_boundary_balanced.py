"""The boundary-balanced loss in closed form, and the attack that follows it."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.attacks import Attack, BoundaryBalancedPGD, FriendlyPGD, Inner
from classwise.attacks.boundary_balanced import boundary_balanced_loss
from classwise.attacks.losses import kl_from_uniform_over_others
from classwise.configuration import from_plain, to_plain
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel, l1, l2, linf

THREATS = [linf("0.2"), l2("0.6"), l1("2")]
CLASSES = [2, 3, 10, 200]


def noise(n: int) -> KeyedNoise:
    return KeyedNoise(0, torch.arange(n))


def some_logits(classes: int, n: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    return 3 * torch.randn(n, classes, generator=generator, dtype=torch.float64), torch.arange(n) % classes


@pytest.mark.parametrize("classes", CLASSES)
def test_the_loss_by_hand(classes: int) -> None:
    logits, y = some_logits(classes)
    loss = boundary_balanced_loss(logits, y, 0.7)
    for i, row in enumerate(logits.tolist()):
        p = [math.exp(z) / sum(math.exp(each) for each in row) for z in row]
        wrong = [value for k, value in enumerate(p) if k != y[i]]
        q = [value / sum(wrong) for value in wrong]
        divergence = sum(1 / len(q) * math.log(1 / len(q) / value) for value in q)
        assert loss[i].item() == pytest.approx(-math.log(p[int(y[i])]) - 0.7 * divergence, abs=1e-10)


@pytest.mark.parametrize("classes", CLASSES)
def test_its_gradient_in_closed_form(classes: int) -> None:
    """p - e_y for the cross-entropy, q - U on the wrong classes for the divergence."""
    logits, y = some_logits(classes, 6)
    free = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(boundary_balanced_loss(free, y, 0.7).sum(), free)
    own = F.one_hot(y, classes).double()
    p = logits.softmax(1)
    q = p * (1 - own) / (p * (1 - own)).sum(1, keepdim=True)
    expected = p - own - 0.7 * (q - (1 - own) / (classes - 1))
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", CLASSES[:3])
def test_its_gradient_by_finite_differences(classes: int) -> None:
    logits, y = some_logits(classes, 5)
    assert torch.autograd.gradcheck(lambda z: boundary_balanced_loss(z, y, 0.7), logits.requires_grad_())


def test_two_classes_have_nothing_to_balance(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    logits, y = some_logits(2)
    free = logits.clone().requires_grad_()
    divergence = kl_from_uniform_over_others(free, y)
    assert divergence.tolist() == [0] * 12
    assert not bool(torch.autograd.grad(divergence.sum(), free)[0].any())
    arguments = {"threat": linf("0.2"), "noise": noise(40)}

    def two(x: Tensor) -> Tensor:
        return linear(x)[:, :2]

    y = two(images[0]).argmax(1)
    balanced = BoundaryBalancedPGD(gamma=5.0)(two, images[0], y, **arguments)
    assert torch.equal(balanced, BoundaryBalancedPGD(gamma=0.0)(two, images[0], y, threat=linf("0.2"), noise=noise(40)))


@pytest.mark.parametrize("classes", CLASSES[1:])
def test_what_the_divergence_is_blind_to(classes: int) -> None:
    logits, y = some_logits(classes)
    value = kl_from_uniform_over_others(logits, y)
    assert bool((value > 0).all())
    shifted = kl_from_uniform_over_others(logits + 5, y)
    assert torch.allclose(shifted, value, rtol=0, atol=1e-12)
    label = logits + 4 * F.one_hot(y, classes)
    assert torch.allclose(kl_from_uniform_over_others(label, y), value, rtol=0, atol=1e-12)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(0))
    renamed = kl_from_uniform_over_others(logits[:, order], order.argsort()[y])
    assert torch.allclose(renamed, value, rtol=0, atol=1e-12)
    even = kl_from_uniform_over_others(7 * F.one_hot(y, classes).double(), y)
    assert torch.allclose(even, torch.zeros(12, dtype=torch.float64), rtol=0, atol=1e-12)


def test_large_logits_leave_value_and_gradient_finite() -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], requires_grad=True)
    for y in range(3):
        loss = boundary_balanced_loss(logits, torch.full((3,), y), 1.0)
        assert bool(loss.isfinite().all())
        assert bool(torch.autograd.grad(loss.sum(), logits)[0].isfinite().all())


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("budget", [0, 2])
def test_without_weight_it_is_friendly_pgd(
    threat: ThreatModel, budget: int, linear: nn.Sequential, images: tuple[Tensor, Tensor]
) -> None:
    fields: dict[str, Any] = {"steps": 6, "relative_step": 0.3, "budget": budget}
    scale = {"step_scale": torch.linspace(0.5, 2, 40), "steps_scale": torch.linspace(0.2, 1, 40)}
    ours = BoundaryBalancedPGD(gamma=0.0, **fields)(linear, *images, threat=threat, noise=noise(40), **scale)
    friendly = FriendlyPGD(**fields, loss="cross-entropy")(linear, *images, threat=threat, noise=noise(40), **scale)
    assert torch.equal(ours, friendly)
    other = BoundaryBalancedPGD(gamma=2.0, **fields)(linear, *images, threat=threat, noise=noise(40), **scale)
    assert not torch.equal(ours, other)


def test_a_step_follows_the_gradient(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    x, y = 0.3 + 0.4 * images[0], images[1]
    attack = BoundaryBalancedPGD(steps=1, step_size="0.05", start="none", gamma=1.5, budget=1)
    x_adv = attack(linear, x, y, threat=l2("0.2"), noise=noise(40), inner=Inner(loss="kl", start="gauss"))
    logits = linear(x).detach()
    own = F.one_hot(y, 5).double()
    p = logits.softmax(1)
    q = p * (1 - own) / (p * (1 - own)).sum(1, keepdim=True)
    gradient = (p - own - 1.5 * (q - (1 - own) / 4)) @ linear[1].weight.detach()
    expected = 0.05 * gradient / gradient.norm(dim=1, keepdim=True)
    assert torch.allclose((x_adv - x).flatten(1), expected, rtol=0, atol=1e-8)


def test_wrong_classes_come_out_more_even(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    """With all steps taken, which is when gamma alone makes the difference."""
    x = images[0]
    with torch.no_grad():
        linear[1].weight.mul_(10)  # so that wrong classes are far from even
    y = linear(x).argmax(1)
    fields: dict[str, Any] = {"steps": 10, "start": "none", "budget": 10}
    spread = []
    for gamma in (0.0, 0.5, 1.0):
        x_adv = BoundaryBalancedPGD(gamma=gamma, **fields)(linear, x, y, threat=linf("0.3"), noise=noise(40))
        spread.append(kl_from_uniform_over_others(linear(x_adv), y).mean().item())
    assert spread[0] > 1.5 * spread[1] > 1.5 * 1.2 * spread[2]


def test_samples_stop_at_the_first_wrong_point(linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    arguments: dict[str, Any] = {"threat": linf("0.3"), "noise": noise(40)}
    points: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        points.append(x.detach())
        return linear(x)

    x_adv = BoundaryBalancedPGD(steps=10, start="none")(model, x, y, **arguments)
    wrong = torch.stack([linear(point).argmax(1) != y for point in points])
    assert int(wrong.any(0).sum()) > 10
    for i in range(40):
        first = int(wrong[:, i].int().argmax()) if wrong[:, i].any() else len(points) - 1
        if wrong[first, i]:
            assert torch.equal(x_adv[i], points[first][i])
    assert torch.equal(x_adv[:4], x[:4])  # wrong without any attack


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_ball_box_company_and_order(threat: ThreatModel, linear: nn.Sequential, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    radius = torch.linspace(0, 2 * float(threat.radius), 40, dtype=x.dtype)
    attack = BoundaryBalancedPGD(steps=5, budget=1)
    together = attack(linear, x, y, threat=threat, noise=noise(40), radius=radius)
    assert bool((threat.distance(together, x) <= radius + 1e-6).all())
    assert float(together.min()) >= 0
    assert float(together.max()) <= 1
    assert torch.equal(together[0], x[0])
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    for rows in (order[:1], order[1:17], order[17:]):
        some = attack(linear, x[rows], y[rows], threat=threat, noise=KeyedNoise(0, rows), radius=radius[rows])
        # Fewer rows go through another matrix kernel, which may change last bits.
        assert torch.allclose(some, together[rows], rtol=0, atol=1e-9)


def test_it_never_waits_for_the_device(linear: nn.Sequential, images: tuple[Tensor, Tensor], no_waiting: Any) -> None:
    with no_waiting():
        BoundaryBalancedPGD(steps=3)(linear, *images, threat=linf("0.1"), noise=noise(40))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gamma": -0.5}, "gamma -0.5 must be at least 0"),
        ({"gamma": float("nan")}, "gamma nan must be at least 0"),
        ({"steps": 0}, "steps 0 must be at least 1"),
        ({"step_size": 0}, "longer than 0"),
        ({"budget": -1}, "budget -1"),
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoundaryBalancedPGD(**fields)


def test_what_it_is() -> None:
    attack = BoundaryBalancedPGD(gamma=0.5, step_size="2/255")
    assert from_plain(Attack, to_plain(attack)) == attack
    assert from_plain(Attack, "bat") == BoundaryBalancedPGD()
    assert (BoundaryBalancedPGD.__doc__ or "").startswith("Experimental:")
    assert attack.forwards() == 10
