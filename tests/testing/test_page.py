"""What docs/plugins.md shows and names is so."""

import os
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

import classwise.testing
from classwise.testing.attack import DEMANDS as ATTACK
from classwise.testing.averaging import DEMANDS as AVERAGING
from classwise.testing.mixing import DEMANDS as MIXING
from classwise.testing.objective import DEMANDS as OBJECTIVE
from classwise.testing.perturbation import DEMANDS as PERTURBATION
from classwise.testing.policy import DEMANDS as POLICY
from classwise.testing.repair import DEMANDS as REPAIR
from classwise.testing.selection import DEMANDS as SELECTION
from classwise.testing.settings import SETTINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PLUGIN, TESTS = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_policy.py").write_text(PLUGIN, encoding="utf-8")
    return tmp_path


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_plug_in_is_that_of_the_readme() -> None:
    assert PLUGIN in (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_passes_as_the_page_calls_it_and_fails_as_the_page_shows(folder: Path) -> None:
    assert "\nclasswise check my_policy.py\n" in PAGE
    done = command(folder, "classwise", "check", "my_policy.py")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(f"{len(SETTINGS) + len(POLICY)} checks, none failed.\n")
    (folder / "my_policy.py").write_text(PLUGIN.replace(" + self.smoothing", ""), encoding="utf-8")
    done = command(folder, "classwise", "check", "my_policy.py")
    assert done.returncode == 3
    (shown,) = [text for language, text in BLOCKS if language == "text"]
    assert shown in done.stdout


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    (folder / "test_my_policy.py").write_text(TESTS, encoding="utf-8")
    done = command(folder, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_table_lists_every_check() -> None:
    columns = (POLICY, OBJECTIVE, ATTACK, AVERAGING, MIXING, PERTURBATION, SELECTION, REPAIR)
    names = [[demand.name for demand in demands] for demands in columns]
    rows = [f"| {' | '.join(row)} |" for row in zip_longest(*names, fillvalue="")]
    head = "| policy | objective | attack | averaging | mixing | perturbation | selection | repair |\n|" + " --- |" * 8
    assert "\n".join([head, *rows]) in PAGE
    for demand in SETTINGS:
        assert f"`{demand.name}`" in PAGE
    known = {name for column in names for name in column}
    explained = re.findall(r"^- \*\*([a-z-]+):\*\*", PAGE, re.MULTILINE)
    assert len(explained) >= 6
    assert set(explained) <= known


def test_every_public_function_is_named() -> None:
    assert {name for name in classwise.testing.__all__ if name != "Examined"} <= set(re.findall(r"\w+", PAGE))
