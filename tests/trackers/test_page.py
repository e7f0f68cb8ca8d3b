"""What docs/trackers.md shows runs as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "trackers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]


def run(words: list[str], folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(tmp_path: Path, real: Callable[[str], Any]) -> None:
    for package in ("tensorboard", "mlflow", "sqlalchemy", "alembic", "lightning"):
        real(package)
    ran, printed = 0, ""
    for language, text in BLOCKS:
        for words in [[sys.executable, "-c", text]] if language == "python" else _commands(text):
            printed += run(words, tmp_path)
            ran += 1
    assert ran == 3 + 3
    assert len(re.findall(r"^robust ", printed, re.MULTILINE)) == 2
    assert (tmp_path / "mlflow.db").is_file()
    for folder in ("runs/at/tensorboard", "tb/at", "runs/block/tensorboard", "runs/mine/tensorboard"):
        assert list((tmp_path / folder).glob("events.out.*")), folder


def _commands(text: str) -> list[list[str]]:
    lines = [line.partition("  #")[0] for line in text.splitlines()]
    return [[sys.executable, "-m", *shlex.split(line)] for line in lines if line.startswith("classwise ")]


def test_extras_exist() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"classwise\[(\w+)\]", PAGE))
    assert extras == {"tensorboard", "mlflow", "lightning"}
    for extra in extras:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
    assert len([line for line in COMMANDS if line.startswith("classwise ")]) == 3
