"""Friendly training of its authors and of CFA: perturbed images, steps spent, loss, gradients, schedules."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise.attacks import PGD, FriendlyPGD, Inner
from classwise.objectives import AdversarialTraining
from classwise.policies import Fixed
from classwise.randomness import Noise
from classwise.threat import linf
from classwise.training import Steps

World = Any
Step = Any
GivenNoise = Callable[..., Noise]
EPS = 8 / 255


def friendly(case: dict[str, Any], **fields: Any) -> FriendlyPGD:
    return FriendlyPGD(steps=10, step_size=repr(float(case["step"])), budget=int(case["tau"]), **fields)


def visits(attack: FriendlyPGD, case: dict[str, Any], world: World, draw: Noise, inner: Inner) -> tuple[Tensor, Tensor]:
    """Perturbed images (N, …), and the points (T, N, …) at which steps were taken."""
    net, points = world.net(), []
    net.register_forward_pre_hook(lambda _, arguments: points.append(arguments[0].detach().clone()))
    x_adv = attack(net, world.x, world.y, threat=linf(repr(float(case["eps"]))), noise=draw, inner=inner)
    return x_adv, torch.stack(points[-10:])


def steps_spent(net: nn.Module, points: Tensor, y: Tensor, budget: int) -> list[int]:
    """Steps of each sample by the published rule, sample by sample, from the points that it went through."""
    wrong = torch.stack([net(point).argmax(1) != y for point in points])
    spent = []
    for i in range(len(y)):
        left, number = budget, 0
        for t in range(len(points)):
            if wrong[t, i]:
                if left == 0:
                    break
                left -= 1
            number += 1
        spent.append(number)
    return spent


@pytest.mark.parametrize("name", ["fat_tau0.npz", "fat_tau1.npz", "fat_tau3.npz"])
def test_friendly_step(name: str, world: World, step: Callable[..., Step], agrees: Callable[..., None]) -> None:
    case = world.arrays(name)
    agrees(case, step(case, world.unit, adversary=friendly(case), objective=AdversarialTraining()))
    more = step(case, world.unit, adversary=friendly({**case, "tau": case["tau"] + 1}), objective=AdversarialTraining())
    assert float((more.x_adv - case["x_adv"]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["fat_tau0.npz", "fat_tau1.npz", "fat_tau3.npz", "fat_trades_tau1.npz"])
def test_friendly_images_and_the_steps_they_cost(name: str, world: World, given_noise: GivenNoise) -> None:
    case = world.arrays(name)
    trades = name == "fat_trades_tau1.npz"
    inner = Inner(loss="kl", start="gauss") if trades else Inner()
    x_adv, points = visits(friendly(case), case, world, given_noise(world.normal if trades else world.unit), inner)
    assert float((x_adv - case["x_adv"]).abs().max()) <= 1e-6
    spent = steps_spent(world.net(), points, world.y, int(case["tau"]))
    assert sum(spent) == int(case["bp_count"])
    assert 0 <= min(spent) < max(spent) == 10
    after = torch.cat([points[1:], x_adv[None]])
    still = (after == points).flatten(2).all(2)
    for i, number in enumerate(spent):
        # Nothing moves after a sample has left; at its corner of ball and box a step may leave a pixel where it was.
        assert bool(still[number:, i].all()), i
        assert not bool(still[: min(number, 4), i].any()), i


CFA = ["cfa_fat_evalmode.npz", "cfa_fat_trainmode.npz", "cfa_fat_ccm_evalmode.npz", "cfa_fat_ccm_trainmode.npz"]


@pytest.mark.parametrize("name", CFA)
def test_friendly_step_of_cfa(name: str, world: World, step: Callable[..., Step], agrees: Callable[..., None]) -> None:
    case = world.arrays(name)
    train = name.endswith("trainmode.npz")
    policy = Fixed(radius=tuple((case["class_eps"] / EPS).tolist()) if "class_eps" in case else ())
    assert bool(policy.radius) == ("ccm" in name)
    adversary = friendly(case, rule="cfa", bn_mode="train" if train else "eval")
    threat = {**case, "eps": torch.tensor(EPS)}
    ours = step(threat, world.unit, training=train, adversary=adversary, policy=policy)
    agrees(case, ours)
    less = friendly({**case, "tau": case["tau"] - 1}, rule="cfa", bn_mode=adversary.bn_mode)
    other = step(threat, world.unit, training=train, adversary=less, policy=policy)
    assert float((other.x_adv - case["x_adv"]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", [each for each in CFA if "trainmode" in each])
def test_running_statistics_of_cfa(
    name: str, world: World, given_noise: GivenNoise, close: Callable[..., None]
) -> None:
    """CFA runs the last point once more than we do: within the attack, then for the loss."""
    case = world.arrays(name)
    radius = case["class_eps"][world.y] if "class_eps" in case else None
    net = world.net().train()
    attack = friendly(case, rule="cfa", bn_mode="train")
    x_adv = attack(net, world.x, world.y, threat=linf(repr(EPS)), noise=given_noise(world.unit), radius=radius)
    assert float((x_adv - case["x_adv"]).abs().max()) <= 1e-6
    for _ in range(2):
        net(x_adv)
    close(case, "bn_after_", net.state_dict(), 1e-6)


def test_a_budget_of_all_steps_is_plain_adversarial_training(world: World, step: Callable[..., Step]) -> None:
    case = world.arrays("fat_tau0.npz")
    plain = step(case, world.unit, adversary=PGD(step_size=repr(float(case["step"]))), objective=AdversarialTraining())
    for rule in ("original", "cfa"):
        full = friendly({**case, "tau": 10}, rule=rule)
        ours = step(case, world.unit, adversary=full, objective=AdversarialTraining())
        assert torch.equal(ours.x_adv, plain.x_adv)
        assert ours.loss == plain.loss


def test_schedules(world: World) -> None:
    """Learning rates and budgets, epoch by epoch; the script counts epochs from 1."""
    stored = world.numbers("lr_schedules.json")
    schedule = Steps(drops=(59, 89, 109), to=(0.1, 0.01, 0.005))
    assert [0.1 * schedule.factor(epoch, 120) for epoch in range(120)] == pytest.approx(stored["fat_120"], rel=1e-12)
    attack = FriendlyPGD(budget=0, budget_epochs=(50, 90))
    assert [attack.at_epoch(epoch).budget for epoch in range(120)] == stored["fat_tau_120"]
    assert {attack.at_epoch(epoch).budget for epoch in range(120)} == {0, 1, 2}
