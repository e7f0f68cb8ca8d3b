"""The command: two as before, more in a table, refusals, exit codes."""

import csv
import io
import json

import pytest

from classwise.cli import run
from classwise.evaluation import AuditResult, compare_audits


@pytest.fixture
def cli(capsys):
    def command(*words):
        capsys.readouterr()
        code = run(["compare", *map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_two_audits_are_compared_class_by_class(cli, make_audit, tmp_path):
    before, after = make_audit("a"), make_audit("b", 0.6, 0.6, 0.6)
    code, out, _ = cli(before, after, "--report", tmp_path / "r.html")
    assert code == 0
    assert out.startswith(f"{compare_audits(AuditResult.load(before), AuditResult.load(after))}\n")
    assert "<html" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_three_audits_and_a_folder_are_a_table(cli, make_audit, tmp_path):
    paths = [make_audit(name, 0.2, 0.4, rate) for name, rate in (("a", 0.5), ("b", 0.6), ("c", 0.7))]
    three, folder = cli(*paths), cli(tmp_path / "audits")
    assert three == folder
    assert three[0] == 0
    assert three[1].startswith("3 rows, 3 models: toy/test, n = 120, linf 8/255, pgd-20, seed 0, exact (fp32).")


def test_two_folders_that_hold_runs_are_searched(cli, make_run, tmp_path):
    for name in ("x/at-0", "y/at-1"):
        make_run(name, changes={"seed": int(name[-1])})
    code, out, _ = cli(tmp_path / "runs" / "x", tmp_path / "runs" / "y")
    assert code == 0
    assert out.startswith("1 row, 2 models")


@pytest.mark.parametrize("count", [2, 3])
def test_what_is_not_comparable_is_the_users_mistake(cli, make_audit, count):
    paths = [make_audit("a"), make_audit("b", precision="mixed"), make_audit("c")][:count]
    code, out, err = cli(*paths)
    assert (code, out) == (2, "")
    assert "precision" in err
    code, out, err = cli(*paths, "--force")
    assert (code, err) == (0, "")
    assert out.startswith("NOT COMPARABLE")


def test_formats_files_and_nothing_else_on_standard_output(cli, make_audit, tmp_path):
    make_audit("a")
    make_audit("b", 0.5, 0.5, 0.5)
    words = [tmp_path / "audits", "--out", tmp_path / "out", "--format"]
    assert json.loads(cli(*words, "json")[1])["baseline"] == "a"
    rows = list(csv.DictReader(io.StringIO(cli(*words, "csv", "--baseline", "b")[1])))
    assert [row["method"] for row in rows] == ["a", "b"]
    assert cli(*words, "latex")[1].splitlines()[0] == r"\begin{table}"
    code, out, _ = cli(*words, "text")
    assert code == 0
    assert out.count("Written: ") == 6


def test_what_does_not_go_together_is_refused(cli, make_audit, tmp_path):
    paths = [make_audit("a"), make_audit("b"), make_audit("c")]
    code, _, err = cli(*paths, "--report", tmp_path / "r.html")
    assert code == 2
    assert "--report is about two audits" in err
    assert not (tmp_path / "r.html").exists()
    assert cli()[0] == 2
    code, _, err = cli(paths[0])
    assert code == 2
    assert "alone is nothing to compare: name a second PATH" in err
    assert "did you mean 'a'" in cli(*paths, "--baseline", "aa")[2]
    assert "does not exist" in cli(tmp_path / "no", *paths)[2]
