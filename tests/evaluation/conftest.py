"""A small network for the digits, images for it, and ways to look at outcomes sample by sample."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import classwise as cw
from classwise import ClassData
from classwise.attacks import attack_list
from classwise.cli import run
from classwise.data import load
from classwise.evaluation import Evaluator, Outcomes
from classwise.evaluation.collect import Collected
from classwise.progress import Advance, Silent

SUITE = "apgd-ce-10+apgd-t-5+fab-t-5+square-30"
Table = dict[int, tuple[float, ...]]


class Counted(nn.Module):
    """Counts the calls of a network and all copies of it; stops the program at one of them.

    Tracing fails here, so that copies stay wrapped and only their inner network is folded.
    """

    sizes: ClassVar[list[int]] = []
    """Images of every call, of all objects of this class."""
    stop_at: ClassVar[int] = 0
    """Number of the call that raises KeyboardInterrupt; 0: none."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        Counted.sizes.append(len(x))
        if len(Counted.sizes) == Counted.stop_at:
            raise KeyboardInterrupt
        return self.net(x)


class Watched:
    """A progress display that takes down what it is told."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int, list[int], list[str]]] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Advance]:
        units: list[int] = []
        notes: list[str] = []
        self.tasks.append((label, total, units, notes))

        def advance(done: int = 1, note: str = "") -> None:
            units.append(done)
            notes.append(note)

        yield lambda units=1, note="": advance(units, note)


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """Convolutions with BatchNorm before and after ReLU, trained for a few epochs; in eval mode, not to be changed."""
    torch.manual_seed(0)
    data = load("digits").train
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(24),
        nn.Conv2d(24, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), 4e-3)
    for _ in range(6):
        for rows in torch.randperm(len(data)).split(64):
            x = (data.images[rows] + 0.2 * torch.rand_like(data.images[rows]) - 0.1).clamp(0, 1)
            optimizer.zero_grad()
            F.cross_entropy(net(x), data.labels[rows]).backward()
            optimizer.step()
    optimizer.zero_grad()
    return net.eval()


@pytest.fixture(scope="session")
def test_images() -> ClassData:
    """All 596 test images of the digits."""
    return load("digits").test


@pytest.fixture(scope="session")
def data(test_images: ClassData) -> ClassData:
    """Every fifth of them, so that a sample's index is not its position."""
    return test_images.subset(torch.arange(0, len(test_images), 5))


@pytest.fixture
def by_index() -> Callable[..., Table]:
    """Everything that outcomes say of each sample, by its index."""

    def table(outcomes: Outcomes) -> Table:
        o = outcomes
        rows = zip(o.clean_prediction, o.clean_margin, *o.prediction, *o.margin, *o.broken_by, strict=True)
        return {int(i): tuple(each.item() for each in row) for i, row in zip(o.index, rows, strict=True)}

    return table


@pytest.fixture
def evaluate(network: nn.Module, data: ClassData) -> Callable[..., Collected]:
    """Runs an evaluator: on the network and the images unless told otherwise."""

    def collected(
        attacks: Any = SUITE, images: ClassData = data, model: Any = network, threat: Any = None, **how: Any
    ) -> Collected:
        progress, journal = how.pop("progress", Silent()), how.pop("journal", None)
        threats = [threat or cw.linf("0.12")] if not isinstance(threat, list) else threat
        plan = Evaluator(threats, attack_list(attacks), **({"batch_size": 64} | how))
        return plan.run(model, images, progress, journal=journal)

    return collected


@pytest.fixture
def counted(network: nn.Module) -> Iterator[Callable[..., Counted]]:
    """A freshly wrapped network; the count starts at 0."""

    def wrapped(stop_at: int = 0, net: nn.Module = network) -> Counted:
        Counted.sizes.clear()
        Counted.stop_at = stop_at
        return Counted(net)

    yield wrapped
    Counted.stop_at = 0
    Counted.sizes.clear()


@pytest.fixture
def watched() -> Watched:
    """A progress display that takes down what it is told."""
    return Watched()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Carries out a command; returns its exit code, standard output and standard error."""

    def command(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command
