"""The demo as a person runs it, and the facts it is built on."""

from pathlib import Path

import pytest

import classwise as cw
from classwise.cli import run
from classwise.progress import Silent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo's runs lie; made once."""
    return tmp_path_factory.mktemp("demo")


def test_the_demo_runs_and_says_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "Chosen: tau" in printed
    assert "Weakest class:" in printed
    assert str(folder / "report.html") in printed
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.count("<svg") >= 3
    assert "data:image/png;base64," in report


def test_a_second_call_trains_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert run(["demo", "--out", str(folder)]) == 0
    assert before
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_the_demo_repairs_by_the_setting_that_validation_supports(folder: Path) -> None:
    scores = {path.name: cw.Run(path).score() for path in folder.glob("repair-*")}
    assert len(scores) == 4
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert max(scores, key=scores.__getitem__) in report


def test_the_radius_separates_the_natural_from_the_adversarially_trained_net(folder: Path, tmp_path: Path) -> None:
    natural = cw.train(cw.recipe("digits-natural"), tmp_path / "natural", progress=Silent()).audit(progress=Silent())
    robust = cw.Run(folder / "train").audit(progress=Silent())
    assert natural.table().overall("clean").value > 0.9
    assert natural.mean.value < 0.10
    assert 0.40 < robust.mean.value < 0.90
