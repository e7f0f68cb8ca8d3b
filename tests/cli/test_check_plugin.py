"""``classwise check`` on a plug-in file."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from classwise import registry

Cli = Callable[..., tuple[int, str, str]]

GOOD = '''
from classwise import Selection, config, register


@register("selection", "cli-second-worst")
@config
class SecondWorst(Selection):
    """Robust accuracy of the second weakest class."""

    def score(self, table, epoch):
        robust = sorted(each for each, n in zip(table.robust, table.n) if n > 0)
        return float(robust[1])
'''
BROKEN = GOOD.replace("second-worst", "first").replace("return float(robust[1])", "return float(table.robust[0])")
BROKEN = BROKEN.replace("SecondWorst", "First").replace("if n > 0", "if n >= 0")


@pytest.fixture(autouse=True)
def _clean_registry() -> Iterator[None]:
    """Other tests count what is registered."""
    registry.names("selection")
    table, modules = dict(registry._tables["selection"]), set(sys.modules)
    yield
    registry._tables["selection"].clear()
    registry._tables["selection"].update(table)
    for name in set(sys.modules) - modules:
        if name.startswith("classwise_plugin_"):
            del sys.modules[name]


def written(folder: Path, text: str) -> Path:
    path = folder / "my_rule.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plug_in_that_keeps_its_contract(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("check", written(tmp_path, GOOD))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "selection cli-second-worst (my_rule.py, line 5)"
    assert re.match(
        r"  pass  permutes +the order of the classes does not matter$", next(x for x in lines if "permutes" in x)
    )
    assert lines[-1] == "7 checks, none failed."
    assert "FAIL" not in out


def test_a_fault_is_explained_and_the_exit_code_is_3(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("check", written(tmp_path, GOOD + BROKEN))
    assert (code, err) == (3, "")
    first, second = out.split("selection cli-first")
    assert "FAIL" not in first
    assert re.search(
        r"  FAIL  permutes\n +expected  the order of the classes does not matter\n"
        r" +seen  with 2 classes in another order the score is [\d.]+ instead of [\d.]+\n"
        r" +mend  use what is the same for every order: the mean, the worst class, the sum\n",
        second,
    )
    assert out.endswith("\n\n1 of 14 checks failed.\n")


def test_in_a_terminal_lines_are_wrapped(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli("check", written(tmp_path, BROKEN))
    assert code == 3
    assert max(len(line) for line in out.splitlines()) <= 80
    (at,) = [i for i, line in enumerate(out.splitlines()) if line.startswith("  pass  score")]
    wrapped = out.splitlines()[at : at + 2]
    column = len(wrapped[0]) - len(wrapped[0][8:].split(maxsplit=1)[1])
    assert wrapped[1].startswith(" " * column)
    assert wrapped[1][column] != " "


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (GOOD, ["--seed", "3"], "--seed is for checks of a model: to check a plug-in write `classwise check "),
        (GOOD, ["--radius=8/255", "--norm", "linf"], "--radius is for checks of a model"),
        (GOOD, ["--plugin", "other.py"], "--plugin is for checks of a model"),
        ("x = 1", [], 'registers no component: write @register("policy", "my-name")'),
        ("import nothing_of_this_name", [], "failed while loading: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_checked_is_the_users_mistake(
    text: str, words: list[str], message: str, cli: Cli, tmp_path: Path
) -> None:
    code, out, err = cli("check", written(tmp_path, text), *words)
    assert (code, out) == (2, "")
    assert err.startswith("classwise check: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_missing_file_is_named(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("check", tmp_path / "none.py")
    assert code == 2
    assert "none.py' is not a Python file: give the path of a .py file" in err


def test_help_tells_of_plug_ins(cli: Cli) -> None:
    code, out, _ = cli("check", "--help")
    assert code == 0
    plain = " ".join(re.sub(r"[│─╭╮╰╯]", " ", out).split())
    assert "docs/plugins.md" in plain
    assert "a plug-in, a .py file" in plain
