"""What the monitor measures, and that it leaves no trace."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import classwise as cw
from classwise.runs.events import EventLog
from classwise.trackers import track

NAMES = ("ant", "bee", "cat")


class Restless(nn.Module):
    """Draws random numbers in eval mode too, and counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += torch.rand(2)
        return x + 1e-6 * torch.randn_like(x) + 1e-6 * float(np.random.rand()) + 1e-6 * random.random()  # noqa: NPY002


class Stubborn(nn.BatchNorm2d):
    """Stays in train mode whatever it is told."""

    def train(self, mode: bool = True) -> "Stubborn":
        return super().train(True)


def network() -> nn.Module:
    torch.manual_seed(3)
    frozen = nn.BatchNorm2d(4)
    frozen.eval()
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), frozen, nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3)
    )
    net[0].weight.requires_grad_(False)
    frozen.eval()
    return net


def images(n: int = 30) -> cw.ClassData:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 3
    x = torch.rand(n, 1, 4, 4, generator=generator) * 0.5
    x[torch.arange(n), 0, labels] += 0.3
    return cw.ClassData(x, labels, NAMES)


def backward(net: nn.Module) -> None:
    x, y = images().batch(slice(0, 12))
    F.cross_entropy(net(x), y).backward()


def state(net: nn.Module) -> list[Any]:
    """Everything of a module and of the program's random numbers, as bytes."""
    tensors = [*net.named_parameters(), *net.named_buffers()]
    grads = [
        (name, None if each.grad is None else each.grad.numpy().tobytes()) for name, each in net.named_parameters()
    ]
    return [
        [(name, each.detach().numpy().tobytes(), each.requires_grad) for name, each in tensors],
        grads,
        [(name, module.training) for name, module in net.named_modules()],
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        [each.tobytes() if isinstance(each, np.ndarray) else each for each in np.random.get_state()],  # noqa: NPY002
    ]


@pytest.mark.parametrize("extra", [None, Restless, lambda: Stubborn(4)], ids=["plain", "random", "stubborn-batch-norm"])
@pytest.mark.parametrize("attacks", ["pgd-3", "square-5"])
def test_nothing_is_touched(extra: Any, attacks: str) -> None:
    net = network()
    if extra is not None:
        net.insert(2, extra())
    net.train()
    net[-5].eval()  # frozen by its owner
    backward(net)
    monitor = cw.ClasswiseMonitor(images(), cw.linf("8/255"), attacks)
    before = state(net)
    gradients = [each.grad for each in net.parameters()]
    monitor(net, 0)
    assert state(net) == before
    assert all(new is old for new, old in zip([each.grad for each in net.parameters()], gradients, strict=True))


def test_the_check_itself_notices_a_trace() -> None:
    net = network().train()
    before = state(net)
    backward(net)
    after = state(net)
    assert [new == old for new, old in zip(after, before, strict=True)] == [False, False, True, False, True, True]


def test_training_goes_the_same_way_with_and_without() -> None:
    def trained(monitor: cw.ClasswiseMonitor | None) -> bytes:
        net = network().train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        x, y = images().batch(slice(None))
        for step in range(5):
            chosen = torch.randperm(len(x))[:16]
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x[chosen]), y[chosen])
            if monitor is not None:
                monitor(net, step)  # even between forward and backward
            loss.backward()
            optimizer.step()
        return b"".join(each.numpy().tobytes() for each in net.state_dict().values())

    assert trained(cw.ClasswiseMonitor(images(), attacks="pgd-2")) == trained(None)


def test_modes_are_put_back_after_an_error() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            torch.rand(1)
            raise RuntimeError("out of order")

    net = nn.Sequential(nn.Flatten(), Broken(16, 3)).train()
    before = state(net)
    with pytest.raises(ValueError, match="out of order"):
        cw.ClasswiseMonitor(images())(net, 0)
    assert state(net) == before


def test_figures_are_the_closed_form_of_a_linear_model() -> None:
    """Two classes, l_inf: correct under every perturbation if and only if the margin exceeds radius times the l_1 norm."""
    generator = torch.Generator().manual_seed(5)
    x = 0.3 + 0.4 * torch.rand(200, 1, 4, 4, generator=generator)  # the box is out of reach
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight.copy_(0.5 * torch.randn(2, 16, generator=generator))
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)  # images are around 1/2
    y = (torch.rand(200, generator=generator) < 0.5).long()
    radius = 8 / 255
    with torch.no_grad():
        difference = net[1].weight[1] - net[1].weight[0]
        margin = (net(x)[:, 1] - net(x)[:, 0]) * (2 * y - 1)
    assert (abs(margin.abs() - radius * difference.abs().sum()) > 1e-5).all()  # no verdict hangs on rounding
    table = cw.ClasswiseMonitor(cw.ClassData(x, y, ("a", "b")), cw.linf(radius), "pgd-20", per_class=0)(net, 1)
    for group in (0, 1):
        there = margin[y == group]
        assert table.clean[group] == pytest.approx((there > 0).double().mean())
        assert table.robust[group] == pytest.approx((there > radius * difference.abs().sum()).double().mean())
    assert 0 < table.worst.value < table.overall("clean").value


def test_it_says_what_an_audit_says_and_the_same_each_time() -> None:
    net, data = network().train(), images()
    monitor = cw.ClasswiseMonitor(data, cw.linf(0.1), "pgd-5", per_class=4, seed=7)
    table = monitor(net, 0)
    result = cw.audit(net.eval(), data.first_per_class(4), threat=cw.linf(0.1), attacks="pgd-5", seed=7)
    assert table.rows() == result.table().rows()
    assert table.n.tolist() == [4, 4, 4]
    assert monitor(net, 1).rows() == table.rows()


def test_in_inference_mode_and_under_autocast() -> None:
    net = network().eval()
    monitor = cw.ClasswiseMonitor(images(), cw.linf(0.1), "pgd-5")
    usual = monitor(net, 0).rows()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert monitor(net, 0).rows() == usual


def test_standardised_input() -> None:
    net = network().train()
    table = cw.ClasswiseMonitor(images(), attacks="pgd-2")(cw.Normalized(net, (0.5,), (0.2,)), 0)
    assert table.names == NAMES
    assert net.training


def test_the_log_is_tracked_and_steps_done_again_replace_those_after_them(tmp_path: Path, kept: Any) -> None:
    net = network()
    monitor = cw.ClasswiseMonitor(images(), attacks="pgd-2", log=tmp_path / "mine")
    tables = [monitor(net, step) for step in (1, 2, 3)]
    cw.ClasswiseMonitor(images(), attacks="pgd-2", log=tmp_path / "mine")(net, 2)  # a loop that was resumed
    events = EventLog(tmp_path / "mine" / "events.jsonl").read()
    assert [event["step"] for event in events] == [1, 2]
    assert {event["threat"] for event in events} == {"linf 8/255"}
    sink = kept()
    track(tmp_path / "mine", [sink])
    figures = {(name, step): value for name, step, value in sink.figures}
    assert figures["robust/worst", 1] == pytest.approx(tables[0].worst.value)
    assert figures["clean/2-cat", 2] == pytest.approx(tables[1].clean[2])
    assert (sink.pictures, sink.files) == ({}, [])


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="unknown attack"):
        cw.ClasswiseMonitor(images(), attacks="pgdd-3")
    with pytest.raises(ValueError, match="step -1 is negative"):
        cw.ClasswiseMonitor(images())(network(), -1)
    with pytest.raises(ValueError, match="one logit for each of the 3 classes"):
        cw.ClasswiseMonitor(images())(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 0)
