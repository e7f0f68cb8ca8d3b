"""Steps at perturbed weights, ours against those of published implementations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassPolicy, config
from classwise.attacks import Attack
from classwise.objectives import AdversarialTraining, Natural, Trades
from classwise.perturbation import AdversarialWeights, Gradient
from classwise.policies import State, Stats

World = Any
Step = Any
Agrees = Callable[..., None]
Close = Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]
GRADIENT, WEIGHT = 1e-5, 1e-6
EPS = 8 / 255

AT, TRADES = AdversarialTraining(), Trades(beta=6)
AWP = [("awp_at_g5.npz", AT), ("awp_at_g10.npz", AT), ("awp_trades_g5.npz", TRADES), ("awp_trades_g10.npz", TRADES)]
FAAL = [
    ("faal_step_at_awp_tau25.npz", AT, "unit"),
    ("faal_step_at_awp_tau50.npz", AT, "unit"),
    ("faal_step_trades_awp_tau25.npz", TRADES, "normal"),
    ("faal_step_trades_awp_tau50.npz", TRADES, "normal"),
]


@config
class Given(ClassPolicy):
    """Batch weights that were stored."""

    weights: tuple[float, ...]

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        return torch.tensor(self.weights, dtype=torch.float64), state


def handing_out(x_adv: Tensor) -> Attack:
    @config
    class HandedOut(Attack):
        """Perturbed images that were computed beforehand."""

        def run(self, *_: Any) -> Tensor:
            return x_adv

    return HandedOut()


def watched(gamma: float) -> tuple[AdversarialWeights, list[dict[str, Tensor]]]:
    """The perturbation, and where it notes the model's state at the moved weights."""
    seen: list[dict[str, Tensor]] = []

    @config
    class Watched(AdversarialWeights):
        @contextmanager
        def __call__(self, model: nn.Module, gradient: Gradient, epoch: int) -> Iterator[None]:
            with AdversarialWeights.__call__(self, model, gradient, epoch):
                seen.append({name: value.clone() for name, value in model.state_dict().items()})
                yield

    return Watched(gamma=gamma), seen


@pytest.mark.parametrize(("name", "objective"), AWP, ids=[name for name, _ in AWP])
def test_a_step_at_perturbed_weights(
    name: str, objective: Natural, world: World, step: Callable[..., Step], close: Close
) -> None:
    """Direction, moved weights, loss and gradients there, and the weights after momentum, decay and the way back."""
    case = world.arrays(name)
    gamma = float(case["gamma"])
    assert name.endswith(f"_g{1000 * gamma:.0f}.npz")
    x_adv = (world.x + EPS * (2 * world.unit - 1).sign()).clamp(0, 1)
    assert torch.allclose(x_adv, case["x_adv"].double(), rtol=0, atol=1e-7)
    perturbation, seen = watched(gamma)
    ours = step(
        case,
        lr=float(case["lr"]),
        momentum=float(case["momentum"]),
        weight_decay=float(case["weight_decay"]),
        adversary=handing_out(x_adv),
        objective=objective,
        perturbation=perturbation,
    )
    (moved,) = seen
    close(case, "perturbed_", moved, WEIGHT)
    before = world.net().state_dict()
    direction = {key: (moved[key] - before[key]) / gamma for key in before}
    assert {key for key, each in direction.items() if float(each.abs().max()) > 0} == {
        key.removeprefix("direction_") for key in case if key.startswith("direction_")
    }
    close(case, "direction_", direction, GRADIENT)
    assert ours.loss == pytest.approx(float(case["loss_perturbed"]), abs=WEIGHT)
    close(case, "grad_", ours.gradients, GRADIENT)
    close(case, "after_", ours.weights, WEIGHT)


@pytest.mark.parametrize(("name", "objective", "start"), FAAL, ids=[name for name, *_ in FAAL])
def test_class_weights_at_perturbed_weights(
    name: str,
    objective: Natural,
    start: str,
    world: World,
    step: Callable[..., Step],
    close: Close,
    agrees: Agrees,
) -> None:
    """FAAL on top: its stored class weights (scaled by K = 10, see methods.md D25, D32) bear on the loss, not on the move.

    Its code runs the perturbed images through BatchNorm first and the clean ones after them, without need in its AT, too;
    ours runs what the objective needs, clean images first. The stored statistics are those of the code's order at our moved
    weights, and ours those of our order, to the last digit that was stored.
    """
    case = world.arrays(name)
    perturbation, seen = watched(float(case["gamma"]))
    policy = Given(weights=tuple((10 * case["weights"]).tolist()))
    draws = getattr(world, start)
    ours = step(case, draws, lr=float(case["lr"]), objective=objective, policy=policy, perturbation=perturbation)
    agrees(case, ours)
    close(case, "after_", ours.weights, WEIGHT)
    theirs = statistics(world, seen[0], [ours.x_adv, world.x])
    close(case, "bn_after_", theirs, WEIGHT)
    order = [world.x, ours.x_adv] if objective == TRADES else [ours.x_adv]
    for key, value in statistics(world, seen[0], order).items():
        assert torch.allclose(ours.weights[key], value, rtol=0, atol=1e-12), key


def statistics(world: World, state: Mapping[str, Tensor], batches: list[Tensor]) -> dict[str, Tensor]:
    """BatchNorm's running statistics after some batches went through a network in train mode."""
    net = world.net().train()
    net.load_state_dict(state)
    with torch.no_grad():
        for batch in batches:
            net(batch)
    return {key: value for key, value in net.state_dict().items() if "running_" in key}


def test_class_weights_do_not_bear_on_the_move(world: World, step: Callable[..., Step]) -> None:
    case = world.arrays("faal_step_at_awp_tau50.npz")
    moved = []
    for weights in ((1.0,) * 10, tuple((10 * case["weights"]).tolist())):
        perturbation, seen = watched(0.005)
        step(case, world.unit, policy=Given(weights=weights), perturbation=perturbation)
        moved += seen
    assert all(torch.equal(moved[0][key], moved[1][key]) for key in moved[0])
