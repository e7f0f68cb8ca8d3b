"""The command line in this process, on toy images."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from classwise.cli import run

TOY = Path(__file__).with_name("toy.py")
SMALL = ["--split.at-least", "2", "--batch-size", "16", "--adversary.steps", "2", "--validation-attack.steps", "2"]
ON_TOY = ["--plugin", str(TOY), "--use", "data=toy"]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Carries out a command; returns its exit code, standard output and standard error."""

    def command(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture
def train(cli: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Trains on toy images; further words are added."""

    def command(out: Path, *words: str | Path, model: str = "linear") -> tuple[int, str, str]:
        epochs = () if "--epochs" in words else ("--epochs", "2")
        choice = () if "--use" in words else ("--use", f"model={model}")
        return cli("train", "digits-pgd-at", *ON_TOY, *choice, *SMALL, *epochs, *words, "--out", out)

    return command


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs on toy images; not to be changed."""
    out = tmp_path_factory.mktemp("cli") / "at"
    words = ["train", "digits-pgd-at", *ON_TOY, "--use", "model=linear", *SMALL, "--epochs", "2", "--out", str(out)]
    assert run(words) == 0
    return out


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(trained, tmp_path / "finished")
