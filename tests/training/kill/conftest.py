"""Comparison of runs, and the program that kills itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from classwise.registry import load_plugin

load_plugin(Path(__file__).with_name("dropout_net.py"))


def run_cases(cases: list[dict[str, Any]]) -> dict[str, list[int]]:
    program = Path(__file__).with_name("program.py")
    done = subprocess.run(
        [sys.executable, str(program)], input=json.dumps(cases), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    statuses: dict[str, list[int]] = json.loads(done.stdout)
    return {Path(out).name: each for out, each in statuses.items()}


def difference(first: Any, second: Any, where: str = "") -> str:
    """The first place where two nested values are not exactly equal; "" where they are."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return f"{where}: keys {sorted(map(str, first))} and {sorted(map(str, second))}"
        found = (difference(first[key], second[key], f"{where}.{key}") for key in first)
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        found = (difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(first, second, strict=True)))
    elif isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        same = first.dtype == second.dtype and torch.equal(first, second)
        return "" if same else f"{where}: tensors differ"
    else:
        return "" if type(first) is type(second) and first == second else f"{where}: {first!r} and {second!r}"
    return next((each for each in found if each), "")


def everything(run: Path) -> dict[str, Any]:
    """What a run left: weights, state, pointers, status and events, times left out."""
    pointers = {each.name: each.read_text() for each in (run / "checkpoints").iterdir() if each.is_file()}
    last = run / "checkpoints" / pointers["last"].strip()
    state = torch.load(last / "state.pt", weights_only=True)
    del state["events_size"]  # the log holds times, whose digits differ
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    for event in events:
        del event["time"], event["seconds"]
    return {
        "weights": {each.name: each.read_bytes().hex() for each in sorted(last.glob("*.safetensors"))},
        "state": state,
        "pointers": pointers,
        "checkpoints": sorted(each.name for each in (run / "checkpoints").iterdir() if each.is_dir()),
        "status": json.loads((run / "status.json").read_text()),
        "events": events,
    }


@pytest.fixture(scope="session")
def killed() -> Any:
    """The function that trains and kills; see ``program.py``."""
    return run_cases


@pytest.fixture(scope="session")
def compare_runs() -> Any:
    """Says where two run directories differ."""
    return lambda first, second: difference(everything(first), everything(second))
