"""A finished run on toy images, and a tracker that keeps what it is sent."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

import classwise as cw
from classwise.data import Split
from classwise.policies import KLDRO
from classwise.progress import Silent
from classwise.runs import RunDirectory
from classwise.trackers.log import TrackedLog

EPOCHS = 3
NAMES = ("<b>ant", "../bee", "bee")


def images(n: int) -> cw.ClassData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    x = 0.2 * torch.rand(n, 1, 4, 4, generator=generator)
    x[torch.arange(n), 0, labels] += 0.25 * (1 + labels[:, None])  # classes of different strength
    return cw.ClassData(x, labels, NAMES)


def trained(out: Path, epochs: int = EPOCHS) -> cw.Run:
    data = cw.Dataset("toy", train=images(360), test=lambda: images(30))
    config = cw.recipe(
        "digits-pgd-at",
        threat=cw.linf(0.2),
        batch_size=32,
        model=cw.models.Linear(),
        split=Split(at_least=20),
        epochs=epochs,
        policy=KLDRO(),
    )
    return cw.train(config, out, data=data, progress=Silent())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = trained(tmp_path_factory.mktemp("trackers") / "at")
    figures = {tuple(event["validation"]["raw"]["robust"]) for event in run.history}
    assert len(figures) == EPOCHS  # so that no epoch can be taken for another
    return run.path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "runs" / "at")


@pytest.fixture
def half(finished: Path, tmp_path: Path) -> Path:
    """The run as it was after one epoch, killed when the second had been logged and no checkpoint of it written yet."""
    path = shutil.copytree(finished, tmp_path / "half" / "at")
    lines = (path / "events.jsonl").read_bytes().splitlines(keepends=True)
    (path / "events.jsonl").write_bytes(b"".join(lines[:2]))
    (path / "checkpoints" / "last").write_text("1\n")
    shutil.copytree(path / "checkpoints" / str(EPOCHS), path / "checkpoints" / "1", dirs_exist_ok=True)
    RunDirectory(path).set_status("running")
    return path


class Kept:
    """A tracker in memory; refuses its first calls where it is told to."""

    name = "Kept"

    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.figures: list[tuple[str, int, float]] = []
        self.pictures: dict[str, bytes] = {}
        self.files: list[str] = []
        self.closed: list[bool] = []

    def open(self, log: TrackedLog, identity: str) -> None:
        self.identity = identity

    def has(self, name: str, step: int) -> bool:
        return any(each[:2] == (name, step) for each in self.figures)

    def scalars(self, values: Mapping[str, float], step: int, time: float) -> None:
        if self.refuse:
            self.refuse -= 1
            raise ConnectionError("the server is away")
        self.figures += [(name, step, value) for name, value in values.items()]

    def picture(self, name: str, png: bytes, step: int) -> None:
        self.pictures[name] = png

    def file(self, path: Path) -> None:
        self.files.append(path.name)

    def close(self, finished: bool) -> None:
        self.closed.append(finished)


@pytest.fixture
def train() -> Callable[[Path], cw.Run]:
    """Trains the same run elsewhere."""
    return trained


@pytest.fixture
def kept() -> type[Kept]:
    return Kept
