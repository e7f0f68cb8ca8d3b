"""The moving average of every step, as a function of weight dictionaries and in a run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData, Dataset, Run, config, registry, train
from classwise.attacks import PGD
from classwise.averaging import Averaging, StepEMA
from classwise.averaging.base import Signal, Weights
from classwise.configuration import from_plain
from classwise.data import Split
from classwise.models import Linear
from classwise.progress import Silent
from classwise.training import SGD, Hardware, TrainConfig


def signal(step: int) -> dict[str, Tensor]:
    return {"epoch": torch.tensor(0), "step": torch.tensor(step)}


@pytest.fixture
def states() -> list[dict[str, Tensor]]:
    """State dictionaries of a network with BatchNorm before the first step and after five steps."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double()
    made = []
    for _ in range(6):
        made.append({key: value.clone() for key, value in net.state_dict().items()})
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        net.train()(torch.randn(8, 1, 5, 5, dtype=torch.float64))
    return made


def averaged(ema: StepEMA, states: list[dict[str, Tensor]], first: int = 0) -> Weights:
    average = ema.begin(states[0])
    for step, state in enumerate(states[1:]):
        average = ema.update(average, state, signal(first + step))
    return average


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_it_is_the_weighted_sum_written_out(buffers: Any, warmup: bool, states: list[dict[str, Tensor]]) -> None:
    """With a decay of 0.25 the warm-up (1/10, 2/11, 3/12, …) reaches it in the third step."""
    average = averaged(StepEMA(decay=0.25, warmup=warmup, buffers=buffers), states)
    kept = [0.1, 2 / 11, 0.25, 0.25, 0.25] if warmup else [0.25] * 5
    shares = [1.0, *(1 - each for each in kept)]
    for i, each in enumerate(kept):
        shares[: i + 1] = [share * each for share in shares[: i + 1]]
    assert sum(shares) == pytest.approx(1)
    for name in states[0]:
        if name.endswith("num_batches_tracked") or (buffers == "copy" and "running_" in name):
            assert torch.equal(average[name], states[-1][name])
            assert average[name].dtype == states[-1][name].dtype
        else:
            expected = sum(share * state[name] for share, state in zip(shares, states, strict=True))
            assert torch.allclose(average[name], expected, rtol=0, atol=1e-12), name


def test_warmup_counts_steps_of_the_run(states: list[dict[str, Tensor]]) -> None:
    """Late in a run nothing is left of it."""
    late, plain = averaged(StepEMA(), states, first=10_000), averaged(StepEMA(warmup=False), states)
    assert all(torch.equal(late[name], plain[name]) for name in plain)
    early = averaged(StepEMA(), states)
    assert not torch.allclose(early["0.weight"], plain["0.weight"], atol=0.1)


def test_inputs_are_neither_changed_nor_shared(states: list[dict[str, Tensor]]) -> None:
    live = {key: value.clone() for key, value in states[0].items()}
    first = StepEMA().begin(live)
    kept = {key: value.clone() for key, value in first.items()}
    second = StepEMA().update(first, states[1], signal(0))
    for value in [*live.values(), *states[1].values()]:
        value.zero_()
    assert all(torch.equal(first[key], kept[key]) for key in kept)
    assert float(second["0.weight"].abs().sum()) > 0
    assert not any(value.requires_grad for value in second.values())


def test_decay_zero_is_the_live_model(states: list[dict[str, Tensor]]) -> None:
    average = averaged(StepEMA(decay=0), states)
    assert all(torch.allclose(average[key], states[-1][key], rtol=0, atol=1e-15) for key in average)


def test_values_that_make_no_sense_are_refused() -> None:
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"decay .* must lie in \[0, 1\)"):
            StepEMA(decay=decay)


def test_the_papers_name_finds_it() -> None:
    assert from_plain(Averaging, "seat") == StepEMA(decay=0.999, warmup=True, buffers="average")
    assert registry.aliases("averaging", "step-ema") == ["seat"]


SEEN: list[tuple[int, dict[str, Tensor]]] = []


@config
class Noting(StepEMA):
    """Notes what the loop hands it."""

    def begin(self, model: Mapping[str, Tensor]) -> Weights:
        SEEN.append((-1, {key: value.clone() for key, value in model.items()}))
        return StepEMA.begin(self, model)

    def update(self, average: Weights, model: Mapping[str, Tensor], signal: Signal) -> Weights:
        SEEN.append((int(signal["step"]), {key: value.clone() for key, value in model.items()}))
        return StepEMA.update(self, average, model, signal)


class StopAfter(Silent):
    """Raises after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Any]:
        def advance(units: int = 1, note: str = "") -> None:
            self.left -= units
            if self.left < 0:
                raise InterruptedError

        yield advance


def trained(out: Path, averaging: Averaging, progress: Any = None) -> Run:
    generator = torch.Generator().manual_seed(0)
    data = ClassData(torch.rand(48, 1, 4, 4, generator=generator), torch.arange(48) % 3, ("a", "b", "c"))
    plan = TrainConfig(
        split=Split(at_least=4),
        model=Linear(),
        averaging=averaging,
        adversary=PGD(steps=1),
        validation_attack=PGD(steps=1),
        optimizer=SGD(lr=0.1),
        epochs=3,
        batch_size=8,
        keep_epochs=(1, 2, 3),
        hardware=Hardware(device="cpu", precision="fp32"),
    )
    return train(plan, out, data=Dataset("toy", train=data, test=lambda: data), progress=progress or Silent())


def test_a_run_averages_after_every_step(tmp_path: Path) -> None:
    """The stored average of each epoch is that of the weights after each step, recomputed in float64."""
    SEEN.clear()
    run = trained(tmp_path / "run", Noting(decay=0.6))
    assert [step for step, _ in SEEN] == list(range(-1, 15))
    expected = {key: value.double() for key, value in SEEN[0][1].items()}
    for step, state in SEEN[1:]:
        kept = min(0.6, (step + 1) / (step + 10))
        expected = {key: kept * value + (1 - kept) * state[key].double() for key, value in expected.items()}
        if (step + 1) % 5 == 0:
            stored = run.model(f"{(step + 1) // 5}-averaged").state_dict()
            assert all(torch.allclose(stored[key].double(), expected[key], rtol=0, atol=1e-6) for key in expected)
    raw, average = run.model("last").state_dict(), run.model("3-averaged").state_dict()
    assert not torch.allclose(raw["1.weight"], average["1.weight"], atol=1e-3)
    assert all(set(each["validation"]) == {"raw", "averaged"} for each in run.history)


def test_a_run_that_was_stopped_goes_on_with_the_same_average(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", StepEMA(decay=0.6))
    with pytest.raises(InterruptedError):
        trained(tmp_path / "run", StepEMA(decay=0.6), StopAfter(7))
    resumed = trained(tmp_path / "run", StepEMA(decay=0.6))
    first, second = (run.model("3-averaged").state_dict() for run in (whole, resumed))
    assert all(torch.equal(first[key], second[key]) for key in first)
