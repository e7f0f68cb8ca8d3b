"""What the README shows runs as it stands there."""

import re
import sys
from pathlib import Path

import pytest
from pages import ROOT, blocks, commands, run

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = [block.text for block in blocks(ROOT / "README.md") if block.language == "python"]
COMMANDS = commands(ROOT / "README.md")


def test_the_snippets_run_in_order(tmp_path: Path) -> None:
    snippets = [text for text in PYTHON if "@register" not in text]
    assert len(snippets) == 5
    printed = run([sys.executable, "-c", "\n".join(snippets)], tmp_path)
    assert "digits" in printed
    assert "McNemar" in printed or "No single class changed" in printed
    assert (tmp_path / "audit.html").stat().st_size > 10_000
    assert (tmp_path / "runs" / "mine" / "checkpoints" / "averaged").is_file()


def test_the_plug_in_runs_as_the_readme_calls_it(tmp_path: Path) -> None:
    (plugin,) = [text for text in PYTHON if "@register" in text]
    (tmp_path / "my_policy.py").write_text(plugin, encoding="utf-8")
    (command,) = [line for line in COMMANDS if line.startswith("classwise train") and "--plugin" in line]
    words = [*command.split(), "--epochs", "2"]
    run([sys.executable, "-m", *words], tmp_path)
    assert "inverse-accuracy" in (tmp_path / "runs" / "inverse" / "config.yaml").read_text(encoding="utf-8")
    assert len(list((tmp_path / "runs" / "inverse" / "plugins").glob("my_policy-*.py"))) == 1


@pytest.mark.parametrize("words", ["", "recipes", "doctor", "train digits-pgd-at --out runs/at --dry-run"])
def test_the_commands_run(words: str, tmp_path: Path) -> None:
    assert f"classwise {words}".strip() in COMMANDS
    assert run([sys.executable, "-m", "classwise", *words.split()], tmp_path)


def test_both_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
