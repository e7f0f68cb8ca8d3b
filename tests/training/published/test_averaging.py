"""Averages of weights, ours against those that published implementations made of the same weights."""

from typing import Any

import pytest
import torch
from torch import Tensor

from classwise.averaging import EpochEMA, Gated, StepEMA
from classwise.averaging.base import Weights

World = Any
SHAPES = {"conv1.weight": (8, 3, 3, 3), "bn1.running_mean": (8,), "bn1.running_var": (8,), "fc.bias": (10,)}
"""What a stored row is made of, one after the other."""


def unpacked(row: Tensor) -> Weights:
    sizes = [torch.Size(shape).numel() for shape in SHAPES.values()]
    parts = row.double().split(sizes)
    return {name: part.view(shape) for (name, shape), part in zip(SHAPES.items(), parts, strict=True)}


def packed(weights: Weights) -> Tensor:
    return torch.cat([weights[name].flatten() for name in SHAPES])


@pytest.mark.parametrize("name", ["fawa_paper.npz", "fawa_code.npz"])
def test_a_gate_on_the_worst_class(name: str, world: World) -> None:
    case = world.arrays(name)
    decay, threshold = float(case["decay"]), float(case["threshold"])
    gated, plain = Gated(decay=decay, threshold=threshold), EpochEMA(decay=decay)
    average: Weights = {}
    averages: Weights = {}
    entered = []
    for epoch, (row, worst) in enumerate(zip(case["model_states"], case["r_min"], strict=True)):
        robust = worst + 0.07 * torch.arange(10, dtype=torch.float64).roll(3 * epoch)  # the worst class wanders
        count = torch.full((10,), 100.0, dtype=torch.float64)
        absent = int(robust.argmax())
        robust[absent], count[absent] = 0, 0  # looks worse than the worst, and does not count
        signal = {"epoch": torch.tensor(epoch), "validation_robust": robust, "validation_count": count}
        made = gated.update(average, unpacked(row), signal)
        entered.append(int(made is not average))
        average = made
        if any(entered):
            assert torch.allclose(packed(average), case["fawa_states"][epoch], rtol=0, atol=1e-6)
        else:
            assert average == {}
        averages = plain.update(averages, unpacked(row), {"epoch": torch.tensor(epoch)})
        assert torch.allclose(packed(averages), case["ema_states"][epoch], rtol=0, atol=1e-6)
    assert entered == case["admitted"].tolist()
    assert 0 < sum(entered) < len(entered)


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_an_average_of_every_step(buffers: Any, world: World) -> None:
    """The first stored row is the state before the first step; step t (from 0) keeps min(alpha, (t + 1) / (t + 10))."""
    case = world.arrays("ema_step_warmup.npz")
    expected = case["shadow_buffers_averaged" if buffers == "average" else "shadow_buffers_copied"].double()
    alpha, states = float(case["alpha"]), case["model_states"]
    ema = StepEMA(decay=alpha, buffers=buffers)
    average = ema.begin(unpacked(states[0]))
    assert torch.allclose(packed(average), expected[0], rtol=0, atol=1e-6)
    for step in range(len(states) - 1):
        average = ema.update(average, unpacked(states[step + 1]), {"step": torch.tensor(step)})
        assert torch.allclose(packed(average), expected[step + 1], rtol=0, atol=1e-5)
    late = StepEMA(decay=alpha, buffers=buffers).update(
        unpacked(states[0]), unpacked(states[1]), {"step": torch.tensor(1)}
    )
    assert not torch.allclose(packed(late), expected[1], rtol=0, atol=1e-3)  # steps counted from 1 would show
