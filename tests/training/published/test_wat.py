"""WAT: one training step, the validation pass and its accuracies against the published code; whole runs of ours."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from classwise import ClassData, Run, TrainConfig, linf
from classwise.attacks import PGD
from classwise.data import NoAugmentation, Resident
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import Hedge, Uniform
from classwise.training import Hardware, Runtime
from classwise.training.losses import validation_losses
from classwise.training.step import Network, Stepper

World = Any
Step = Any
Agrees = Callable[..., None]
Close = Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]
WEIGHT = 1e-6
"""Tolerance of float64 losses, from the README beside the stored numbers."""


def arms(case: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of the policy in which the arms weigh what was stored."""
    return {"cost": torch.zeros(11, dtype=torch.float64), "arms": case["weights"].double()}


@pytest.mark.parametrize("name", ["wat_step_ones.npz", "wat_step_w.npz"])
def test_step(name: str, world: World, step: Callable[..., Step], agrees: Agrees, close: Close) -> None:
    case = world.arrays(name)
    ours = step(
        case,
        world.normal,
        lr=float(case["lr"]),
        weight_decay=2e-4,
        objective=Trades(beta=float(case["beta"])),
        policy=Hedge(normalise=False),
        state=arms(case),
    )
    agrees(case, ours)
    close(case, "after_", ours.weights, WEIGHT)


def test_the_first_epoch_is_twice_trades_as_published_and_trades_as_default(
    world: World, step: Callable[..., Step], close: Close
) -> None:
    case = world.arrays("wat_step_ones.npz")
    fields = {"objective": Trades(beta=6), "lr": 0.1, "weight_decay": 2e-4}
    trades = step(case, world.normal, policy=Uniform(), **fields)
    assert 2 * trades.loss == pytest.approx(float(case["loss"]), abs=WEIGHT)
    ours = step(case, world.normal, policy=Hedge(), **fields)
    assert ours.loss == pytest.approx(trades.loss, abs=1e-12)
    close({f"grad_{key}": value for key, value in trades.gradients.items()}, "grad_", ours.gradients, 1e-12)


def test_rate_zero_is_trades_times_a_constant(world: World, step: Callable[..., Step]) -> None:
    """After an epoch at rate 0 all arms weigh K / (K + 1), and the loss is 2 K / (K + 1) that of TRADES."""
    case = world.arrays("wat_step_w.npz")
    trades = step(case, world.normal, objective=Trades(beta=6))
    for normalise, factor in ((False, 20 / 11), (True, 1.0)):
        policy = Hedge(rate=0, normalise=normalise)
        cost = torch.arange(10, dtype=torch.float64)
        seen = {"validation_label_loss": cost, "validation_robust_loss": cost, "validation_count": cost + 1}
        state = policy.on_epoch(policy.init(10), seen)
        ours = step(case, world.normal, objective=Trades(beta=6), policy=policy, state=state)
        assert ours.loss == pytest.approx(factor * trades.loss, abs=WEIGHT)  # knobs are float32 on the device


class KeyedDraws:
    """Stands in for noise that is keyed by sample: stored draws of the samples asked for."""

    def __init__(self, draws: Tensor, seen: list[tuple[int, list[int], int]]) -> None:
        self.draws, self.seen = draws, seen

    def __call__(self, seed: int, index: Tensor, epoch: int) -> Any:
        self.seen.append((seed, index.tolist(), epoch))
        return self

    def normal(self, like: Tensor) -> Tensor:
        return self.draws[self.seen[-1][1]].to(like)


