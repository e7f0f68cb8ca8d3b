"""One training step of ours against one of published implementations: attack, loss, gradients, weights after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from classwise import ClassData, ClassPolicy, TrainConfig, config, linf
from classwise.attacks import PGD
from classwise.data import Batch
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import KLDRO, Fixed, State, Stats, Uniform
from classwise.policies.base import all_knobs
from classwise.training import Hardware, Runtime
from classwise.training.meter import Meter
from classwise.training.step import Network, Stepper

World = Any
Close = Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]
EPS = 8 / 255
GRADIENT, WEIGHT, PIXEL = 1e-5, 1e-6, 1e-6


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


@dataclass
class Step:
    """What a step left behind."""

    x_adv: Tensor
    loss: float
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    state: State


@pytest.fixture
def step(world: World, given_noise: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Step]:
    """Perform one step from the world's weights on its batch."""

    def run(case: Mapping[str, Tensor], start: Tensor, training: bool = True, lr: float = 0.01, **axes: Any) -> Step:
        monkeypatch.setattr("classwise.training.step.GeneratorNoise", lambda *_: given_noise(start))
        attack = PGD(
            steps=int(case["steps"]) if "steps" in case else 10,
            step_size=repr(float(case["step"])),
            bn_mode=axes.pop("bn_mode", "eval"),
        )
        plan = TrainConfig(
            threat=linf(repr(float(case.get("eps", torch.tensor(EPS))))),
            adversary=attack,
            hardware=Hardware(device="cpu", precision="fp32"),
            **axes,
        )
        runtime, net = Runtime(plan.hardware), world.net().train(training)
        source = ClassData(world.common["x_uint8"], world.y, tuple("0123456789"))
        generator = torch.Generator()
        optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        stepper = Stepper(plan, runtime, Network(net, net), optimizer, source, generator, generator)
        seen: list[Tensor] = []
        objective = type(plan.objective).__call__

        def watched(self: Any, model: Any, x: Tensor, x_adv: Tensor, y: Tensor) -> Any:
            seen.append(x_adv)
            return objective(self, model, x, x_adv, y)

        monkeypatch.setattr(type(plan.objective), "__call__", watched)
        meter = Meter([], runtime)
        knobs = all_knobs(plan.policy, plan.policy.init(10), 10, runtime.device)
        batch = Batch(world.x, world.y, world.y, torch.arange(24), 24, slice(None))
        state = stepper(batch, knobs, plan.policy.init(10), 0, meter)
        gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
        return Step(seen[0], meter.finish()[1]["loss"], gradients, net.state_dict(), state)

    return run


def check(case: Mapping[str, Tensor], ours: Step, close: Close, loss: float = WEIGHT) -> None:
    assert float((ours.x_adv - case["x_adv"]).abs().max()) <= PIXEL
    assert ours.loss == pytest.approx(float(case["loss"]), abs=loss)
    close(case, "grad_", ours.gradients, GRADIENT)


@pytest.mark.parametrize("name", ["trades_linf_b1", "trades_linf_paper", "trades_linf_b6"])
def test_trades(name: str, world: World, step: Callable[..., Step], close: Close) -> None:
    case = world.arrays(f"{name}.npz")
    check(case, step(case, world.normal, objective=Trades(beta=float(case["beta"]))), close)


@pytest.mark.parametrize("mode", ["evalmode", "trainmode"])
def test_adversarial_training(mode: str, world: World, step: Callable[..., Step], close: Close) -> None:
    case = world.arrays(f"cfa_at_{mode}.npz")
    train = mode == "trainmode"
    ours = step(case, world.unit, training=train, bn_mode=mode.removesuffix("mode"), objective=AdversarialTraining())
    check(case, ours, close)


@pytest.mark.parametrize("mode", ["evalmode", "trainmode"])
def test_a_radius_for_each_class(mode: str, world: World, step: Callable[..., Step], close: Close) -> None:
    case = world.arrays(f"cfa_at_ccm_{mode}.npz")
    policy = Fixed(radius=tuple((case["class_eps"] / EPS).tolist()))
    assert max(policy.radius) / min(policy.radius) > 1.4
    train = mode == "trainmode"
    check(case, step(case, world.unit, training=train, bn_mode=mode.removesuffix("mode"), policy=policy), close)


@pytest.mark.parametrize("name", ["cfa_trades_plain", "cfa_trades_ccr", "cfa_trades_ccm_ccr"])
def test_a_coefficient_for_each_class(name: str, world: World, step: Callable[..., Step], close: Close) -> None:
    """sum (1 - b) CE + b KL with b = beta / (1 + beta) of each class, as multipliers of the two terms."""
    case = world.arrays(f"{name}.npz")
    share = case["class_beta_coef"]
    radius = tuple((case["class_eps"] / EPS).tolist()) if "class_eps" in case else ()
    policy = Fixed(label=tuple((1 - share).tolist()), robust=tuple((share / 6).tolist()), radius=radius)
    check(case, step(case, world.normal, policy=policy, objective=Trades(beta=6)), close)


FAAL = [("faal_step_at", AdversarialTraining(), "unit"), ("faal_step_trades", Trades(beta=6), "normal")]


@pytest.mark.parametrize("tau", [25, 50])
@pytest.mark.parametrize(("base", "objective", "start"), FAAL, ids=["at", "trades"])
def test_faal_step(
    base: str, objective: Any, start: str, tau: int, world: World, step: Callable[..., Step], close: Close
) -> None:
    """The stored weights (whose definition differs from ours, see methods.md D25 and D32), scaled by K = 10."""
    case = world.arrays(f"{base}_tau{tau}.npz")
    policy = Given(weights=tuple((10 * case["weights"]).tolist()))
    ours = step(case, getattr(world, start), lr=float(case["lr"]), objective=objective, policy=policy)
    assert torch.allclose(ours.state["batch_margin"], case["class_margin"], rtol=0, atol=1e-6)
    assert torch.equal(ours.state["batch_count"], torch.bincount(world.y, minlength=10).double())
    check(case, ours, close)
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


def test_terms_divided_by_the_sum_of_their_weights(world: World, step: Callable[..., Step], close: Close) -> None:
    """FRL's loss: sum w_nat CE / sum w_nat + beta sum w_bnd KL / sum w_bnd, with the stored multipliers."""
    case = world.arrays("frl_step_rw.npz")
    label, robust, radius = (tuple(case[key].tolist()) for key in ("diff0", "diff1", "diff2"))
    policy = BySum(label=label, robust=robust, radius=radius)
    ours = step(case, world.normal, lr=1e-3, objective=Trades(beta=float(case["beta"])), policy=policy)
    check(case, ours, close)
    close(case, "after_", ours.weights, WEIGHT)
