"""Our PGD and our margins against perturbed images and predictions of published implementations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from classwise.attacks import PGD, Inner, attack_list
from classwise.attacks.losses import logit_margin, probability_margin
from classwise.randomness import Noise
from classwise.threat import ThreatModel, l2, linf

World = Any
GivenNoise = Callable[..., Noise]


def pgd(case: dict[str, Any], **fields: Any) -> PGD:
    return PGD(steps=int(case["steps"]), step_size=repr(float(case["step"])), **fields)


def threat(case: dict[str, Any], make: Callable[[float], ThreatModel] = linf) -> ThreatModel:
    return make(float(case["eps"]))


def test_the_world_is_the_published_one(world: World) -> None:
    net = world.net()
    assert torch.allclose(net(world.x), world.common["logits_eval_mode"], rtol=0, atol=1e-9)
    assert torch.allclose(net(world.x_eval), world.common["logits_eval_set"], rtol=0, atol=1e-9)
    trained = world.arrays("common_trainmode.npz")
    assert torch.allclose(net.train()(world.x), trained["logits_train_mode"], rtol=0, atol=1e-9)
    assert torch.allclose(net.bn1.running_var, trained["bn_after_bn1.running_var"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("restarts", [1, 2])
def test_pgd_linf(restarts: int, world: World, given_noise: GivenNoise) -> None:
    case = world.arrays("pgd_linf_eval.npz" if restarts == 1 else "pgd_linf_eval_2restarts.npz")
    attack = pgd(case, restarts=restarts, loss="cross-entropy", start="uniform")
    net = world.net()
    x_adv = attack(net, world.x, world.y, threat=threat(case), noise=given_noise(world.unit, 1 - world.unit))
    loss = torch.nn.functional.cross_entropy(net(x_adv), world.y)
    assert float((x_adv - case["x_adv"]).abs().max()) <= 1e-6
    assert float(loss.detach()) == pytest.approx(float(case["loss"]), abs=1e-6)


def test_pgd_with_two_restarts_differs_from_one(world: World) -> None:
    one, two = world.arrays("pgd_linf_eval.npz"), world.arrays("pgd_linf_eval_2restarts.npz")
    assert 0 < int(((one["x_adv"] - two["x_adv"]).flatten(1).abs().amax(1) > 1e-6).sum()) < 24


@pytest.mark.parametrize("name", ["pgd_l2_rice128", "pgd_l2_frl_eval"])
def test_pgd_l2(name: str, world: World, given_noise: GivenNoise) -> None:
    case = world.arrays(f"{name}.npz")
    noise = given_noise(world.normal, case["radius_unit"].double())
    attack = pgd(case, loss="cross-entropy", start="uniform")
    net = world.net()
    x_adv = attack(net, world.x, world.y, threat=threat(case, l2), noise=noise)
    loss = torch.nn.functional.cross_entropy(net(x_adv), world.y)
    assert float((x_adv - case["x_adv"]).abs().max()) <= 1e-5
    assert float(loss.detach()) == pytest.approx(float(case["loss"]), abs=1e-5)


@pytest.mark.parametrize("name", ["trades_linf_b1", "trades_linf_paper", "trades_linf_b6"])
def test_the_inner_problem_of_trades(name: str, world: World, given_noise: GivenNoise) -> None:
    case = world.arrays(f"{name}.npz")
    net = world.net().train()
    x_adv = pgd(case)(
        net,
        world.x,
        world.y,
        threat=threat(case),
        noise=given_noise(world.normal),
        inner=Inner(loss="kl", start="gauss"),
    )
    assert float((x_adv - case["x_adv"]).abs().max()) <= 1e-6
    assert net.training


@pytest.mark.parametrize(("suite", "prefix"), [("pgd-20", "pgd20"), ("cw-20", "cw20")])
def test_evaluation_attacks(suite: str, prefix: str, world: World, given_noise: GivenNoise) -> None:
    """The attacks that our names stand for are the published ones, at the published step of 2/255."""
    case = world.arrays("eval_pgd20_cw20.npz")
    (attack,) = attack_list(suite)
    net = world.net()
    x_adv = attack(net, world.x_eval, world.y_eval, threat=linf("8/255"), noise=given_noise(world.unit_eval))
    assert float((x_adv[:40] - case[f"{prefix}_x_adv_first40"]).abs().max()) <= 1e-6
    predicted = net(x_adv).argmax(1)
    assert torch.equal(predicted, case[f"{prefix}_pred"])
    correct = (predicted == world.y_eval).double()
    accuracy = torch.stack([correct[world.y_eval == c].mean() for c in range(10)])
    assert torch.allclose(accuracy, case[f"{prefix}_class_acc"], rtol=0, atol=1e-12)


def test_margins(world: World) -> None:
    case = world.arrays("eval_pgd20_cw20.npz")
    logits = case["logits"]
    assert float(-logit_margin(logits, world.y_eval).mean()) == pytest.approx(float(case["cw_loss_mean"]), abs=1e-9)
    assert torch.allclose(probability_margin(logits, world.y_eval), case["prob_margin"], rtol=0, atol=1e-9)
