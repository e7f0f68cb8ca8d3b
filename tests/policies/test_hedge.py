"""Hedge (WAT) against its published weights and against its definition."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from classwise import TrainConfig
from classwise.configuration import replace
from classwise.objectives import AdversarialTraining, Trades
from classwise.policies import CalibratedRadius, Combined, Hedge, State
from classwise.policies.base import all_knobs

GROUPS = [2, 3, 10, 43, 200]


def stats(label: Tensor, robust: Tensor, count: Tensor | None = None, epoch: int = 0) -> dict[str, Tensor]:
    return {
        "epoch": torch.tensor(epoch),
        "validation_label_loss": label.double(),
        "validation_robust_loss": robust.double(),
        "validation_count": torch.full((len(label),), 30) if count is None else count,
    }


def drawn(groups: int, seed: int = 0, **fields: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label, robust = 3 * torch.rand(2, groups, generator=generator, dtype=torch.float64)
    return stats(label, robust, **fields)


def exponentials(cost: list[float], rate: float) -> list[float]:
    """K exp(rate C) / sum exp(rate C), as published, without a shift."""
    made = [math.exp(rate * each) for each in cost]
    return [(len(cost) - 1) * each / sum(made) for each in made]


def test_published_weights(shared: Path) -> None:
    """Weights of all arms over 12 epochs, from stored costs whose last entry is their average."""
    case = json.loads((shared / "fixtures" / "methods" / "wat_weights.json").read_text())
    natural, boundary, expected = (
        torch.tensor(case[name], dtype=torch.float64) for name in ("valid_nat_cost", "valid_bndy_cost", "weights")
    )
    assert expected.shape == (12, 11)
    policy = Hedge(rate=case["eta"], normalise=False)
    state = policy.init(10)
    assert policy.knobs(state)["weight"].tolist() == [2] * 10
    for nat, bndy, weights in zip(natural, boundary, expected, strict=True):
        state = policy.on_epoch(state, stats(nat[:-1], case["beta"] * bndy[:-1]))
        assert torch.allclose(state["arms"], weights, rtol=0, atol=1e-9)
        assert torch.allclose(policy.knobs(state)["weight"], weights[:-1] + weights[-1], rtol=0, atol=1e-9)
    assert float(expected.std(1).min()) > 0.05


def test_cost_of_two_epochs_by_hand() -> None:
    policy = Hedge(rate=0.5)
    state = policy.on_epoch(policy.init(2), stats(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0])))
    state = policy.on_epoch(state, stats(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 2.0]), epoch=1))
    assert state["cost"].tolist() == pytest.approx([2.0, 5.0, 3.5])
    arms = exponentials([2.0, 5.0, 3.5], 0.5)
    assert state["arms"].tolist() == pytest.approx(arms)
    raw = [arms[0] + arms[2], arms[1] + arms[2]]
    assert policy.knobs(state)["weight"].tolist() == pytest.approx([2 * each / sum(raw) for each in raw])
    assert replace(policy, normalise=False).knobs(state)["weight"].tolist() == pytest.approx(raw)
    assert policy.notes(state)["cumulative_cost"].tolist() == pytest.approx([2.0, 5.0])


@pytest.mark.parametrize("groups", GROUPS)
def test_arms_sum_to_the_number_of_classes_and_weights_have_mean_one(groups: int) -> None:
    policy = Hedge()
    state = policy.init(groups)
    assert policy.knobs(state)["weight"].tolist() == pytest.approx([1] * groups)
    for epoch in range(5):
        seen = drawn(groups, seed=epoch)
        state = policy.on_epoch(state, seen)
        assert float(state["arms"].sum()) == pytest.approx(groups)
        weight = policy.knobs(state)["weight"]
        assert float(weight.mean()) == pytest.approx(1)
        order = state["cost"][:-1].argsort()
        assert bool((weight[order].diff() >= 0).all())  # a class that cost more never weighs less
    assert float(weight.max() - weight.min()) > 0.01


@pytest.mark.parametrize("groups", GROUPS)
def test_rate_zero(groups: int) -> None:
    policy = Hedge(rate=0, normalise=False)
    state = policy.on_epoch(policy.init(groups), drawn(groups))
    assert state["arms"].tolist() == pytest.approx([groups / (groups + 1)] * (groups + 1), abs=1e-12)
    assert policy.knobs(state)["weight"].tolist() == pytest.approx([2 * groups / (groups + 1)] * groups, abs=1e-12)
    assert Hedge(rate=0).knobs(state)["weight"].tolist() == pytest.approx([1] * groups, abs=1e-12)


@pytest.mark.parametrize("counted", ["samples", "batches"])
@pytest.mark.parametrize("groups", GROUPS)
def test_permuting_the_classes_permutes_the_weights(groups: int, counted: str) -> None:
    policy = Hedge(counted=counted, batch_size=16)
    order = torch.randperm(groups, generator=torch.Generator().manual_seed(7))
    straight, permuted = policy.init(groups), policy.init(groups)
    for epoch in range(3):
        counts = torch.randint(0, 9, (groups,), generator=torch.Generator().manual_seed(epoch))
        seen = drawn(groups, seed=epoch, count=counts)
        straight = policy.on_epoch(straight, seen)
        permuted = policy.on_epoch(permuted, {name: each[order] if each.dim() else each for name, each in seen.items()})
    ours, theirs = policy.knobs(straight)["weight"], policy.knobs(permuted)["weight"]
    assert torch.allclose(ours[order], theirs, rtol=0, atol=1e-12)
    assert float(ours.std()) > 1e-3


def test_huge_costs_do_not_overflow() -> None:
    """rate C = 2e6 is far beyond what an exponential holds: all weight goes to the class that costs most."""
    policy = Hedge(rate=1.0)
    state = policy.on_epoch(policy.init(3), stats(torch.tensor([1e6, 2e6, 0.0]), torch.zeros(3)))
    assert state["arms"].tolist() == [0, 3, 0, 0]
    assert policy.knobs(state)["weight"].tolist() == [0, 3, 0]
    even = policy.on_epoch(policy.init(3), stats(torch.full((3,), 1e6), torch.zeros(3)))
    assert policy.knobs(even)["weight"].tolist() == [1, 1, 1]
    with pytest.raises(OverflowError):
        math.exp(2e6)


class TestCounting:
    label, robust = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([0.5, 0.0, 0.0])

    def cost(self, count: list[int], **fields: object) -> list[float]:
        policy = Hedge(**fields)
        state: State = policy.on_epoch(policy.init(3), stats(self.label, self.robust, torch.tensor(count)))
        return state["cost"].tolist()

    def test_true_means_do_not_depend_on_counts(self) -> None:
        assert self.cost([1, 5, 30]) == self.cost([7, 7, 7]) == pytest.approx([1.5, 2.0, 0.0, 3.5 / 3])

    def test_published_counting_divides_by_whole_batches(self) -> None:
        """36 images in batches of 10 are 4 batches, so 40: K sum / 40, and the average is the sum of all over 40."""
        found = self.cost([1, 5, 30], counted="batches", batch_size=10)
        assert found == pytest.approx([3 * 1.5 / 40, 3 * 10 / 40, 0.0, 11.5 / 40])

    def test_both_are_the_same_for_balanced_whole_batches(self) -> None:
        batches = self.cost([10, 10, 10], counted="batches", batch_size=15)
        assert batches == pytest.approx(self.cost([10, 10, 10]))
        assert self.cost([10, 10, 10], counted="batches", batch_size=16) != pytest.approx(batches)

    @pytest.mark.parametrize(("counted", "average"), [("samples", 1.75), ("batches", 3 * (4 * 1.5 + 4 * 2.0) / 8 / 3)])
    def test_a_class_without_validation_images_is_charged_the_average(self, counted: str, average: float) -> None:
        found = self.cost([4, 4, 0], counted=counted, batch_size=8)
        assert found[2:] == pytest.approx([average] * 2)

    @pytest.mark.parametrize("counted", ["samples", "batches"])
    def test_no_validation_images_at_all(self, counted: str) -> None:
        policy = Hedge(counted=counted)
        nothing = torch.zeros(3)
        state = policy.on_epoch(policy.init(3), stats(nothing, nothing, nothing.long()))
        assert policy.knobs(state)["weight"].tolist() == [1, 1, 1]


def test_it_composes_and_its_values_are_knobs() -> None:
    both = Combined(members=(Hedge(), CalibratedRadius(begin=0)))
    state = both.on_epoch(
        both.init(3), drawn(3) | {"train_robust": torch.rand(3).double(), "train_count": torch.ones(3).double()}
    )
    knobs = all_knobs(both, state, 3, torch.device("cpu"))
    assert float(knobs["weight"].std()) > 0.001
    assert float(knobs["radius"].std()) > 0.001
    assert "0.cumulative_cost" in both.notes(state)


def test_wrong_fields_and_objectives_are_refused() -> None:
    for fields, message in (
        ({"rate": -0.1}, "rate -0.1 must be a finite number of at least 0"),
        ({"rate": math.nan}, "rate nan"),
        ({"rate": math.inf}, "rate inf"),
        ({"batch_size": 0}, "batch_size 0 must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Hedge(**fields)
    with pytest.raises(
        ValueError, match=r"observes 'validation_robust_loss', which objective '[a-z-]+' does not compute"
    ):
        TrainConfig(policy=Hedge(), objective=AdversarialTraining())
    assert TrainConfig(policy=Hedge(), objective=Trades()).policy == Hedge()


def test_only_what_is_observed_is_read() -> None:
    policy = Hedge()
    seen = drawn(4)
    only = {name: each for name, each in seen.items() if name in policy.observes()}
    assert only.keys() == policy.observes()
    assert torch.equal(policy.on_epoch(policy.init(4), only)["arms"], policy.on_epoch(policy.init(4), seen)["arms"])
