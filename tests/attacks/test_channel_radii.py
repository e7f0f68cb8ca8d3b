"""Perturbing standardised images: radii of channels and no box, against attacks written by hand in that space."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import classwise as cw
from classwise.attacks import APGD, FAB, PGD, Attack, BoundaryBalancedPGD, FriendlyPGD, Square
from classwise.attacks.losses import logit_margin
from classwise.configuration import from_plain, from_yaml, to_plain, to_yaml
from classwise.data import ClassData
from classwise.evaluation.judge import Judge
from classwise.evaluation.sanity.trials import larger
from classwise.evaluation.shapes import FixedShapes, Memory
from classwise.progress import Silent
from classwise.randomness import KeyedNoise
from classwise.threat import ThreatModel, l2, linf

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
UNEQUAL = ((0.2, 0.5, 0.7), (0.05, 0.4, 0.25))
GREY = ((0.3,), (0.35,))
SPACES = [CIFAR, UNEQUAL, GREY]
FGSM = PGD(steps=1, relative_step=1.0, start="none", loss="cross-entropy")
Problem = tuple[nn.Module, nn.Module, Tensor, Tensor]
"""The network on standardised images, the one on pixels, images (N, C, 6, 6) and labels."""


def problem(mean: tuple[float, ...], std: tuple[float, ...]) -> Problem:
    """A small network in float64 on 48 images, some pixels of which are black or white."""
    torch.manual_seed(len(mean))
    net = nn.Sequential(nn.Conv2d(len(mean), 6, 3), nn.Softplus(), nn.Flatten(), nn.Linear(96, 4)).double()
    x = (1.4 * torch.rand(48, len(mean), 6, 6, dtype=torch.float64) - 0.2).clamp(0, 1)

    class OnPixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: Tensor) -> Tensor:
            return net(standardised(images, mean, std))

    made = OnPixels().eval()
    with torch.no_grad():
        net[-1].bias -= made(x).mean(0)  # every class is predicted
    y = made(x).argmax(1)
    y[::7] = (y[::7] + 1) % 4
    return net, made, x, y


def on_hand(x: Tensor, y: Tensor) -> ClassData:
    return ClassData(x.float(), y, tuple("abcd"), name="made")


def standardised(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    shift, scale = (torch.tensor(each, dtype=x.dtype).view(1, -1, 1, 1) for each in (mean, std))
    return (x - shift) / scale


def pixels(z: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    shift, scale = (torch.tensor(each, dtype=z.dtype).view(1, -1, 1, 1) for each in (mean, std))
    return z * scale + shift


def by_hand(
    net: nn.Module, z: Tensor, y: Tensor, radius: float, steps: int, step: float, start: Tensor
) -> list[Tensor]:
    """Every iterate of plain PGD on standardised images: step along the sign, back into the cube of the radius, no box."""
    points = [z + start]
    for _ in range(steps):
        point = points[-1].clone().requires_grad_()
        F.cross_entropy(net(point), y, reduction="sum").backward()
        points.append(torch.minimum(torch.maximum(point.detach() + step * point.grad.sign(), z - radius), z + radius))
    return points


def threat_of(radius: float, std: tuple[float, ...]) -> ThreatModel:
    return ThreatModel(radius=radius, channels=std, box=False)


@pytest.mark.parametrize(("mean", "std"), SPACES)
@pytest.mark.parametrize("radius", [0.3, 1.2])
def test_fgsm_is_that_of_standardised_images(mean: tuple[float, ...], std: tuple[float, ...], radius: float) -> None:
    net, model, x, y = problem(mean, std)
    z = standardised(x, mean, std)
    expected = by_hand(net, z, y, radius, 1, radius, torch.zeros_like(z))[-1]
    made = FGSM(model, x, y, threat=threat_of(radius, std), noise=KeyedNoise(0, torch.arange(48), 0))
    torch.testing.assert_close(standardised(made, mean, std), expected, rtol=0, atol=1e-12)
    assert made.amin() < 0 < 1 < made.amax()


@pytest.mark.parametrize(("mean", "std"), SPACES)
@pytest.mark.parametrize(
    "attack", [PGD(steps=7, box=box) for box in ("each-step", "before-ball", "end")], ids=lambda attack: attack.box
)
def test_training_pgd_is_that_of_standardised_images(
    mean: tuple[float, ...], std: tuple[float, ...], attack: PGD, given_noise: Callable[..., object]
) -> None:
    """With a random start, class-wise radii and a quarter of the threat's radius for a step."""
    net, model, x, y = problem(mean, std)
    z, draw = standardised(x, mean, std), torch.rand_like(x)
    radius = torch.linspace(0, 0.8, 48, dtype=torch.float64)
    each = radius.view(-1, 1, 1, 1)
    expected = by_hand(net, z, y, each, 7, 0.25 * 0.4, (2 * draw - 1) * each)[-1]
    made = attack(model, x, y, threat=threat_of(0.4, std), noise=given_noise(draw), radius=radius)
    torch.testing.assert_close(standardised(made, mean, std), expected, rtol=0, atol=1e-12)
    assert torch.equal(made[0], x[0])


