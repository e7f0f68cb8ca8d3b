"""FAAL's class weights and training steps against its published code (TrustAI/FAAL b20ee9d)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from classwise import ClassPolicy, config
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import KLDRO, State, Stats, Uniform

World = Any
Step = Any
Agrees = Callable[..., None]
Close = Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]
WEIGHT = 1e-6
PUBLISHED: dict[str, Any] = {"scores": "sample-sums", "missing": "minus-one", "normaliser": "all"}
STEPS = [
    ("faal_step_at_tau25.npz", AdversarialTraining(), "unit"),
    ("faal_step_at_tau50.npz", AdversarialTraining(), "unit"),
    ("faal_step_trades_tau25.npz", Trades(beta=6), "normal"),
    ("faal_step_trades_tau50.npz", Trades(beta=6), "normal"),
]


@config
class Given(ClassPolicy):
    """Batch weights that were stored; keeps the statistics it is shown."""

    weights: tuple[float, ...]
    needs = ("batch_margin", "batch_count")

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        return torch.tensor(self.weights, dtype=torch.float64), {**stats}


@config
class Watched(KLDRO):
    """KL-DRO that keeps the weights it gave."""

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        weights, _ = super().on_batch(state, stats)
        assert weights is not None
        return weights, {"weights": weights}


def test_weights_of_the_convex_program(world: World) -> None:
    """All stored cases, three classes of some of which have no sample; the interior-point solver stops 2e-6 away."""
    cases = world.numbers("faal_weights.json")["cases"]
    absent = 0
    for case in cases:
        count = torch.bincount(torch.tensor(case["labels"]), minlength=len(case["class_loss"])).double()
        stats = {
            "epoch": torch.tensor(0),
            "batch_margin": torch.tensor(case["class_loss"], dtype=torch.float64),
            "batch_count": count,
        }
        weights, _ = KLDRO(tau=case["tau"], **PUBLISHED).on_batch({}, stats)
        assert weights is not None
        assert (weights / len(count)).tolist() == pytest.approx(case["weights"], abs=3e-6)
        assert float((weights / len(count)) @ (stats["batch_margin"] * count)) == pytest.approx(
            case["objective"], abs=1e-4
        )
        absent += int((count == 0).sum())
        ours, _ = KLDRO(tau=case["tau"]).on_batch({}, stats)  # the recommended weights are others
        assert ours is not None
        equal_counts = len(set(count.tolist())) == 1
        assert (ours.tolist() == pytest.approx(weights.tolist(), abs=1e-4)) == equal_counts
    assert len(cases) == 14
    assert absent == 9


@pytest.mark.parametrize(("name", "objective", "start"), STEPS)
def test_a_step_with_our_own_weights(
    name: str, objective: Any, start: str, world: World, step: Callable[..., Step], close: Close, agrees: Agrees
) -> None:
    """The published definition of the weights, solved in the loop: weights, loss, gradients, parameters after it."""
    case = world.arrays(name)
    policy = Watched(tau=float(case["tau"]), **PUBLISHED)
    ours = step(case, getattr(world, start), lr=float(case["lr"]), objective=objective, policy=policy)
    assert torch.allclose(ours.state["weights"] / 10, case["weights"], rtol=0, atol=WEIGHT)
    agrees(case, ours)
    close(case, "after_", ours.weights, WEIGHT)


@pytest.mark.parametrize(("name", "objective", "start"), STEPS)
def test_a_step_with_the_stored_weights(
    name: str, objective: Any, start: str, world: World, step: Callable[..., Step], close: Close, agrees: Agrees
) -> None:
    """Scaled by K = 10; the class scores the policy is shown are the stored ones."""
    case = world.arrays(name)
    policy = Given(weights=tuple((10 * case["weights"]).tolist()))
    ours = step(case, getattr(world, start), lr=float(case["lr"]), objective=objective, policy=policy)
    assert torch.allclose(ours.state["batch_margin"], case["class_margin"], rtol=0, atol=1e-6)
    assert torch.equal(ours.state["batch_count"], torch.bincount(world.y, minlength=10).double())
    agrees(case, ours)
    close(case, "after_", ours.weights, WEIGHT)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_the_recommended_weights_in_a_step(
    direction: Any, world: World, step: Callable[..., Step], close: Close
) -> None:
    """KL-DRO on class means is its weights, as an independent solver finds them, put into the step checked above."""
    case = world.arrays("faal_step_at_tau50.npz")
    ours = step(case, world.unit, lr=float(case["lr"]), policy=KLDRO(tau=0.5, direction=direction))
    scores, tau = case["class_margin"].numpy(), 0.5

    def weights(v: float) -> Any:
        made = 1 / (scores.max() + v - scores) if direction == "reverse" else np.exp((scores - scores.max()) / v)
        return made / made.sum()

    def divergence(v: float) -> float:
        q = weights(v)
        return float((-np.log(10 * q) / 10).sum() if direction == "reverse" else (q * np.log(10 * q)).sum()) - tau

    by_hand = weights(brentq(divergence, 1e-2, 1e3, xtol=1e-14))
    given = step(case, world.unit, lr=float(case["lr"]), policy=Given(weights=tuple(10 * by_hand)))
    assert ours.loss == pytest.approx(given.loss, abs=1e-6)
    close({f"grad_{key}": value for key, value in given.gradients.items()}, "grad_", ours.gradients, 1e-6)
    uniform = step(case, world.unit, lr=float(case["lr"]), policy=Uniform())
    assert abs(ours.loss - uniform.loss) > 0.1


@pytest.mark.parametrize(("name", "objective", "start"), STEPS[::2])
def test_without_a_ball_it_is_the_base_method(
    name: str, objective: Any, start: str, world: World, step: Callable[..., Step]
) -> None:
    """From scratch the radius is 0 until epoch 100; the step belongs to epoch 0."""
    case = world.arrays(name)
    policy = KLDRO(tau=0, stage_epochs=(100, 150), stage_taus=(0.25, 0.5))
    ours, base = (step(case, getattr(world, start), objective=objective, policy=each) for each in (policy, Uniform()))
    assert ours.loss == base.loss
    assert all(torch.equal(ours.weights[key], base.weights[key]) for key in base.weights)
