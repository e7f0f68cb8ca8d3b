"""Sending at once and while training, to a tracker in memory."""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from PIL import Image

import classwise as cw
from classwise.cli import run as command
from classwise.trackers import TensorBoard, track, tracking
from classwise.trackers.sink import sink_named

ROOT = Path(__file__).parents[1]
Train = Callable[[Path], cw.Run]


def test_every_figure_picture_and_file_once(run: Path, kept: Any) -> None:
    sink = kept()
    sent = track(run, [sink])
    assert len({each[:2] for each in sink.figures}) == len(sink.figures) == sent
    assert set(sink.pictures) == {"figures/training", "figures/classes", "figures/knobs"}
    assert sink.files == ["report.html", "config.yaml"]
    assert sink.closed == [True]
    assert track(run, [sink]) == 0


def test_training_is_the_same_with_and_without(run: Path, tmp_path: Path, kept: Any, train: Train) -> None:
    sink = kept()
    with tracking(tmp_path / "at", [sink], every=0.01):
        train(tmp_path / "at")
    for path in sorted(run.glob("checkpoints/*/model.safetensors")):
        assert path.read_bytes() == (tmp_path / "at" / path.relative_to(run)).read_bytes()
    here, there = (
        [{**json.loads(line), "time": 0, "seconds": 0} for line in (each / "events.jsonl").open()]
        for each in (run, tmp_path / "at")
    )
    assert here == there
    again = kept()
    track(tmp_path / "at", [again])
    assert sink.figures == again.figures
    assert len(sink.figures) == len({each[:2] for each in sink.figures})
    assert set(sink.pictures) == set(again.pictures)


def test_a_tracker_that_fails_does_not_fail_the_run(tmp_path: Path, kept: Any, train: Train) -> None:
    broken, whole = kept(refuse=10**6), kept()
    with (
        pytest.warns(
            UserWarning, match=r"the run is not affected.*server is away.*classwise track .*at --to kept kept"
        ),
        tracking(tmp_path / "at", [broken, whole], every=0.01),
    ):
        finished = train(tmp_path / "at")
    assert finished.directory.status["state"] == "finished"
    assert len(whole.figures) > 50  # the other one has all the same


def test_a_tracker_that_comes_back_gets_everything(tmp_path: Path, kept: Any, train: Train) -> None:
    sink = kept(refuse=2)
    with tracking(tmp_path / "at", [sink], every=0.001):
        train(tmp_path / "at")
        for _ in range(500):  # until the thread has looked often enough
            if not sink.refuse:
                break
            time.sleep(0.01)
    again = kept()
    track(tmp_path / "at", [again])
    assert sink.figures == again.figures


def test_a_run_that_never_begins_sends_nothing(tmp_path: Path, kept: Any) -> None:
    sink = kept()
    with pytest.raises(KeyError), tracking(tmp_path / "none", [sink], every=0.01):
        raise KeyError
    assert not sink.figures
    assert not (tmp_path / "none").exists()


def test_only_the_first_process_sends(run: Path, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    sink = kept()
    with tracking(run, [sink]):
        pass
    assert not sink.figures


def test_two_at_once_are_refused(run: Path, kept: Any) -> None:
    with filelock.FileLock(run / "track.lock"), pytest.raises(ValueError, match="another process is sending the log"):
        track(run, [kept()])


def test_trouble_is_told_in_one_sentence(run: Path, kept: Any) -> None:
    with pytest.raises(ValueError, match=r"Kept cannot be sent to .the server is away.: mend that and send again"):
        track(run, [kept(refuse=1)])


@pytest.mark.parametrize("word", ["tensorbord", "mlflow:", "", "wandb"])
def test_unknown_trackers_are_refused(word: str) -> None:
    with pytest.raises(
        ValueError, match=r"unknown tracker .*write tensorboard, tensorboard:FOLDER, mlflow or mlflow:URI"
    ):
        sink_named(word)


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ValueError, match=r'pip install "classwise\[tensorboard\]"'):
        TensorBoard()


def test_the_commands(tmp_path: Path, real: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    real("tensorboard")
    toy = ROOT / "cli" / "toy.py"
    out = tmp_path / "at"
    small = "--use model=linear --use data=toy --split.at-least 2 --epochs 1 --adversary.steps 2 --validation-attack.steps 2"
    words = ["train", "digits-pgd-at", "--plugin", str(toy), *small.split(), "--out", str(out)]
    assert command([*words, "--track", "tensorboard"]) == 0
    assert (out / "tensorboard" / "report.html").is_file()
    capsys.readouterr()
    assert command(["track", str(out), "--to", "tensorboard"]) == 0
    assert capsys.readouterr().out == "Nothing new to send.\n"
    assert command(["track", str(out), "--to", f"tensorboard:{tmp_path}/tb", "--follow"]) == 0
    assert "numbers sent to tensorboard:" in capsys.readouterr().out
    assert command([*words, "--track", "tensorbord"]) == 2
    assert "did you mean 'tensorboard'?" in capsys.readouterr().err


def test_pictures_are_dark_on_white(run: Path, kept: Any) -> None:
    sink = kept()
    track(run, [sink])
    for png in sink.pictures.values():
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        assert (pixels[0, 0] == 255).all()
        assert (pixels.reshape(-1, 3) == (31, 35, 40)).all(1).any()  # text
        assert (pixels.reshape(-1, 3).max(1) > 200).mean() > 0.8
