"""What docs/reproduce.md says about sizes, verdicts and commands is so."""

import re
import shlex
from pathlib import Path

import pytest

from classwise.cli import run
from classwise.cli.recipes import Flags as Recipes
from classwise.cli.reproduce import Flags
from classwise.experiments.sizes import SIZES
from classwise.experiments.verdict import RULE, SEEDS, WIDEST, judge
from classwise.published import Cell

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
FLOWING = " ".join(PAGE.split())
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
PLANNED = [each for each in COMMANDS if each.startswith("classwise reproduce ")]
CELL = Cell("faal", "table2", "TRADES", "AA accuracy, average", "49.05", 49.05, "%", "")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"")


@pytest.mark.parametrize("command", PLANNED)
def test_the_commands_are_planned_as_they_stand(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    assert run([*words, *([] if "--print-commands" in words else ["--print-commands"])]) == 0
    lines = capsys.readouterr().out.splitlines()
    kinds = {tuple(line.split()[:2]) for line in lines}
    assert kinds <= {("classwise", kind) for kind in ("train", "finetune", "audit")}
    assert ("classwise", "audit") in kinds
    configs = {path for line in lines for path in re.findall(r"\S+\.yaml", line)}
    assert configs
    assert all(Path(path).is_file() for path in configs)


def test_there_is_a_command_of_each_kind() -> None:
    assert len(PLANNED) >= 4
    assert {word for each in PLANNED for word in SIZES if f"--budget {word}" in each} == set(SIZES)
    assert {*COMMANDS} - {*PLANNED} == {"classwise recipes list --source", "classwise data fetch cifar10"}
    flags = {f"--{name.replace('_', '-')}" for name in Flags.__dataclass_fields__} - {"--name"}
    assert flags <= set(re.findall(r"--[a-z][a-z-]*", PAGE))
    assert set(re.findall(r"--[a-z][a-z-]*", PAGE)) <= flags | {f"--{name}" for name in Recipes.__dataclass_fields__}


def test_the_list_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "list", "--source"]) == 0
    printed = capsys.readouterr().out
    for command in PLANNED:
        assert f"\n{shlex.split(command)[2]} " in f"\n{printed}"


def test_sizes_are_as_told() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `\w+`", line)]
    assert [re.findall(r"`(\w+)`", row)[0] for row in rows] == [*SIZES]
    small, short, paper = rows
    assert SIZES["small"].attacks == {"standard": "quick"}
    assert "at most 20" in small
    assert "at most 20 epochs" in SIZES["small"].told
    assert "at most 30" in short
    assert "at most 30 epochs" in SIZES["short"].told
    assert f"first {SIZES['short'].per_class} test images" in short
    assert SIZES["paper"].per_class == 0
    assert paper.count("the paper's") == 3
    assert Flags.__dataclass_fields__["budget"].default == "small"


def test_the_rule_is_the_one_in_force() -> None:
    formula = "mean over seeds ± t s sqrt(1/k + 1/n)"
    assert formula in FLOWING
    assert formula in RULE
    assert f"fewer than {SEEDS} seeds" in FLOWING
    assert f"wider than {WIDEST:g} points" in FLOWING
    assert "A verdict needs three." in FLOWING
    assert SEEDS == 3


@pytest.mark.parametrize(
    ("values", "cell", "size", "unit", "reason", "told"),
    [
        ([49.0] * 3, CELL, "small", "%", "other size (small)", "the size is not `paper`"),
        ([49.0] * 2, CELL, "paper", "%", "2 of 3 seeds", "fewer than 3 seeds"),
        ([40.0, 49.0, 58.0], CELL, "paper", "%", "interval too wide", "an interval that is wider"),
        ([49.0] * 3, CELL, "paper", "s", "other machine", "the cell is a time"),
        ([49.0] * 3, None, "paper", "%", "not in the paper", "the paper has no such cell"),
        ([], CELL, "paper", "%", "not measured", "nothing was measured"),
    ],
)
def test_every_reason_is_told(
    values: list[float], cell: Cell | None, size: str, unit: str, reason: str, told: str
) -> None:
    verdict = judge(values, cell, size, unit)  # type: ignore[arg-type]
    assert (verdict.word, verdict.reason) == ("cannot say", reason)
    assert told in FLOWING


@pytest.mark.parametrize(("value", "word"), [(49.05, "agrees"), (47.0, "differs")])
def test_the_other_verdicts(value: float, word: str) -> None:
    assert judge([value - 0.1, value, value + 0.1], CELL, "paper").word == word
    assert f"**{word}**" in PAGE


def test_links_lead_to_pages() -> None:
    for name in re.findall(r"\]\(([a-z.]+\.md)\)", PAGE):
        assert (ROOT / "docs" / name).is_file(), name
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/reproduce.md)" in readme
