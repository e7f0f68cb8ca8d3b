"""A run killed with SIGKILL at any moment and started again ends exactly as the run that was left alone."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

KILLED = -signal.SIGKILL
MOMENTS = {
    "first-write": ["operation 1"],
    "first-epoch": ["step 2"],
    "middle-of-an-epoch": ["step 7"],
    "between-files": ["between model file and meta"],
    "before-rename": ["before the rename"],
    "after-rename": ["after the rename", "before the rename"],  # the second dies with the stale folder removed
    "before-pointer": ["before the pointer"],
    "inside-an-event": ["inside an event"],
    "inside-a-removal": ["inside the removal of an old checkpoint"],
}


@pytest.fixture(scope="module")
def runs(killed: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    folder = tmp_path_factory.mktemp("runs")
    cases = [("whole", "fp32", []), ("whole-bf16", "bf16", []), ("bf16", "bf16", ["step 7"])]
    cases += [(name, "fp32", kills) for name, kills in MOMENTS.items()]
    return folder, killed([{"out": str(folder / name), "precision": p, "kills": kills} for name, p, kills in cases])


@pytest.mark.parametrize("name", [*MOMENTS, "bf16"])
def test_killed_run_ends_like_the_whole_one(
    name: str, runs: tuple[Path, dict[str, list[int]]], compare_runs: Callable[[Path, Path], str]
) -> None:
    folder, statuses = runs
    kills = MOMENTS.get(name, ["step 7"])
    assert statuses[name] == [KILLED] * len(kills) + [0]
    whole = folder / ("whole-bf16" if name == "bf16" else "whole")
    assert compare_runs(whole, folder / name) == ""


def test_the_run_uses_everything_that_must_be_resumed(runs: tuple[Path, dict[str, list[int]]]) -> None:
    """Otherwise the comparison above would prove less than it says."""
    run = runs[0] / "whole"
    state = torch.load(run / "checkpoints" / "3" / "state.pt", weights_only=True)
    momenta = [entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()]
    assert len(momenta) == 6
    assert all(float(each.abs().sum()) > 0 for each in momenta)
    assert state["generators"].keys() == {"order", "augment", "attack", "mixing"}
    first = torch.load(run / "checkpoints" / "1" / "state.pt", weights_only=True)
    for name in ("order", "augment", "attack"):
        assert not torch.equal(first["generators"][name], state["generators"][name]), name
    assert not torch.equal(first["global_rng"]["cpu"], state["global_rng"]["cpu"])  # dropout drew from it
    assert not torch.equal(first["policy"]["1.radius"], state["policy"]["1.radius"])
    assert state["step"] == 3 * 4
    assert sorted(each.name for each in (run / "checkpoints").iterdir() if each.is_dir()) == ["1", "2", "3"]
    assert (run / "checkpoints" / "1" / "model.safetensors").exists()  # keep_epochs
    assert (run / "checkpoints" / "3" / "averaged.safetensors").exists()


def test_precisions_differ(runs: tuple[Path, dict[str, list[int]]], compare_runs: Callable[[Path, Path], str]) -> None:
    folder, _ = runs
    assert "weights" in compare_runs(folder / "whole", folder / "whole-bf16")


def test_nothing_temporary_is_left(runs: tuple[Path, dict[str, list[int]]]) -> None:
    folder, _ = runs
    for name in MOMENTS:
        assert [*(folder / name / "checkpoints").glob(".*")] == [], name


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_before_every_single_change_of_the_disk(
    killed: Callable[..., Any], compare_runs: Callable[[Path, Path], str], tmp_path: Path
) -> None:
    """Every fsync, rename, replacement and removal up to the second checkpoint, and those of the run's end."""
    assert killed([{"out": str(tmp_path / "whole"), "precision": "fp32", "kills": ["count"]}]) == {"whole": [0, 0]}
    operations = (tmp_path / "whole.operations").read_text().split()
    second = [i for i, name in enumerate(operations) if name == "rename"][2]
    numbers = [*range(1, second + 14), *range(len(operations) - 4, len(operations) + 1)]
    cases = [{"out": str(tmp_path / str(n)), "precision": "fp32", "kills": [f"operation {n}"]} for n in numbers]
    statuses = killed(cases)
    assert set(map(tuple, statuses.values())) == {(KILLED, 0)}
    assert len(statuses) == len(numbers) > 50
    different = {n: compare_runs(tmp_path / "whole", tmp_path / str(n)) for n in numbers}
    assert different == dict.fromkeys(numbers, "")
