"""The variance penalty's step and its training script's learning rates against the published ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from classwise.objectives import AdversarialTraining, Objective, Trades, VarianceRegularised
from classwise.objectives.variance import group_variance
from classwise.training import Steps

World = Any
Step = Any
BASES: dict[str, Callable[[], Objective]] = {
    "varreg_at.npz": AdversarialTraining,
    "varreg_trades.npz": lambda: Trades(beta=6),
}


@pytest.mark.parametrize("name", BASES)
def test_the_published_variance_over_a_hundred_slots(
    name: str, world: World, step: Callable[..., Step], agrees: Callable[..., None]
) -> None:
    case = world.arrays(name)
    base, alpha = BASES[name](), float(case["alpha"])
    objective = VarianceRegularised(base=base, alpha=alpha, slots=100)
    ours = step(case, world.unit, objective=objective)
    agrees(case, ours)
    without = step(case, world.unit, objective=VarianceRegularised(base=base, alpha=0, slots=100))
    assert ours.loss - without.loss == pytest.approx(alpha * float(case["public_variance_100slots"]), abs=1e-6)


@pytest.mark.parametrize("name", BASES)
def test_our_default_is_the_unbiased_variance_over_the_classes_present(
    name: str, world: World, step: Callable[..., Step]
) -> None:
    case = world.arrays(name)
    base, alpha = BASES[name](), float(case["alpha"])
    ours = step(case, world.unit, objective=VarianceRegularised(base=base, alpha=alpha))
    without = step(case, world.unit, objective=VarianceRegularised(base=base, alpha=0))
    assert ours.loss - without.loss == pytest.approx(alpha * float(case["variance_10_unbiased"]), abs=1e-6)
    net = world.net().train()
    losses = F.cross_entropy(net(ours.x_adv), world.y, reduction="none").detach()
    means = torch.stack([losses[world.y == c].mean() for c in range(10)])
    assert torch.allclose(means, case["class_mean_ce"], rtol=0, atol=1e-6)
    assert float(group_variance(losses, world.y, 10)) == pytest.approx(float(means.var()), abs=1e-9)
    assert float(group_variance(losses, world.y, 10) - case["variance_10_biased"]) > 0.1


def test_learning_rates(world: World) -> None:
    """Drops to multiples of the first rate; the script counts epochs from 1."""
    rates = world.numbers("lr_schedules.json")["varreg_120"]
    schedule = Steps(drops=(59, 89, 109), to=(0.1, 0.01, 0.005))
    ours = [0.1 * schedule.factor(epoch + share, 120) for epoch in range(120) for share in (0.0, 0.99)]
    assert len(rates) == 120
    assert ours[::2] == pytest.approx(rates, rel=1e-12)
    assert ours[1::2] == pytest.approx(rates, rel=1e-12)
