"""The moving average as a function of weight dictionaries, and in a run."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise.averaging import EpochEMA, NoAveraging


def signal(epoch: int) -> dict[str, Tensor]:
    return {"epoch": torch.tensor(epoch), "step": torch.tensor(10 * epoch)}


@pytest.fixture
def states() -> list[dict[str, Tensor]]:
    """State dictionaries of a network with BatchNorm after 0 to 4 updates."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double()
    made = []
    for _ in range(5):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        net.train()(torch.randn(8, 1, 5, 5, dtype=torch.float64))
        made.append({key: value.clone() for key, value in net.state_dict().items()})
    return made


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_it_is_the_weighted_sum_written_out(buffers: Any, states: list[dict[str, Tensor]]) -> None:
    decay, average = 0.7, {}
    for epoch, state in enumerate(states):
        average = EpochEMA(decay=decay, start=1, buffers=buffers).update(average, state, signal(epoch))
        assert (average == {}) == (epoch < 1)
    shares = [decay**3, *(decay**k * (1 - decay) for k in (2, 1, 0))]  # the first that enters is copied
    assert sum(shares) == pytest.approx(1)
    for name in states[0]:
        expected = sum(share * state[name] for share, state in zip(shares, states[1:], strict=True))
        if name.endswith("num_batches_tracked") or (buffers == "copy" and "running_" in name):
            assert torch.equal(average[name], states[-1][name])
            assert average[name].dtype == states[-1][name].dtype
        else:
            assert torch.allclose(average[name], expected, rtol=0, atol=1e-12), name


def test_inputs_are_neither_changed_nor_shared(states: list[dict[str, Tensor]]) -> None:
    first = EpochEMA().update({}, states[0], signal(0))
    kept = {key: value.clone() for key, value in first.items()}
    live = {key: value.clone() for key, value in states[1].items()}
    second = EpochEMA().update(first, live, signal(1))
    assert all(torch.equal(first[key], kept[key]) for key in kept)
    assert all(torch.equal(live[key], states[1][key]) for key in live)
    for value in live.values():
        value.zero_()
    for value in states[0].values():
        value.zero_()
    assert all(torch.equal(first[key], kept[key]) for key in kept)
    assert float(second["0.weight"].abs().sum()) > 0
    assert not any(value.requires_grad for value in second.values())


def test_decay_zero_is_the_live_model(states: list[dict[str, Tensor]]) -> None:
    average = EpochEMA(decay=0).update(states[0], states[1], signal(1))
    assert all(torch.allclose(average[key], states[1][key]) for key in average)


def test_values_that_make_no_sense_are_refused() -> None:
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"decay .* must lie in \[0, 1\)"):
            EpochEMA(decay=decay)


def test_no_averaging_stays_empty(states: list[dict[str, Tensor]]) -> None:
    assert NoAveraging().update({}, states[0], signal(0)) == {}
