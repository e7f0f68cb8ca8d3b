"""One training step of ours against one of published implementations: attack, loss, gradients, weights after it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from classwise import ClassPolicy, config
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import KLDRO, Fixed, State, Stats, Uniform

World = Any
Step = Any
Agrees = Callable[..., None]
Close = Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]
EPS = 8 / 255
WEIGHT = 1e-6


@config
class Given(ClassPolicy):
    """Batch weights that were stored; notes the statistics it is shown."""

    weights: tuple[float, ...]
    needs = ("batch_margin", "batch_count")

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        return torch.tensor(self.weights, dtype=torch.float64), {**stats}


@config
class BySum(Fixed):
    """Fixed knobs whose terms are divided by the sum of their weights."""

    reducer = "weight-sum"


@pytest.mark.parametrize("name", ["trades_linf_b1", "trades_linf_paper", "trades_linf_b6"])
def test_trades(name: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    case = world.arrays(f"{name}.npz")
    agrees(case, step(case, world.normal, objective=Trades(beta=float(case["beta"]))))


@pytest.mark.parametrize("mode", ["evalmode", "trainmode"])
def test_adversarial_training(mode: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    case = world.arrays(f"cfa_at_{mode}.npz")
    train = mode == "trainmode"
    ours = step(case, world.unit, training=train, bn_mode=mode.removesuffix("mode"), objective=AdversarialTraining())
    agrees(case, ours)


@pytest.mark.parametrize("mode", ["evalmode", "trainmode"])
def test_a_radius_for_each_class(mode: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    case = world.arrays(f"cfa_at_ccm_{mode}.npz")
    policy = Fixed(radius=tuple((case["class_eps"] / EPS).tolist()))
    assert max(policy.radius) / min(policy.radius) > 1.4
    train = mode == "trainmode"
    agrees(case, step(case, world.unit, training=train, bn_mode=mode.removesuffix("mode"), policy=policy))


@pytest.mark.parametrize("name", ["cfa_trades_plain", "cfa_trades_ccr", "cfa_trades_ccm_ccr"])
def test_a_coefficient_for_each_class(name: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    """sum (1 - b) CE + b KL with b = beta / (1 + beta) of each class, as multipliers of the two terms."""
    case = world.arrays(f"{name}.npz")
    share = case["class_beta_coef"]
    radius = tuple((case["class_eps"] / EPS).tolist()) if "class_eps" in case else ()
    policy = Fixed(label=tuple((1 - share).tolist()), robust=tuple((share / 6).tolist()), radius=radius)
    agrees(case, step(case, world.normal, policy=policy, objective=Trades(beta=6)))


FAAL = [("faal_step_at", AdversarialTraining(), "unit"), ("faal_step_trades", Trades(beta=6), "normal")]


@pytest.mark.parametrize("tau", [25, 50])
@pytest.mark.parametrize(("base", "objective", "start"), FAAL, ids=["at", "trades"])
def test_faal_step(
    base: str,
    objective: Any,
    start: str,
    tau: int,
    world: World,
    step: Callable[..., Step],
    close: Close,
    agrees: Agrees,
) -> None:
    """The stored weights (whose definition differs from ours, see methods.md D25 and D32), scaled by K = 10."""
    case = world.arrays(f"{base}_tau{tau}.npz")
    policy = Given(weights=tuple((10 * case["weights"]).tolist()))
    ours = step(case, getattr(world, start), lr=float(case["lr"]), objective=objective, policy=policy)
    assert torch.allclose(ours.state["batch_margin"], case["class_margin"], rtol=0, atol=1e-6)
    assert torch.equal(ours.state["batch_count"], torch.bincount(world.y, minlength=10).double())
    agrees(case, ours)
    close(case, "after_", ours.weights, WEIGHT)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_our_class_weights_in_a_step(direction: Any, world: World, step: Callable[..., Step], close: Close) -> None:
    """KL-DRO itself is its weights, as an independent solver finds them, put into the step checked above."""
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
