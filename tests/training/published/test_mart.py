"""MART's step, alone and under stored class weights, against published implementations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from classwise.attacks import PGD
from classwise.objectives import Mart
from classwise.policies import Fixed

World = Any
Step = Any


@pytest.mark.parametrize("name", ["mart_b6.npz", "mart_b5.npz"])
def test_mart(
    name: str, world: World, step: Callable[..., Step], agrees: Callable[..., None], close: Callable[..., None]
) -> None:
    case = world.arrays(name)
    ours = step(case, world.normal, objective=Mart(beta=float(case["beta"])))
    agrees(case, ours)
    close(case, "bn_after_", ours.weights, 1e-6)
    # The other script's beta would not pass, nor would the attack of TRADES.
    other = step(case, world.normal, objective=Mart(beta=11 - float(case["beta"])))
    assert abs(other.loss - float(case["loss"])) > 0.1
    kl = PGD(steps=10, step_size=repr(float(case["step"])), loss="kl")
    other = step(case, world.normal, adversary=kl, objective=Mart(beta=float(case["beta"])))
    assert float((other.x_adv - case["x_adv"]).abs().max()) > 0.01


@pytest.mark.parametrize("name", ["faal_step_mart_tau25.npz", "faal_step_mart_tau50.npz"])
def test_mart_under_the_class_weights_of_faal(
    name: str, world: World, step: Callable[..., Step], agrees: Callable[..., None], close: Callable[..., None]
) -> None:
    """Its code attacks the divergence (methods.md D29); stored weights are scaled by K = 10, constant in the step."""
    case = world.arrays(name)
    adversary = PGD(steps=int(case["steps"]), step_size=repr(float(case["step"])), loss="kl", start="gauss")
    policy = Fixed(weight=tuple((10 * case["weights"]).tolist()))
    ours = step(
        case,
        world.normal,
        lr=float(case["lr"]),
        adversary=adversary,
        objective=Mart(beta=float(case["beta"])),
        policy=policy,
    )
    agrees(case, ours)
    weights = {key: value for key, value in case.items() if key.startswith("after_")}
    assert len(weights) == 8
    close(case, "after_", ours.weights, 1e-6)
    uniform = step(case, world.normal, adversary=adversary, objective=Mart(beta=float(case["beta"])))
    assert abs(uniform.loss - ours.loss) > 0.1
    assert torch.equal(uniform.x_adv, ours.x_adv)
