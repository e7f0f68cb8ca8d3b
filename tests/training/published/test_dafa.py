"""DAFA: training steps against the published code, and whole runs of ours."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from classwise import Run, config
from classwise.attacks import PGD
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import Fixed, SimilarityTransfer, State, Stats

World = Any
Step = Any
Agrees = Callable[..., None]
Close = Callable[[Mapping[str, Tensor], str, Mapping[str, Tensor], float], None]
WEIGHT = 1e-6
"""Tolerance of float64 comparisons, from the README beside the stored numbers."""


@config
class Recording(SimilarityTransfer):
    """Also notes the mean predictions of the batch."""

    needs = (*SimilarityTransfer.needs, "batch_probabilities", "batch_count")

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        return None, {**state, "seen": stats["batch_probabilities"], "count": stats["batch_count"]}


@config
class RecordingFixed(Fixed):
    """Also notes the mean predictions of the batch."""

    needs = ("batch_probabilities", "batch_count")
    on_batch = Recording.on_batch


@config
class SecondPlainStep(PGD):
    """The flaw of the published attack for adversarial training, which ours does not have.

    Along one gradient it takes the step of each class into the ball of each class, and then a plain step into the plain
    ball. Its result is inside the plain ball and outside those of weak classes, so the class values come as a field and
    not as knobs, by which the base class would put the result back.
    """

    multiplier: tuple[float, ...]

    def run(self, model: Any, x: Tensor, y: Tensor, threat: Any, *rest: Any) -> Tensor:
        noise, radius, length = rest[3], float(threat.radius), float(self.step_size)
        own = torch.tensor(self.multiplier, dtype=x.dtype)[y].view(-1, 1, 1, 1)
        x_adv = x + 0.001 * noise.normal(x)
        for _ in range(self.steps):
            point = x_adv.detach().requires_grad_()
            sign = torch.autograd.grad(F.cross_entropy(model(point), y), point)[0].sign()
            x_adv = (x_adv + own * length * sign).clamp(x - own * radius, x + own * radius)
            x_adv = (x_adv + length * sign).clamp(x - radius, x + radius).clamp(0, 1)
        return x_adv


def transfer(case: Mapping[str, Tensor]) -> State:
    """State of the policy after the warm-up that gave the stored multipliers."""
    return {"multiplier": case["class_weights"].double()}


def class_means(case: Mapping[str, Tensor], y: Tensor) -> Tensor:
    return torch.stack([case["probs_collected"][y == c].mean(0) for c in range(10)])


@pytest.mark.parametrize("name", ["dafa_trades_w.npz", "dafa_trades_ones.npz"])
def test_trades_step(name: str, world: World, step: Callable[..., Step], agrees: Agrees) -> None:
    """Radius, step and label loss of each class by its multiplier, the divergence unweighted.

    BatchNorm's running statistics are not compared: the published code runs the perturbed images first, ours the clean.
    """
    case = world.arrays(name)
    ours = step(
        case, world.normal, objective=Trades(beta=float(case["beta"])), policy=Recording(), state=transfer(case)
    )
    agrees(case, ours)
    assert torch.allclose(ours.state["seen"], class_means(case, world.y), rtol=0, atol=WEIGHT)
    assert torch.equal(ours.state["count"], torch.bincount(world.y, minlength=10).double())


@pytest.mark.parametrize("name", ["dafa_pgd_public_w.npz", "dafa_pgd_public_ones.npz"])
def test_adversarial_training_step_with_the_published_flaw(
    name: str, world: World, step: Callable[..., Step], agrees: Agrees, close: Close
) -> None:
    """The attack's flaw is imitated here, so that loss, gradients and statistics of the outer step can be compared."""
    case = world.arrays(name)
    multiplier = tuple(case["class_weights"].tolist())
    attack = SecondPlainStep(
        steps=int(case["steps"]), step_size=repr(float(case["step"])), start="gauss", multiplier=multiplier
    )
    ours = step(
        case,
        world.normal,
        adversary=attack,
        objective=AdversarialTraining(),
        policy=RecordingFixed(label=multiplier),
        state={"label": case["class_weights"].double()},
    )
    agrees(case, ours)
    close(case, "bn_after_", ours.weights, WEIGHT)
    assert torch.allclose(ours.state["seen"], class_means(case, world.y), rtol=0, atol=WEIGHT)


