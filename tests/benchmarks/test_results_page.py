"""The page of results says what the stored cells say, and shows what is unfinished as unfinished."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from numpy.typing import NDArray

import full_size
import make_results_page
from classwise.published import cells as printed
from effects_cells import Folder
from full_size_methods import COMBINATIONS, PROTOCOLS, entries

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
SHORT = entries()
PLAN = {
    "command": "python benchmarks/full_size.py --abacus",
    "starts": 2,
    "suite": "pgd-20",
    "test_images": 100,
    "class_names": ["cat", "dog"],
    "labels": bytes([0] * 50 + [1] * 50).hex(),
    "labels_sha256": "sum",
}


def verdicts(cats: int, dogs: int) -> NDArray[np.bool_]:
    """So many of the 50 of each class are right."""
    return np.arange(100) % 50 < np.array([cats] * 50 + [dogs] * 50)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = full_size.cells_of(tmp_path, "short", "pgd-20")
    made.begin(PLAN)
    return made


def put(folder: Folder, name: str, seed: int, robust: tuple[int, int], gpu: str = "", **changed: Any) -> None:
    facts = {
        "label": SHORT[name].label,
        "base": SHORT[name].base or None,
        "trained": True,
        "labels_sha256": "sum",
        "validation_score": 0.5,
        "seconds": {"train": 50.0, "audit": 10.0},
        "epochs": 4,
        "acted": {"weight": {"first": 1, "epochs": 3}} if SHORT[name].base else {},
        "averaged_epochs": 0,
        "config": {"averaging": {"name": "none"}, "hardware": {"device": "auto"}},
    }
    folder.write(name, seed, verdicts(50, 45), verdicts(*robust), facts | changed)
    file = folder.file(name, seed)
    result = json.loads(file.read_text())
    result |= {"date": "2030-01-02", "versions": {"torch": "9.9"}}
    result["hardware"] = {"processor": "Abacus", "threads": 1, "gpu": gpu or None}
    file.write_text(json.dumps(result))


def rows(text: str, label: str) -> list[list[str]]:
    """Cells of all rows that begin with a label."""
    found = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found]


def test_the_page_is_what_the_stored_cells_make() -> None:
    made = make_results_page.page(ROOT / "benchmarks" / "results" / "full_size")
    assert made == PAGE, "run benchmarks/make_results_page.py"


def test_without_cells_every_row_is_unfinished_and_no_figure_is_shown(tmp_path: Path) -> None:
    text = make_results_page.page(tmp_path)
    assert "**Nothing on this page has been measured on a GPU yet**" in text
    assert text.count("nothing has been measured yet. All cells are unfinished.") == 2
    assert text.count("none has been chosen, since not all of them are measured") == len(PROTOCOLS)
    ours = text.replace(text.partition("### What FAAL reports")[2].partition("##")[0], "")
    for entry in SHORT.values():
        shown = rows(ours, entry.label)
        assert shown
        assert all(row[1:] == ["unfinished (0 of 3)", *[""] * 5] for row in shown)


def test_figures_reach_the_page(folder: Folder, tmp_path: Path) -> None:
    for seed in (0, 1):
        put(folder, "scratch-at", seed, (30, 20 + 2 * seed), gpu="Abacus GPU")
        put(folder, "scratch-cfa-at", seed, (31, 40 + 2 * seed), gpu="Abacus GPU")
    text = make_results_page.page(tmp_path)
    assert "measured on a GPU yet" not in text
    flowing = " ".join(text.split())
    assert f"by `{PLAN['command']}`, run as `pgd-20` on 100 test images: 4 cells." in flowing
    assert "Measured on 2030-01-02: Abacus GPU, 1 thread" in flowing
    level, change, classes = rows(text, "CFA on AT")[:3]
    assert level[1] == "2"
    assert level[2].startswith("72.0 [")  # (31 + 40) and (31 + 42) of 100
    assert level[3].startswith("62.0 [")  # 31 of 50 in both
    assert [value.partition(" ")[0] for value in level[4:6]] == ["95.0", "90.0"]
    assert level[6] == "weight 3 of 4"
    assert change[1:3] == ["AT", "2"]
    assert change[3].startswith("**+21.0 [")
    assert change[4].startswith("**+20.0 [")  # (62 - 40 + 62 - 44) / 2
    assert change[5].startswith("+0.0 [")
    assert classes[2:] == ["62.0", "82.0"]
    assert rows(text, "AT")[0][6] == ""
    assert rows(text, "FAAL on AT")[0][1] == "unfinished (0 of 2)"


def test_half_of_the_starts_are_shown_as_unfinished_and_never_bold(folder: Folder, tmp_path: Path) -> None:
    put(folder, "scratch-at", 0, (30, 20))
    put(folder, "scratch-cfa-at", 0, (31, 40))
    put(folder, "scratch-cfa-at", 1, (31, 40))  # of this start there is no base yet
    text = make_results_page.page(tmp_path)
    assert "**Nothing on this page has been measured on a GPU yet**" in text
    level, change, _ = rows(text, "CFA on AT")[:3]
    assert level[1] == "2"
    assert change[2:5] == ["unfinished (1 of 2)", "+21.0", "+22.0"]
    assert rows(text, "AT")[0][1] == "unfinished (1 of 2)"


def test_the_best_combination_is_marked_and_alone_in_other_suites(folder: Folder, tmp_path: Path) -> None:
    names = [f"repair-{name}" for name in COMBINATIONS]
    for name, score in zip(names, (0.61, 0.655, 0.6), strict=True):
        for seed in (0, 1):
            put(folder, name, seed, (30, 20), validation_score=score)
    text = make_results_page.page(tmp_path)
    repair = text.partition("## Two-epoch repair")[2]
    best, other = SHORT[names[1]].label, SHORT[names[0]].label
    assert f"It is {best}: 61.0 ({other}), 65.5 ({best}), 60.0 (" in " ".join(repair.split())
    assert len(rows(repair, f"{best} (best combination)")) == 4  # three tables, and unfinished under standard
    assert len(rows(repair, other)) == 3


def test_what_faal_reports_is_what_is_stored(tmp_path: Path) -> None:
    part = make_results_page.page(tmp_path).partition("### What FAAL reports")[2].partition("##")[0]
    found = {(cell.row, cell.column): cell.printed for cell in printed("faal", "table2")}
    assert len({row for row, _ in found}) >= 7
    for row, column in found:
        if column.startswith("AA"):
            assert found[row, column] in rows(part, row)[0]


def test_commands_of_the_page_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(full_size, "measure", lambda *given: called.append(given))
    lines = re.findall(r"^python benchmarks/full_size\.py(.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        tyro.cli(full_size.main, args=shlex.split(line, comments=True))
    assert [given[4] for given in called][:2] == [9, 9]
    for made, _, methods, *_ in called:
        made.names(methods)
    pages = re.findall(r"^python benchmarks/make_results_page\.py(.*)$", PAGE, re.MULTILINE)
    written: list[Any] = []
    monkeypatch.setattr(make_results_page, "page", lambda *given: written.append(given) or "")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: 0)
    for line in pages:
        tyro.cli(make_results_page.main, args=shlex.split(line, comments=True))
    assert written == [(full_size.OUT, "short"), (Path("runs/trial/results"), "small")]
    assert Path("runs/trial") / "results" == called[-1][0].out