class Doubles(ClassData):
    """Images in float64, as in the published world."""

    def batch(self, rows: Tensor | slice, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        return self.images[rows].double() / 255, self.labels[rows]


class Pass:
    """One of our validation passes over the world's batch, and what the attack made in it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        plan = TrainConfig(
            **{
                "threat": linf("0.031"),
                "adversary": PGD(steps=10, step_size="0.007"),
                "objective": Trades(beta=6),
                "batch_size": 24,
                "seed": 5,
                "hardware": Hardware(device="cpu", precision="fp32"),
                **changes,
            }
        )
        runtime, net = Runtime(plan.hardware), world.net().train()
        data = Doubles(world.common["x_uint8"], world.y, tuple("0123456789"))
        generator = torch.Generator()
        draws: list[tuple[int, list[int], int]] = []
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        source = Resident(data, NoAugmentation(), runtime.device)
        stepper = Stepper(plan, runtime, Network(net, net), optimizer, source, generator, generator)
        monkeypatch.setattr("classwise.training.losses.KeyedNoise", KeyedDraws(world.normal, draws))
        made: list[Tensor] = []
        attack = stepper.attack

        def watched(*arguments: Any) -> Tensor:
            made.append(attack(*arguments))
            return made[-1]

        monkeypatch.setattr(stepper, "attack", watched)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        stream = generator.get_state()
        self.stats = validation_losses(stepper, data, epoch=3)
        self.x_adv, self.draws, self.net = torch.cat(made) if made else None, draws, net
        assert net.training
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        assert torch.equal(generator.get_state(), stream)
        assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize("batch_size", [24, 7])
def test_validation(batch_size: int, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs of all arms by the published count, whatever micro-batches ours are measured in; and the accuracies."""
    case = world.numbers("wat_validate.json")
    ours = Pass(world, monkeypatch, batch_size=batch_size)
    count = torch.bincount(world.y, minlength=10).double()
    natural, boundary = ours.stats["validation_label_loss"], ours.stats["validation_robust_loss"] / 6
    for mean, stored in ((natural, case["nat_cost"]), (boundary, case["bndy_cost"])):
        public = 10 * mean * count / 24
        assert public.tolist() == pytest.approx(stored[:-1], abs=WEIGHT)
        assert float(public.mean()) == pytest.approx(stored[-1], abs=WEIGHT)
    policy = Hedge(counted="batches", batch_size=case["batch_size"])
    state = policy.on_epoch(policy.init(10), {**ours.stats, "validation_count": count})
    expected = [nat + 6 * bndy for nat, bndy in zip(case["nat_cost"], case["bndy_cost"], strict=True)]
    assert state["cost"].tolist() == pytest.approx(expected, abs=WEIGHT)

    right = (ours.net.eval()(ours.x_adv).argmax(1) == world.y).double()
    assert float(right.mean()) == pytest.approx(case["robust_acc"], abs=1e-12)
    by_class = [float(right[world.y == c].mean()) for c in range(10)]
    assert by_class == pytest.approx(case["class_robust_acc"], abs=1e-12)
    starts = range(0, 24, batch_size)
    assert ours.draws == [(5, list(range(24))[start : start + batch_size], 4) for start in starts]


def test_validation_of_an_objective_with_one_term(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Pass(world, monkeypatch, objective=AdversarialTraining(), adversary=PGD(start="gauss", steps=2))
    assert ours.stats.keys() == {"validation_label_loss"}
    losses = torch.nn.functional.cross_entropy(ours.net.eval()(ours.x_adv), world.y, reduction="none").detach()
    means = [float(losses[world.y == c].mean()) for c in range(10)]
    assert ours.stats["validation_label_loss"].tolist() == pytest.approx(means, abs=1e-12)


def test_a_run_weighs_by_the_costs_of_the_epochs_before(toy_run: Callable[..., Run], tmp_path: Path) -> None:
    """The history holds the costs after each epoch; the weights of the next one follow from them."""
    run = toy_run(tmp_path, policy=Hedge(rate=2.0), objective=Trades(beta=1), epochs=4)
    history = run.history
    assert history[0]["knobs"]["weight"] == [1, 1, 1]
    for before, after in pairwise(history):
        cost = before["policy"]["cumulative_cost"]
        assert all(new > old for old, new in zip(cost, after["policy"]["cumulative_cost"], strict=True))
        exponentials = [math.exp(2 * each) for each in [*cost, sum(cost) / 3]]
        raw = [(each + exponentials[-1]) for each in exponentials[:-1]]
        assert after["knobs"]["weight"] == pytest.approx([3 * each / sum(raw) for each in raw], abs=1e-6)
    assert run.acted == {"weight": 1}


def test_a_run_that_was_interrupted_ends_with_the_same_weights(
    toy_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"policy": Hedge(rate=1.0), "objective": Trades(), "epochs": 4}
    whole = toy_run(tmp_path / "whole", **fields)
    ours = Hedge.on_epoch

    def broken(self: Hedge, state: Any, stats: Any) -> Any:
        if int(stats["epoch"]) == 2:
            raise KeyboardInterrupt
        return ours(self, state, stats)

    monkeypatch.setattr(Hedge, "on_epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        toy_run(tmp_path / "resumed", **fields)
    monkeypatch.setattr(Hedge, "on_epoch", ours)
    resumed = toy_run(tmp_path / "resumed", **fields)
    for one, other in zip(whole.model("last").parameters(), resumed.model("last").parameters(), strict=True):
        assert torch.equal(one, other)
    assert [each["knobs"] for each in whole.history] == [each["knobs"] for each in resumed.history]
