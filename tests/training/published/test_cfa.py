"""CFA's calibrated radius and regularisation against its published code (PKU-ML/CFA 071f333)."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from classwise.data import Batch
from classwise.objectives import AdversarialTraining, Outputs, Trades
from classwise.policies import CalibratedRadius, CalibratedRegularisation, ClassPolicy, Combined, State, Uniform
from classwise.training import Hardware, Runtime
from classwise.training.meter import Meter
from classwise.training.observe import membership

World = Any
Step = Any
Agrees = Callable[..., None]
EPS, BETA = 8 / 255, 6
AFTER_WARM_UP = 9  # the epoch before the first with class-wise settings


def statistics(epoch: int, robust: Tensor, count: Tensor | None = None) -> dict[str, Tensor]:
    count = torch.full_like(robust, 100) if count is None else count
    return {"epoch": torch.tensor(epoch), "train_robust": robust, "train_count": count}


def settings(policy: ClassPolicy, state: State, groups: int) -> tuple[Tensor, Tensor]:
    """The class-wise radius and beta / (1 + beta) that the knobs amount to on TRADES divided by 1 + beta."""
    knobs, ones = policy.knobs(state), torch.ones(groups, dtype=torch.float64)
    label = knobs.get("label", ones) / (1 + BETA)
    robust = knobs.get("robust", ones) * BETA / (1 + BETA)
    assert torch.allclose(label + robust, ones, rtol=0, atol=1e-15)  # every class keeps its total weight
    return EPS * knobs.get("radius", ones), robust


def test_schedule(world: World) -> None:
    """Both settings of every class in every epoch of four runs."""
    stored = world.numbers("cfa_schedule.json")
    accuracy = torch.tensor(stored["train_robust_acc_of_previous_epoch"], dtype=torch.float64)
    groups, seen = accuracy.shape[1], []
    for case in stored["cases"]:
        assert (case["eps"], case["beta"]) == (EPS, BETA)
        begin = case["begin"]
        regularisation = CalibratedRegularisation(offset=case["lambda2"], begin=begin, beta=case["beta"])
        policy = Combined(
            members=(
                CalibratedRadius(offset=case["lambda1"], begin=begin),
                regularisation if case["ccr"] else Uniform(),
            )
        )
        state = policy.init(groups)
        for epoch, expected in enumerate(case["epochs"]):
            if epoch > 0:
                state = policy.on_epoch(state, statistics(epoch - 1, accuracy[epoch]))
            radius, coefficient = settings(policy, state, groups)
            assert radius.tolist() == pytest.approx(expected["class_eps"], abs=1e-9), epoch
            assert coefficient.tolist() == pytest.approx(expected["class_beta_coef"], abs=1e-9), epoch
            seen.append((epoch >= begin, len(set(expected["class_eps"])) > 1))
    assert len(seen) == 64
    assert all(begun == varies for begun, varies in seen)


def test_accuracy_by_class(world: World) -> None:
    """What the code logs divides by N/K; ours divides by the class's own samples, and can be told to do as the code."""
    stored = world.numbers("cfa_classwise_log.json")
    with torch.no_grad():
        logits = world.net()(world.x)
    runtime = Runtime(Hardware(device="cpu", precision="fp32"))
    meter = Meter(["robust"], runtime)
    loss = torch.zeros(())
    batch = Batch(world.x, world.y, world.y, torch.arange(24), 24, slice(None))
    outputs = Outputs({"label": torch.zeros(24)}, adversarial=logits)
    meter.add(outputs, batch, membership(world.y, 10), loss, None)
    stats = {**meter.finish()[0], "epoch": torch.tensor(0)}
    assert float((logits.argmax(1) == world.y).double().mean()) == pytest.approx(stored["clean_acc"], abs=1e-12)

    found = {}
    for counts in ("true", "balanced"):
        radius = CalibratedRadius(offset=0.5, begin=0, counts=counts)  # type: ignore[arg-type]
        strength = CalibratedRegularisation(offset=0.5, begin=0, counts=counts)  # type: ignore[arg-type]
        found[counts] = radius.on_epoch(radius.init(10), stats)["radius"] - 0.5
        _, coefficient = settings(strength, strength.on_epoch(strength.init(10), stats), 10)
        assert torch.allclose(coefficient / (1 - coefficient) / BETA - 0.5, found[counts], rtol=0, atol=1e-12)
    assert found["true"].tolist() == pytest.approx(stored["true_class_acc"], abs=1e-12)
    assert found["balanced"].tolist() == pytest.approx(stored["class_acc_public"], abs=1e-12)
    assert float(found["balanced"].max()) > 1  # of an unbalanced class


@pytest.mark.parametrize(
    ("name", "mode"), [("cfa_at_evalmode.npz", "eval"), ("cfa_at_trainmode.npz", "train")], ids=["eval", "train"]
)
def test_adversarial_training(name: str, mode: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    case = world.arrays(name)
    agrees(case, step(case, world.unit, training=mode == "train", bn_mode=mode, objective=AdversarialTraining()))


@pytest.mark.parametrize(
    ("name", "mode"),
    [("cfa_at_ccm_evalmode.npz", "eval"), ("cfa_at_ccm_trainmode.npz", "train")],
    ids=["eval", "train"],
)
def test_a_radius_for_each_class(name: str, mode: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    """The policy is shown the accuracies that gave the stored radii."""
    case = world.arrays(name)
    policy = CalibratedRadius(offset=0.5)
    state = policy.on_epoch(policy.init(10), statistics(AFTER_WARM_UP, case["class_eps"] / EPS - 0.5))
    assert float(state["radius"].max() / state["radius"].min()) > 1.4
    agrees(case, step(case, world.unit, training=mode == "train", bn_mode=mode, policy=policy, state=state))


@pytest.mark.parametrize("name", ["cfa_trades_plain.npz", "cfa_trades_ccr.npz", "cfa_trades_ccm_ccr.npz"])
def test_a_coefficient_for_each_class(name: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    """(1 - b) CE + b KL with the stored b = beta_c / (1 + beta_c), from the accuracies that give it."""
    case = world.arrays(name)
    share = case["class_beta_coef"]
    accuracy = share / (1 - share) / BETA - 0.5
    members: list[ClassPolicy] = [CalibratedRegularisation(offset=0.5, beta=BETA)]
    if "class_eps" in case:
        members.append(CalibratedRadius(offset=0.5))
        assert torch.allclose(case["class_eps"] / EPS - 0.5, accuracy, rtol=0, atol=1e-12)  # one observation for both
    policy = Combined(members=tuple(members))
    state = policy.on_epoch(policy.init(10), statistics(AFTER_WARM_UP, accuracy))
    assert (float(share.max() - share.min()) > 0.01) == (name != "cfa_trades_plain.npz")
    objective = Trades(beta=BETA, divided=True)
    agrees(case, step(case, world.normal, policy=policy, state=state, objective=objective))
    if name == "cfa_trades_plain.npz":
        agrees(case, step(case, world.normal, objective=objective))  # also without the policy
