"""The moving average with a gate, as a function of weight dictionaries and in a run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, Dataset, Run, registry, train
from classwise.attacks import PGD
from classwise.averaging import Averaging, EpochEMA, Gated, NoAveraging
from classwise.configuration import from_plain
from classwise.data import Split
from classwise.models import Linear
from classwise.progress import Silent
from classwise.training import SGD, Hardware, TrainConfig


def signal(epoch: int, robust: list[float], count: list[int] | None = None) -> dict[str, Tensor]:
    return {
        "epoch": torch.tensor(epoch),
        "step": torch.tensor(epoch),
        "validation_robust": torch.tensor(robust, dtype=torch.float64),
        "validation_count": torch.tensor(count or [10] * len(robust), dtype=torch.float64),
    }


def weights(value: float) -> dict[str, Tensor]:
    return {"weight": torch.full((2,), value, dtype=torch.float64)}


def admits(gated: Gated, robust: list[float], count: list[int] | None = None) -> bool:
    made = gated.update({}, weights(1), signal(0, robust, count))
    assert made == {} or torch.equal(made["weight"], weights(1)["weight"])
    return bool(made)


def test_only_epochs_above_the_threshold_enter() -> None:
    """Written out: copied, blended, left alone, blended; equal to the threshold is enough."""
    gated, average = Gated(decay=0.75), {}
    steps = [(8.0, 0.1, None), (4.0, 0.3, 4.0), (99.0, 0.19, 4.0), (8.0, 0.2, 5.0), (1.0, 0.5, 4.0), (99.0, 0.0, 4.0)]
    for epoch, (value, worst, expected) in enumerate(steps):
        average = gated.update(average, weights(value), signal(epoch, [0.9, worst, 0.6]))
        assert (average == {}) == (expected is None)
        if expected is not None:
            assert average["weight"].tolist() == [expected] * 2


def test_an_epoch_before_the_start_never_enters() -> None:
    gated = Gated(start=2, threshold=0.0)
    assert gated.update({}, weights(1), signal(1, [1.0, 1.0])) == {}
    assert gated.update({}, weights(1), signal(2, [1.0, 1.0])) != {}


def test_the_worst_class_decides_wherever_it_is() -> None:
    for place in range(4):
        robust = [0.9] * 4
        robust[place] = 0.25
        assert admits(Gated(threshold=0.25), robust)
        assert not admits(Gated(threshold=0.26), robust)


@pytest.mark.parametrize(
    ("classes", "lowest"), [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (35, 7), (100, 20), (200, 40)]
)
def test_the_worst_fifth_is_rounded_up(classes: int, lowest: int) -> None:
    """Shuffled accuracies 0, 1/K, …: the mean of the k lowest is (k - 1) / 2K, in exact arithmetic."""
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(0))
    robust = (order.double() / classes).tolist()
    mean = (lowest - 1) / (2 * classes)
    assert admits(Gated(gate="worst-fifth", threshold=mean - 1e-9), robust)
    assert not admits(Gated(gate="worst-fifth", threshold=mean + 1e-9), robust)


@pytest.mark.parametrize("empty", [0.0, float("nan")])
def test_classes_without_validation_images_do_not_count(empty: float) -> None:
    assert admits(Gated(threshold=0.3), [0.5, empty, 0.4], [10, 0, 10])
    assert not admits(Gated(threshold=0.45), [0.5, empty, 0.4], [10, 0, 10])
    robust, count = [0.3, empty, 0.5, 0.9, 0.9, 0.9], [5, 0, 5, 5, 5, 5]
    assert not admits(Gated(gate="worst-fifth", threshold=0.31), robust, count)  # a fifth of five, not of six
    assert admits(Gated(gate="worst-fifth", threshold=0.3), robust, count)
    assert not admits(Gated(threshold=0.0), [empty, empty], [0, 0])  # nothing was seen


@pytest.mark.parametrize("gate", ["worst", "worst-fifth"])
def test_the_order_of_the_classes_does_not_matter(gate: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        robust = torch.rand(12, generator=generator)
        shuffled = robust[torch.randperm(12, generator=generator)]
        gated = Gated(threshold=0.1, gate=gate)
        assert admits(gated, robust.tolist()) == admits(gated, shuffled.tolist())


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_without_a_threshold_it_is_the_plain_average(buffers: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    gated, plain = (
        Gated(decay=0.7, start=1, threshold=0, buffers=buffers),
        EpochEMA(decay=0.7, start=1, buffers=buffers),
    )
    first: dict[str, Tensor] = {}
    second: dict[str, Tensor] = {}
    for epoch in range(4):
        net(torch.randn(8, 1, 5, 5))
        with torch.no_grad():
            net[0].weight += torch.randn_like(net[0].weight)
        first = gated.update(first, net.state_dict(), signal(epoch, [0.0, 0.3]))
        second = plain.update(second, net.state_dict(), signal(epoch, [0.0, 0.3]))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert first


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"decay 1.0 must lie in \[0, 1\)"):
        Gated(decay=1.0)
    with pytest.raises(ValueError, match="start -1 must be at least 0"):
        Gated(start=-1)
    for threshold in (20.0, float("nan")):
        with pytest.raises(ValueError, match=r"threshold .* must be at most 1: give a fraction"):
            Gated(threshold=threshold)


def test_the_papers_name_finds_it() -> None:
    assert from_plain(Averaging, "fawa") == Gated(decay=0.85, start=0, threshold=0.2, gate="worst", buffers="average")
    assert registry.aliases("averaging", "gated-ema") == ["fawa"]


def trained(out: Path, averaging: Averaging) -> Run:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=generator)
    images = 0.4 * pattern[labels] + 0.6 * torch.rand(48, 1, 4, 4, generator=generator)
    data = ClassData(images, labels, ("a", "b", "c"))
    plan = TrainConfig(
        split=Split(at_least=6),
        model=Linear(),
        averaging=averaging,
        adversary=PGD(steps=1),
        validation_attack=PGD(steps=1),
        optimizer=SGD(lr=0.5, momentum=0),
        epochs=8,
        batch_size=8,
        keep_epochs=tuple(range(9)),
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    return train(plan, out, data=Dataset("toy", train=data, test=lambda: data), progress=Silent())


def test_a_run_averages_the_epochs_whose_worst_class_is_robust_enough(tmp_path: Path) -> None:
    """The threshold is one that a run without an average, whose weights are the same, passes now and then."""
    worst = [min(each["validation"]["raw"]["robust"]) for each in trained(tmp_path / "raw", NoAveraging()).history]
    threshold = sorted(set(worst))[1]
    first = worst.index(next(each for each in worst if each >= threshold))
    assert any(each < threshold for each in worst[first:])
    assert sum(each >= threshold for each in worst) > 1
    run = trained(tmp_path / "run", Gated(decay=0.5, threshold=threshold))
    expected: Tensor | None = None
    for epoch, each in enumerate(run.history):
        assert min(each["validation"]["raw"]["robust"]) == worst[epoch]
        if worst[epoch] >= threshold:
            raw = run.model(str(epoch + 1)).state_dict()["1.weight"]
            expected = raw if expected is None else (expected + raw) / 2
        assert ("averaged" in each["validation"]) == (expected is not None)
        if expected is not None:
            assert torch.allclose(run.model(f"{epoch + 1}-averaged").state_dict()["1.weight"], expected, atol=1e-6)


def test_in_a_run_without_a_threshold_it_is_the_plain_average(tmp_path: Path) -> None:
    gated, plain = trained(tmp_path / "gated", Gated(threshold=-1)), trained(tmp_path / "plain", EpochEMA())
    first, second = (run.model("8-averaged").state_dict() for run in (gated, plain))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_in_a_run_where_nothing_enters_the_raw_weights_stand_in(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", Gated(start=8, threshold=0))
    assert all(set(each["validation"]) == {"raw"} for each in run.history)
    best = run.model("best").state_dict()
    assert all(torch.equal(value, best[key]) for key, value in run.model().state_dict().items())
