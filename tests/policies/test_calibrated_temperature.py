"""Calibrated temperatures (ABSLD) against their published course and against their definition."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from classwise import TrainConfig
from classwise.objectives import Trades
from classwise.policies import CalibratedTemperature, State

GROUPS = [2, 3, 10, 43, 200]
NEUTRAL = torch.ones(3, dtype=torch.float64)


def stats(clean: Tensor, adversarial: Tensor, epoch: int = 0, count: Tensor | None = None) -> dict[str, Tensor]:
    return {
        "epoch": torch.tensor(epoch),
        "train_clean_cross_entropy": clean.double(),
        "train_cross_entropy": adversarial.double(),
        "train_count": torch.full((len(clean),), 4.0).double() if count is None else count.double(),
    }


def drawn(groups: int, seed: int = 0, **fields: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return stats(*torch.rand(2, groups, generator=generator, dtype=torch.float64), **fields)


def both(state: State) -> list[list[float]]:
    return [state[name].tolist() for name in ("temperature", "robust_temperature")]


def test_published_course(shared: Path) -> None:
    """12 epochs of stored class totals; means over 50 samples a class here, which makes the same totals."""
    case = json.loads((shared / "fixtures" / "methods" / "absld_temperature.json").read_text())
    policy = CalibratedTemperature(rate=case["rate"], low=case["temp_min"], high=case["temp_max"])
    state = policy.init(10)
    assert both(state) == [[1] * 10] * 2
    assert len(case["epochs"]) == 12
    for epoch, expected in enumerate(case["epochs"]):
        count = torch.full((10,), 50.0)
        clean, adversarial = (
            torch.tensor(expected[name], dtype=torch.float64) / 50 for name in ("class_loss_nat", "class_loss_adv")
        )
        state = policy.on_epoch(state, stats(clean, adversarial, epoch, count))
        assert state["temperature"].tolist() == pytest.approx(expected["temp_nat"], rel=0, abs=1e-9)
        assert state["robust_temperature"].tolist() == pytest.approx(expected["temp_adv"], rel=0, abs=1e-9)
    assert policy.knobs(state).keys() == {"temperature", "robust_temperature"}


def test_one_epoch_by_hand() -> None:
    """Totals 4, 8 and 24 of clean images have gaps -8, -4 and 12; of perturbed ones 16, 16 and 4: 4, 4 and -8."""
    state = CalibratedTemperature(rate=0.3).on_epoch(
        {"temperature": NEUTRAL, "robust_temperature": NEUTRAL},
        stats(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([4.0, 4.0, 1.0])),
    )
    assert both(state) == [pytest.approx([1.2, 1.1, 0.7]), pytest.approx([0.85, 0.85, 1.3])]


def test_totals_count_and_not_means() -> None:
    """A large class counts as a hard one, as published."""
    policy = CalibratedTemperature()
    seen = stats(torch.ones(3), torch.ones(3), count=torch.tensor([1.0, 1.0, 4.0]))
    assert both(policy.on_epoch(policy.init(3), seen)) == [pytest.approx([1.05, 1.05, 0.9])] * 2


def test_the_rate_drops_with_the_update_after_the_named_number_of_epochs() -> None:
    """As published: the update that ends the 215th epoch is the first with a tenth of the rate."""
    policy = CalibratedTemperature()
    for epoch, rate in ((0, 0.1), (213, 0.1), (214, 0.01), (258, 0.01), (259, 0.001), (283, 0.001), (284, 1e-4)):
        state = policy.on_epoch(policy.init(2), stats(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0]), epoch))
        assert both(state) == [pytest.approx([1 + rate, 1 - rate]), pytest.approx([1 - rate, 1 + rate])]


def test_temperatures_stay_in_their_range() -> None:
    policy = CalibratedTemperature(rate=0.3, low=0.8, high=1.5)
    state = policy.init(2)
    for epoch in range(5):
        state = policy.on_epoch(state, stats(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0]), epoch))
    assert both(state) == [[1.5, 0.8], [0.8, 1.5]]


@pytest.mark.parametrize("groups", GROUPS)
def test_rate_zero_and_equal_totals_change_nothing(groups: int) -> None:
    still = CalibratedTemperature(rate=0)
    assert both(still.on_epoch(still.init(groups), drawn(groups))) == [[1] * groups] * 2
    policy = CalibratedTemperature()
    for value in (0.0, 0.1, 1 / 3, 1e9):  # 3 * 0.1 / 3 is not 0.1 in floating point: rounding must not become a gap
        equal = torch.full((groups,), value, dtype=torch.float64)
        assert both(policy.on_epoch(policy.init(groups), stats(equal, equal))) == [[1] * groups] * 2


def test_a_class_without_samples_keeps_its_temperatures_and_counts_in_no_mean() -> None:
    policy = CalibratedTemperature()
    before = {"temperature": torch.tensor([1.0, 2.0, 1.0]), "robust_temperature": torch.tensor([1.0, 3.0, 1.0])}
    count = torch.tensor([4.0, 0.0, 4.0])
    state = policy.on_epoch(before, stats(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([3.0, 0.0, 1.0]), 0, count))
    assert both(state) == [pytest.approx([1.1, 2.0, 0.9]), pytest.approx([0.9, 3.0, 1.1])]
    nobody = policy.on_epoch(before, stats(torch.zeros(3), torch.zeros(3), 0, torch.zeros(3)))
    assert both(nobody) == both(before)


@pytest.mark.parametrize("groups", GROUPS)
def test_permuting_the_groups_permutes_the_temperatures(groups: int) -> None:
    policy = CalibratedTemperature()
    order = torch.randperm(groups, generator=torch.Generator().manual_seed(5))
    straight, permuted = policy.init(groups), policy.init(groups)
    for epoch in range(3):
        seen = drawn(groups, seed=epoch)
        straight = policy.on_epoch(straight, seen)
        permuted = policy.on_epoch(permuted, {name: each[order] if each.dim() else each for name, each in seen.items()})
    for name, values in straight.items():
        assert torch.allclose(values[order], permuted[name], rtol=0, atol=1e-12)
        assert float(values.std()) > 0.01


def test_wrong_fields_and_objectives_are_refused() -> None:
    for fields, message in (
        ({"rate": -0.1}, "rate -0.1 must be a finite number of at least 0"),
        ({"rate": math.nan}, "rate nan"),
        ({"low": 0.0}, "low 0.0 and high 5.0 must enclose 1"),
        ({"low": 1.1}, "low 1.1"),
        ({"high": 0.9}, "high 0.9"),
        ({"high": math.inf}, "high inf"),
        ({"drops": (10, 0)}, r"drops \[10, 0\] must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            CalibratedTemperature(**fields)
    with pytest.raises(
        ValueError, match=r"sets the multiplier of the teacher's temperature .* neither objective 'trades'"
    ):
        TrainConfig(policy=CalibratedTemperature(), objective=Trades())