@pytest.mark.parametrize(("mean", "std"), SPACES)
def test_an_audit_breaks_what_pgd_on_standardised_images_breaks(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Figures of FGSM and of PGD with 20 steps, any of whose iterates counts; the audit works in float32."""
    net, model, x, y = problem(mean, std)
    data, threat = on_hand(x, y), threat_of(0.15, std)
    z = standardised(data.images.double(), mean, std)
    once = [z, by_hand(net, z, y, 0.15, 1, 0.15, torch.zeros_like(z))[-1]]
    often = by_hand(net, z, y, 0.15, 20, 0.25 * 0.15, torch.zeros_like(z))
    with torch.no_grad():
        worst = [torch.stack([logit_margin(net(point), y) for point in points]).amin(0) for points in (once, often)]
    attacks = (FGSM, PGD(steps=20, stop_when_fooled=True, loss="cross-entropy", start="none"))
    single = model.float()
    for attack, margin in zip(attacks, worst, strict=True):
        result = cw.audit(single, data, threat=threat, attacks=attack, device="cpu", progress=Silent())
        clear = margin.abs() > 1e-4
        assert int(clear.sum()) > 40
        assert 5 < int((margin > 0).sum()) < 35
        assert torch.equal(torch.as_tensor(result.outcomes.robust_correct(0))[clear], margin[clear] > 0)
        (check,) = [each for each in result.checks if each.name == "outside-the-ball"]
        assert check.verdict == "pass", check.sentence
        assert str(threat) in str(result)


@pytest.mark.parametrize(("mean", "std"), SPACES)
def test_the_geometry_is_that_of_the_cube(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Projection, start and distance against the cube of standardised images, value by value."""
    generator = torch.Generator().manual_seed(3)
    x, far = (torch.rand(20, len(std), 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    far = 5 * far - 2
    radius = torch.linspace(0, 1.5, 20, dtype=torch.float64)
    threat = threat_of(0.7, std)
    moved, z, goal = threat.project(far, x, radius), standardised(x, mean, std), standardised(far, mean, std)
    for i in range(20):
        for c in range(len(std)):
            nearest = goal[i, c].clamp(z[i, c] - radius[i], z[i, c] + radius[i])
            torch.testing.assert_close(standardised(moved, mean, std)[i, c], nearest, rtol=0, atol=1e-12)
    longest = (standardised(far, mean, std) - z).abs().flatten(1).amax(1)
    torch.testing.assert_close(threat.distance(far, x), longest, rtol=1e-12, atol=0)
    begun = threat.uniform_start(x, radius, KeyedNoise(0, torch.arange(20), 0))
    assert bool((threat.distance(begun, x) <= radius + 1e-12).all())
    assert bool((threat.distance(begun, x)[5:] > 0.5 * radius[5:]).all())
    gradient = torch.randn(20, len(std), 4, 5, generator=generator, dtype=torch.float64)
    scale = torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1)
    torch.testing.assert_close(threat.ascent(gradient), gradient.sign() * scale, rtol=0, atol=0)
    boxed = ThreatModel(radius=0.7, channels=std).project(far, x, radius)
    assert torch.equal(boxed, moved.clamp(0, 1))


@pytest.mark.parametrize(
    "attack",
    [APGD(steps=10), FriendlyPGD(steps=40), BoundaryBalancedPGD(steps=40)],
    ids=lambda attack: attack.registered_name,
)
def test_other_attacks_reach_the_corner_of_the_cube(attack: Attack) -> None:
    """Against a linear model of two classes the strongest perturbation is known: every value by its own channel's radius."""
    std = UNEQUAL[1]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double()
    x, y = torch.rand(30, 3, 4, 4, dtype=torch.float64), torch.zeros(30, dtype=torch.int64)
    with torch.no_grad():
        model[1].bias += torch.tensor([3.0, -3.0])  # far from the boundary: nothing stops early
    made = attack(model, x, y, threat=threat_of(0.5, std), noise=KeyedNoise(0, torch.arange(30), 0))
    away = (model[1].weight[1] - model[1].weight[0]).detach().sign().view(3, 4, 4)
    corner = x + 0.5 * torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1) * away
    torch.testing.assert_close(made, corner, rtol=0, atol=1e-12)


@pytest.mark.parametrize("attack", [FAB(steps=2), Square(queries=2)], ids=lambda attack: attack.registered_name)
def test_attacks_with_a_geometry_of_their_own_refuse(attack: Attack) -> None:
    _, model, x, y = problem(*CIFAR)
    threat = threat_of(0.3, CIFAR[1])
    with pytest.raises(ValueError, match=r"knows one radius for all channels .* name pgd-STEPS"):
        attack(model, x, y, threat=threat, noise=KeyedNoise(0, torch.arange(48), 0))
    data = on_hand(x, y)
    with pytest.raises(ValueError, match=r"not linf 0.3 x \(0.2023, 0.1994, 0.201\), no box"):
        cw.audit(model.float(), data, threat=threat, attacks=[FGSM, attack], device="cpu")
    with pytest.raises(ValueError, match=r"^fab-t knows"):
        cw.audit(model.float(), data, threat=ThreatModel(radius=0.3, box=False), attacks="standard", device="cpu")


def test_a_judge_puts_back_only_what_left_the_ball() -> None:
    _, model, x, y = problem(*UNEQUAL)
    threat, radius = threat_of(0.5, UNEQUAL[1]), torch.full((48,), 0.5, dtype=torch.float64)
    judge = Judge(FixedShapes(model, Memory(48)), 4)
    corner = x + 0.5 * torch.tensor(UNEQUAL[1], dtype=torch.float64).view(1, -1, 1, 1)
    assert corner.amax() > 1
    verdict, _ = judge.perturbed(corner, x, y, threat, radius)
    assert judge.excess < 1e-12
    assert torch.equal(verdict, model(corner).argmax(1))
    verdict, _ = judge.perturbed(x + 0.5, x, y, threat, radius)
    assert judge.excess == pytest.approx(0.5 / 0.05 - 0.5)
    assert torch.equal(verdict, model(corner).argmax(1))


@pytest.mark.parametrize("std", [CIFAR[1], (0.05, 0.4, 0.25)])
def test_checks_at_larger_radii_keep_the_form_of_the_ball(std: tuple[float, ...]) -> None:
    found = list(larger(threat_of(0.3, std), 108))
    assert {(each.channels, each.box) for each in found} == {(std, False)}
    assert [float(each.radius) for each in found] == sorted({float(each.radius) for each in found})
    assert found[-1].radius * min(std) == pytest.approx(0.5)


def test_the_checks_of_a_model_run() -> None:
    _, model, x, y = problem(*GREY)
    data = on_hand(x, y)
    checks = {each.name: each for each in cw.check(model.float(), data, threat=threat_of(0.1, GREY[1]), device="cpu")}
    assert checks["outside-the-ball"].verdict == "pass"
    assert checks["larger-radius"].verdict == "pass"
    assert "no black-box attack for radii of channels" in checks["black-box"].sentence


def test_it_is_written_and_read_again(tmp_path: Path) -> None:
    threat = threat_of(0.3, CIFAR[1])
    assert str(threat) == "linf 0.3 x (0.2023, 0.1994, 0.201), no box"
    assert str(ThreatModel(radius="8/255", box=False)) == "linf 8/255, no box"
    assert str(linf("8/255")) == "linf 8/255"
    assert from_plain(ThreatModel, to_plain(threat)) == threat
    path = tmp_path / "threat.yaml"
    path.write_text(to_yaml(threat), encoding="utf-8")
    assert from_yaml(ThreatModel, path) == threat
    assert from_plain(ThreatModel, {"norm": "linf", "radius": "8/255"}) == linf("8/255")  # as runs before it wrote


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="are for linf, not l2"):
        ThreatModel(norm="l2", radius=0.5, channels=(0.2,))
    with pytest.raises(ValueError, match="are for linf, not l1"):
        ThreatModel(norm="l1", radius=12, box=False)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be above 0"):
            ThreatModel(channels=(0.2, wrong))
    with pytest.raises(ValueError, match="larger than the whole pixel range"):
        ThreatModel(radius=0.3, channels=(51.6, 50.8, 51.2))
    assert ThreatModel(radius=2, channels=(0.2,)).plain is False
    assert l2(0.5).plain
    x = torch.rand(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"has 3 channels, images are of shape \(1, 4, 4\)"):
        threat_of(0.3, CIFAR[1]).project(x, x, torch.ones(2))
    with pytest.raises(ValueError, match=r"images are of shape \(4,\)"):
        threat_of(0.3, CIFAR[1]).project(torch.rand(2, 4), torch.rand(2, 4), torch.ones(2))


def test_no_step_waits_for_the_device(no_waiting: Callable[[], object]) -> None:
    _, model, x, y = problem(*CIFAR)
    threat, noise = threat_of(0.3, CIFAR[1]), KeyedNoise(0, torch.arange(48), 0)
    with no_waiting():
        PGD(steps=3)(model, x, y, threat=threat, noise=noise)
