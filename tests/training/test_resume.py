"""Resuming, finished runs, damaged checkpoints, kept epochs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classwise import Run, audit
from classwise.averaging import EpochEMA
from classwise.progress import Silent
from classwise.runs import checkpoints

Train = Callable[..., Run]


class Stop(Exception):
    """Raised in the middle of training."""


class StopAfter:
    """Progress that raises after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Any]:
        def advance(units: int = 1, note: str = "") -> None:
            self.left -= units
            if self.left < 0:
                raise Stop

        yield advance


def stopped(train: Train, out: Path, steps: int, **fields: Any) -> None:
    with pytest.raises(Stop):
        train(out, progress=StopAfter(steps), **fields)


def flip_bit(path: Path, at: float = 0.6) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 4
    path.write_bytes(content)


def weights(run: Run, number: int = -1) -> bytes:
    number = run.directory.checkpoints.numbers()[number]
    return (run.directory.checkpoints.path(number) / "model.safetensors").read_bytes()


STEPS = 5  # of one epoch: 36 training images in batches of 8
STATE_FILES = ["model.safetensors", "averaged.safetensors", "state.pt", "meta.json"]


@pytest.mark.parametrize("name", STATE_FILES)
def test_resume_falls_back_to_the_checkpoint_before_a_damaged_one(name: str, toy_run: Train, tmp_path: Path) -> None:
    fields = {"epochs": 3, "averaging": EpochEMA(decay=0.5)}
    whole = toy_run(tmp_path / "whole", **fields)
    stopped(toy_run, tmp_path / "run", steps=2 * STEPS + 2, **fields)
    shelf = Run(tmp_path / "run").directory.checkpoints
    assert shelf.numbers() == [1, 2]
    flip_bit(shelf.path(2) / name, 0.02 if name == "meta.json" else 0.6)
    with pytest.warns(UserWarning, match="going back to the checkpoint before it"):
        resumed = toy_run(tmp_path / "run", **fields)
    assert weights(resumed) == weights(whole)
    assert [each["epoch"] for each in resumed.history] == [0, 1, 2]


def test_no_warning_and_no_repeat_without_damage(toy_run: Train, tmp_path: Path) -> None:
    """The warnings of the test above come from the damage: here any warning would be an error."""
    stopped(toy_run, tmp_path / "run", steps=STEPS + 2, epochs=3)
    time = Run(tmp_path / "run").history[0]["time"]
    resumed = toy_run(tmp_path / "run", epochs=3)
    assert resumed.history[0]["time"] == time
    assert len(resumed.history) == 3


def test_all_checkpoints_damaged(toy_run: Train, tmp_path: Path) -> None:
    stopped(toy_run, tmp_path / "run", steps=STEPS + 2)
    shelf = Run(tmp_path / "run").directory.checkpoints
    for number in shelf.numbers():
        flip_bit(shelf.path(number) / "state.pt")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(ValueError, match=r"no checkpoint in .* can be read"),
    ):
        toy_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "meta.json"])
def test_a_flipped_bit_is_noticed_wherever_it_is(name: str, toy_run: Train, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", epochs=1)
    folder = run.directory.checkpoints.path(1)
    content = (folder / name).read_bytes()
    for at in np.linspace(0, 0.999, 60):
        flip_bit(folder / name, at)
        with pytest.raises(ValueError, match=r"is damaged|by a later version"):
            checkpoints.load(folder)
        (folder / name).write_bytes(content)
    checkpoints.load(folder)


def test_a_damaged_model_is_not_used(toy_run: Train, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", epochs=1)
    flip_bit(run.directory.checkpoints.path(1) / "model.safetensors")
    with pytest.raises(ValueError, match="is damaged"):
        run.model()
    with pytest.raises(ValueError, match="is damaged"):
        audit(tmp_path / "run")


def test_finished_run_is_returned_without_training(
    toy_run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy_run(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != "run.lock"}
    monkeypatch.setattr("classwise.training.loop.Trainer.fit", lambda *_: pytest.fail("trained again"))
    second = toy_run(tmp_path / "run")
    assert weights(second) == weights(first)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != "run.lock"}
    assert after == before


def test_epochs_that_are_kept_can_be_audited(toy_run: Train, tmp_path: Path, toy_data: Callable[..., Any]) -> None:
    run = toy_run(tmp_path / "run", epochs=6, keep_epochs=(0, 2))
    shelf = run.directory.checkpoints
    pointed = {shelf.pointed("best"), shelf.pointed("last")}
    assert set(shelf.numbers()) == {0, 2, 5, 6} | pointed
    test = toy_data(seed=7)
    results = {n: audit(shelf.path(n), test, attacks="pgd-3") for n in (0, 2, 6)}
    clean = {n: result.table().overall("clean").value for n, result in results.items()}
    assert clean[0] < clean[6]  # untrained against trained
    for n in (0, 2, 6):
        assert np.isclose(clean[n], float((run.model(str(n))(test.images).argmax(1) == test.labels).float().mean()))
    with pytest.raises(ValueError, match="has no checkpoint '3'"):
        run.checkpoint("3")


def test_without_keep_epochs_two_generations_and_the_selected_one_remain(toy_run: Train, tmp_path: Path) -> None:
    shelf = toy_run(tmp_path / "run", epochs=6).directory.checkpoints
    assert set(shelf.numbers()) == {5, 6, shelf.pointed("best")}


def test_events_of_an_unfinished_epoch_are_cut(toy_run: Train, tmp_path: Path) -> None:
    """Whatever a dying run wrote after its last checkpoint is not part of the history."""
    stopped(toy_run, tmp_path / "run", steps=STEPS + 1)
    log = tmp_path / "run" / "events.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"event": "epoch", "epoch": 1, "time": 1.0}\n{"event": "ep')
    assert [each["epoch"] for each in Run(tmp_path / "run").history] == [0, 1]  # the half line is left out
    resumed = toy_run(tmp_path / "run")
    assert log.read_bytes().startswith(whole)
    assert [each["epoch"] for each in resumed.history] == [0, 1]
    assert resumed.history[1]["time"] > 1


def test_progress_counts_what_was_done_before(toy_run: Train, tmp_path: Path) -> None:
    stopped(toy_run, tmp_path / "run", steps=STEPS + 1)
    units = []

    class Counting(Silent):
        @contextmanager
        def task(self, label: str, total: int) -> Iterator[Any]:
            units.append(total)
            yield lambda done=1, note="": units.append(done)

    toy_run(tmp_path / "run", progress=Counting())
    assert units[0] == 2 * STEPS == sum(units[1:])
    assert units[1] == STEPS
