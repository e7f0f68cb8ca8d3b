"""Attack steps of a class from how often it was fooled."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, ClassPolicy, Dataset, TrainConfig, linf, train
from classwise.attacks import PGD, BoundaryBalancedPGD, FriendlyPGD, Square
from classwise.configuration import from_plain, to_plain
from classwise.data import Split
from classwise.models import Linear
from classwise.objectives import Mart, Natural, VarianceRegularised
from classwise.policies import BoundaryBudget, Combined
from classwise.policies.base import all_knobs
from classwise.progress import Silent
from classwise.randomness import KeyedNoise
from classwise.training import Hardware

CPU = torch.device("cpu")


def stats(epoch: int, error: list[float], count: list[float]) -> dict[str, Tensor]:
    return {
        "epoch": torch.tensor(epoch),
        "train_error": torch.tensor(error, dtype=torch.float64),
        "train_count": torch.tensor(count, dtype=torch.float64),
    }


def test_the_rule() -> None:
    policy = BoundaryBudget(strength=0.6, begin=1)
    state = policy.init(4)
    assert policy.knobs(state)["steps"].tolist() == [1, 1, 1, 1]
    first = policy.on_epoch(state, stats(0, [0.0, 1.0, 0.5, 0.0], [5, 9, 2, 0]))
    assert policy.knobs(first)["steps"].tolist() == pytest.approx([1, 0.4, 0.7, 1])
    # It remembers nothing but a class that was not there.
    second = policy.on_epoch(first, stats(1, [0.2, 0.2, 0.0, 0.9], [5, 9, 0, 3]))
    assert policy.knobs(second)["steps"].tolist() == pytest.approx([0.88, 0.88, 0.7, 0.46])
    assert first["steps"].tolist() == pytest.approx([1, 0.4, 0.7, 1])  # a pure function


def test_it_begins_when_told() -> None:
    policy = BoundaryBudget(begin=3)
    state = policy.init(2)
    for epoch in range(5):
        state = policy.on_epoch(state, stats(epoch, [0.5, 0.1], [3, 3]))
        assert bool((state["steps"] == 1).all()) == (epoch < 2)  # what epoch 2 leaves is for epoch 3


def test_no_strength_is_no_policy() -> None:
    policy = BoundaryBudget(strength=0, begin=0)
    state = policy.on_epoch(policy.init(3), stats(0, [0.0, 0.4, 1.0], [1, 1, 1]))
    knobs = all_knobs(policy, state, 3, CPU)
    assert all(bool((values == 1).all()) for values in knobs.values())


def test_renaming_the_groups_renames_the_knobs() -> None:
    policy, order = BoundaryBudget(begin=0), torch.tensor([2, 0, 3, 1])
    error, count = [0.1, 0.9, 0.4, 0.0], [3.0, 4.0, 0.0, 6.0]
    straight = policy.on_epoch(policy.init(4), stats(0, error, count))["steps"]
    renamed = stats(0, [error[i] for i in order], [count[i] for i in order])
    assert torch.equal(policy.on_epoch(policy.init(4), renamed)["steps"], straight[order])


@pytest.mark.parametrize(
    "attack", [PGD(steps=10), FriendlyPGD(steps=10, budget=10)], ids=lambda each: type(each).__name__
)
def test_a_class_that_was_fooled_is_attacked_in_fewer_steps(attack: Any) -> None:
    """Where every step goes the same way, the way gone tells their number."""
    policy = BoundaryBudget(strength=0.75, begin=0)
    state = policy.on_epoch(policy.init(3), stats(0, [0.0, 0.5, 1.0], [4, 4, 4]))
    knob = all_knobs(policy, state, 3, CPU)["steps"].double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    x, y = torch.full((6, 1, 2, 2), 0.5, dtype=torch.float64), torch.arange(6) % 3
    threat, noise = linf("0.4"), KeyedNoise(0, torch.arange(6))
    x_adv = type(attack)(
        **{key: value for key, value in vars(attack).items() if key not in ("relative_step", "start")},
        relative_step=0.01,
        start="none",
    )(model, x, y, threat=threat, noise=noise, steps_scale=knob[y])
    assert ((x_adv - x).abs().flatten(1).amax(1) / 0.004).tolist() == pytest.approx([10, 7, 3] * 2)


def test_where_it_fits() -> None:
    TrainConfig(adversary=BoundaryBalancedPGD(), policy=BoundaryBudget())
    TrainConfig(adversary=PGD(), policy=Combined(members=(BoundaryBudget(), BoundaryBudget(strength=0.1))))
    for fields in ({"adversary": Square()}, {"objective": Natural()}):
        with pytest.raises(ValueError, match=r"number of attack steps|does not compute"):
            TrainConfig(policy=BoundaryBudget(), **fields)


@pytest.mark.parametrize("strength", [-0.1, 1.0, float("nan")])
def test_values_that_make_no_sense_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match=r"strength .* at least 0 and below 1"):
        BoundaryBudget(strength=strength)
    with pytest.raises(ValueError, match="begin -1"):
        BoundaryBudget(begin=-1)


def test_what_it_is() -> None:
    assert from_plain(ClassPolicy, "bat-budget") == BoundaryBudget()
    assert from_plain(ClassPolicy, to_plain(BoundaryBudget(strength=0.2))) == BoundaryBudget(strength=0.2)
    assert (BoundaryBudget.__doc__ or "").startswith("Experimental:")
    assert BoundaryBudget().observes() == {"train_error", "train_count"}
    assert BoundaryBudget().steered() == {"steps"}


def test_in_a_run_the_steps_follow_the_errors_of_the_epoch_before(tmp_path: Path) -> None:
    labels = torch.arange(48) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(9))
    images = 0.4 * pattern[labels] + 0.6 * torch.rand(48, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = Dataset("toy", train=ClassData(images, labels, tuple("abc")), test=lambda: pytest.fail("read"))
    plan = TrainConfig(
        split=Split(at_least=4),
        model=Linear(),
        threat=linf("0.1"),
        adversary=BoundaryBalancedPGD(steps=4),
        objective=VarianceRegularised(base=Mart()),
        policy=BoundaryBudget(strength=0.8, begin=1),
        validation_attack=PGD(steps=2),
        epochs=3,
        batch_size=16,
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    run = train(plan, tmp_path / "run", data=data, progress=Silent())
    history = run.directory.events.read("epoch")
    assert history[0]["knobs"]["steps"] == [1, 1, 1]
    for before, after in pairwise(history):
        error = torch.tensor(before["train"]["error"])
        assert after["knobs"]["steps"] == pytest.approx((1 - 0.8 * error).tolist(), abs=1e-6)
        assert min(after["knobs"]["steps"]) < 1
