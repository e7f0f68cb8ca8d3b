"""Files of a run: atomic writes, the event log, the shelf of checkpoints, the folder itself."""

import errno
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from classwise import TrainConfig
from classwise.configuration import replace
from classwise.runs import RunDirectory, checkpoints
from classwise.runs.atomic import write_bytes, write_json, write_text
from classwise.runs.checkpoints import Checkpoint, Shelf
from classwise.runs.events import EventLog


@pytest.fixture
def content() -> Checkpoint:
    weight = torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    return Checkpoint(
        model={"weight": weight, "tied": weight, "count": torch.tensor(3), "part": torch.arange(10.0)[::2]},
        averaged={"weight": weight + 1},
        state={"step": 4, "policy": {"radius": torch.ones(2)}, "best": {"best": [0.5, 1]}, "on": True},
        meta={"epochs": 1, "class_names": ["é", "b"], "scores": {"best": 0.1 + 0.2}},
    )


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_checkpoint_comes_back_exactly(content: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "1", content)
    found = checkpoints.load(tmp_path / "1")
    for name in ("weight", "tied", "count", "part"):
        assert torch.equal(found.model[name], content.model[name])
        assert found.model[name].dtype == content.model[name].dtype
    assert torch.equal(found.averaged["weight"], content.averaged["weight"])
    assert found.state["step"] == 4
    assert found.state["on"] is True
    assert torch.equal(found.state["policy"]["radius"], torch.ones(2))
    assert {key: found.meta[key] for key in content.meta} == content.meta
    assert {each.name for each in tmp_path.iterdir()} == {"1"}


def test_a_checkpoint_without_average_or_state(content: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "1", Checkpoint(content.model, {}, {}, content.meta))
    assert {each.name for each in (tmp_path / "1").iterdir()} == {"model.safetensors", "meta.json"}
    found = checkpoints.load(tmp_path / "1")
    assert (found.averaged, found.state) == ({}, {})


@pytest.mark.parametrize("name", ["model.safetensors", "averaged.safetensors", "state.pt", "meta.json"])
def test_a_missing_or_shortened_file_is_noticed(name: str, content: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "1", content)
    path = tmp_path / "1" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.load(tmp_path / "1")
    path.unlink()
    with pytest.raises(ValueError, match=r"damaged|is no checkpoint"):
        checkpoints.load(tmp_path / "1")


def test_every_bit_of_the_facts_is_checked(content: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "1", content)
    path = tmp_path / "1" / "meta.json"
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            found = checkpoints.read_meta(tmp_path / "1")
        except ValueError:
            noticed += 1
            continue
        assert {key: found[key] for key in content.meta} == content.meta  # white space between facts
    assert noticed > 0.8 * len(whole)


def test_a_checkpoint_of_a_later_version_says_so(content: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "1", content)
    path = tmp_path / "1" / "meta.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="later version of classwise"):
        checkpoints.load(tmp_path / "1")


def test_no_code_is_run_when_a_checkpoint_is_read(content: Checkpoint, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "pwned"),))

    checkpoints.save(tmp_path / "1", content)
    torch.save({"step": Payload()}, tmp_path / "1" / "state.pt")
    meta = json.loads((tmp_path / "1" / "meta.json").read_text())
    meta["sha256"]["state.pt"] = hashlib.sha256((tmp_path / "1" / "state.pt").read_bytes()).hexdigest()
    del meta["seal"]
    meta["seal"] = checkpoints._seal(meta)
    (tmp_path / "1" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoints.load(tmp_path / "1")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("full_after", [0, 2])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_rubbish(
    full_after: int, content: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(tmp_path / "1", content)
    calls, fsync = [], os.fsync

    def filling(handle: int) -> None:
        calls.append(handle)
        full_disk() if len(calls) > full_after else fsync(handle)

    monkeypatch.setattr(os, "fsync", filling)
    with pytest.raises(ValueError, match="no space left on device; free some space"):
        checkpoints.save(tmp_path / "2", content)
    assert {each.name for each in tmp_path.iterdir()} == {"1"}
    checkpoints.load(tmp_path / "1")


def test_atomic_writes_replace_the_whole_file_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old, and longer than the new one")
    write_text(path, "new")
    assert path.read_text() == "new"
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ValueError, match=r"cannot write .*file\.txt'.*the same command continues from there"):
        write_bytes(path, b"newest")
    assert path.read_text() == "new"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_event_log(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    assert (log.read(), log.size()) == ([], 0)
    log.append("start", a=1)
    size = log.size()
    log.append("epoch", loss=math.nan, rates=[math.inf, 0.5], nested={"x": -math.inf})
    assert [each["event"] for each in log.read()] == ["start", "epoch"]
    (epoch,) = log.read("epoch")
    assert (epoch["loss"], epoch["rates"], epoch["nested"]) == (None, [None, 0.5], {"x": None})
    with log.path.open("ab") as file:
        file.write(b'{"event": "epo')
    assert len(log.read()) == 2
    log.cut(size)
    assert [each["event"] for each in log.read()] == ["start"]
    log.cut(10_000)  # never grows
    assert log.size() == size
    log.append("epoch", loss=1.0)
    assert len(log.read()) == 2


def test_pointers_and_pruning(content: Checkpoint, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.numbers() == []
    assert shelf.pointed("last") is None
    for number in range(12):
        checkpoints.save(shelf.path(number), content)
    shelf.point("best", 3)
    shelf.point("last", 11)
    (tmp_path / ".11.99.tmp").mkdir()
    (tmp_path / ".last.99.tmp").write_text("1")
    shelf.prune(keep=(0, 5))
    assert shelf.numbers() == [0, 3, 5, 10, 11]
    assert (shelf.pointed("best"), shelf.pointed("last"), shelf.pointed("averaged")) == (3, 11, None)
    assert [*tmp_path.glob(".*")] == []
    (tmp_path / "best").write_text("../../etc")
    with pytest.raises(ValueError, match=r"pointer file .* is damaged"):
        shelf.pointed("best")


def test_a_run_directory_belongs_to_one_configuration(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(ValueError, match="is no run directory"):
        directory.require()
    assert directory.status == {"state": "new"}
    with directory.lock():
        directory.begin(TrainConfig())
        directory.begin(TrainConfig())
        with pytest.raises(ValueError, match="epochs: 30 → 31"):
            directory.begin(replace(TrainConfig(), epochs=31))
    directory.require()
    with pytest.raises(ValueError, match="another process"), directory.lock(), RunDirectory(tmp_path / "run").lock():
        pass
    with directory.lock():  # released, also after the error
        pass


def test_a_run_that_died_while_it_wrote_its_configuration_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.123.tmp").write_text("half")
    RunDirectory(tmp_path).begin(TrainConfig())
    (tmp_path / "config.yaml").unlink()
    (tmp_path / ".hidden").write_text("somebody's file")
    with pytest.raises(ValueError, match=r"is not empty and holds no run \(\.hidden\)"):
        RunDirectory(tmp_path).begin(TrainConfig())