def test_our_attack_keeps_to_the_ball_of_each_class(world: World, step: Callable[..., Step]) -> None:
    """Without the flaw a class's images go as far as its own radius, and no further."""
    case = world.arrays("dafa_pgd_public_w.npz")
    attack = PGD(steps=10, step_size=repr(float(case["step"])), start="gauss")
    ours = step(
        case,
        world.normal,
        adversary=attack,
        objective=AdversarialTraining(),
        policy=SimilarityTransfer(),
        state=transfer(case),
    )
    reached = (ours.x_adv - world.x).abs().flatten(1).amax(1)
    allowed = (float(case["eps"]) * case["class_weights"])[world.y]
    assert torch.allclose(reached, allowed, rtol=0, atol=1e-8)  # radii are float32 knobs times the radius
    published = (case["x_adv"] - world.x).abs().flatten(1).amax(1)
    assert bool((published[allowed < 0.8 * float(case["eps"])] > allowed[allowed < 0.8 * float(case["eps"])]).all())


def test_strength_zero_is_trades(world: World, step: Callable[..., Step], close: Close) -> None:
    case = world.arrays("dafa_trades_w.npz")
    base = step(case, world.normal, objective=Trades(beta=6))
    policy = SimilarityTransfer(strength=0, warmup=1)
    stats = {"epoch": torch.tensor(0), "train_probabilities": class_means(case, world.y), "train_count": torch.ones(10)}
    state = policy.on_epoch(policy.init(10), stats)
    ours = step(case, world.normal, objective=Trades(beta=6), policy=policy, state=state)
    assert torch.equal(base.x_adv, ours.x_adv)
    assert base.loss == ours.loss
    close({f"grad_{key}": value for key, value in base.gradients.items()}, "grad_", ours.gradients, 0)


FIELDS = {"policy": SimilarityTransfer(warmup=2), "objective": Trades(), "epochs": 4}


def test_a_run_acts_after_the_warmup_and_then_stays(toy_run: Callable[..., Run], tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", **FIELDS)
    knobs = [entry["knobs"] for entry in run.history]
    assert knobs[0]["radius"] == knobs[1]["radius"] == [1, 1, 1]
    assert knobs[2]["radius"] == knobs[2]["step"] == knobs[2]["label"] != [1, 1, 1]
    assert knobs[2]["robust"] == knobs[2]["weight"] == [1, 1, 1]
    assert knobs[3] == knobs[2]
    assert run.acted == {"radius": 2, "step": 2, "label": 2}

    base = toy_run(tmp_path / "base", **{**FIELDS, "policy": SimilarityTransfer(warmup=2, strength=0)})
    losses, plain = ([entry["train"]["loss"] for entry in each.history] for each in (run, base))
    assert losses[:2] == plain[:2]
    assert losses[2] != plain[2]
    assert base.acted == {}


def test_a_run_that_was_interrupted_after_the_warmup_ends_with_the_same_weights(
    toy_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The multipliers are measured once, so a resumed run must have kept them."""
    whole = toy_run(tmp_path / "whole", **FIELDS)
    ours = SimilarityTransfer.on_epoch

    def broken(self: SimilarityTransfer, state: Any, stats: Any) -> Any:
        if int(stats["epoch"]) == 2:
            raise KeyboardInterrupt
        return ours(self, state, stats)

    monkeypatch.setattr(SimilarityTransfer, "on_epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        toy_run(tmp_path / "resumed", **FIELDS)
    monkeypatch.setattr(SimilarityTransfer, "on_epoch", ours)
    resumed = toy_run(tmp_path / "resumed", **FIELDS)
    for one, other in zip(whole.model("last").parameters(), resumed.model("last").parameters(), strict=True):
        assert torch.equal(one, other)
    assert [each["knobs"] for each in whole.history] == [each["knobs"] for each in resumed.history]


def test_groups_that_are_not_the_labels_are_refused(
    toy_run: Callable[..., Run], toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    data = toy_data(groups=torch.arange(48) % 2, group_names=("a", "b"))
    with pytest.raises(ValueError, match="compares classes with predictions, so its groups must be the labels"):
        toy_run(tmp_path, data=data, **FIELDS)
