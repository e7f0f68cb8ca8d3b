"""A process that is killed with SIGKILL leaves what it had found, and the next one ends like one left alone."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import classwise as cw
from classwise import ClassData

PROGRAM = Path(__file__).with_name("kill_program.py")
Run = Callable[[str, int], subprocess.CompletedProcess[str]]


@pytest.fixture(params=["exact", "mixed"])
def process(request: pytest.FixtureRequest, network: nn.Module, data: ClassData, tmp_path: Path) -> Run:
    """Audits in a process of its own into a folder of that name; it dies at a call of the model."""
    problem = {
        "network": network,
        "images": data.images[::2],
        "labels": data.labels[::2],
        "index": data.index[::2],
        "class_names": data.class_names,
        "precision": request.param,
    }
    torch.save(problem, tmp_path / "problem.pt")

    def started(name: str, call: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, str(PROGRAM), str(tmp_path / "problem.pt"), str(tmp_path / name), str(call)]
        return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)

    return started


@pytest.mark.slow
def test_killed_processes_end_like_the_whole_one(process: Run, tmp_path: Path) -> None:
    done = process("whole", 0)
    assert done.returncode == 0, done.stderr
    total = int(done.stdout)
    whole = cw.AuditResult.load(tmp_path / "whole")
    for name, shares in {"early": [0.05], "late": [0.9], "thrice": [0.3, 0.4, 0.3]}.items():
        for share in shares:
            died = process(name, int(share * total))
            assert died.returncode == -signal.SIGKILL, died.stderr
            assert not (tmp_path / name / "summary.json").exists()
        lines = (tmp_path / name / "journal.jsonl").read_bytes().split(b"\n")[:-1]
        events = [json.loads(line) for line in lines]
        rows = [
            (each["threat"], each["attack"], *piece)
            for each in events
            if each["event"] == "attack"
            for piece in zip(each["rows"], each["tasks"], strict=True)
        ]
        assert len(set(rows)) == len(rows)
        left = process(name, 0)
        assert left.returncode == 0, left.stderr
        if name != "early":
            assert int(left.stdout) < 0.75 * total
        found = cw.AuditResult.load(tmp_path / name)
        for column, value in vars(whole.outcomes).items():
            assert np.array_equal(getattr(found.outcomes, column), value), (name, column)
        assert not (tmp_path / name / "journal.jsonl").exists()
        assert [each for each in (tmp_path / name).iterdir() if each.name.startswith(".")] == []
