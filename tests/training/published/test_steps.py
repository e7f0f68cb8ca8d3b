"""One training step of ours against one of published implementations: attack, loss, gradients, weights after it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from classwise import config, l2
from classwise.attacks import PGD
from classwise.attacks.losses import kl_from_clean
from classwise.objectives import Trades
from classwise.policies import Fixed

World = Any
Step = Any
Agrees = Callable[..., None]
Close = Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]
WEIGHT = 1e-6


@config
class BySum(Fixed):
    """Fixed knobs whose terms are divided by the sum of their weights."""

    reducer = "weight-sum"


@pytest.mark.parametrize("name", ["trades_linf_b1.npz", "trades_linf_paper.npz", "trades_linf_b6.npz"])
def test_trades(name: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    case = world.arrays(name)
    agrees(case, step(case, world.normal, objective=Trades(beta=float(case["beta"]))))


def test_trades_in_l2(world: World, step: Callable[..., Step], close: Close) -> None:
    """Its l_2 code steps by 2 eps / T along the normalised gradient, clips to the box, and shrinks to the ball after that.

    The gradients were stored with those that the attack's backward passes leave on the weights; here these are added.
    """
    case = world.arrays("trades_l2.npz")
    radius, steps = float(case["eps"]), int(case["steps"])
    assert float(case["step"]) == pytest.approx(2 * radius / steps)
    axes = {"objective": Trades(beta=float(case["beta"])), "threat": l2(repr(radius))}
    ours = step(case, world.normal, adversary=PGD(steps=steps, relative_step=2 / steps, box="before-ball"), **axes)
    assert float((ours.x_adv - case["x_adv"]).abs().max()) <= 1e-6
    assert ours.loss == pytest.approx(float(case["loss"]), abs=1e-6)
    net, left = world.net(), dict.fromkeys(ours.gradients, torch.tensor(0.0))
    delta = 0.001 * world.normal
    for _ in range(steps):
        delta.requires_grad_()
        divergence = kl_from_clean(net(world.x + delta), net(world.x)).sum()
        uphill, *rest = torch.autograd.grad(divergence, [delta, *net.parameters()])
        left = {name: total - each for (name, total), each in zip(left.items(), rest, strict=True)}
        unit = uphill / uphill.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        delta = (world.x + delta.detach() + float(case["step"]) * unit).clamp(0, 1) - world.x
        delta = delta * (radius / delta.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1)
    close(case, "grad_", {name: each + left[name] for name, each in ours.gradients.items()}, 1e-5)
    usual = step(case, world.normal, adversary=PGD(steps=steps, relative_step=2 / steps), **axes)
    assert float((usual.x_adv - case["x_adv"]).abs().max()) > 1e-4


def test_terms_divided_by_the_sum_of_their_weights(
    world: World, step: Callable[..., Step], close: Close, agrees: Agrees
) -> None:
    """FRL's loss: sum w_nat CE / sum w_nat + beta sum w_bnd KL / sum w_bnd, with the stored multipliers."""
    case = world.arrays("frl_step_rw.npz")
    label, robust, radius = (tuple(case[key].tolist()) for key in ("diff0", "diff1", "diff2"))
    policy = BySum(label=label, robust=robust, radius=radius)
    ours = step(case, world.normal, lr=1e-3, objective=Trades(beta=float(case["beta"])), policy=policy)
    agrees(case, ours)
    close(case, "after_", ours.weights, WEIGHT)
