"""Audits and comparisons as text."""

import csv
import io
import math
import re
import sys

import numpy as np
import pytest

from classwise.evaluation import compare_audits
from classwise.report.tables import audit_rows, audit_text, comparison_text, csv_text, markdown
from classwise.threat import linf

RATES = (0.25, 0.5, 0.75)
NAMES = ("cat", "dog", "car")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def audit(make_audit):
    return make_audit("my model", NAMES, per_class=40, robust=RATES)


def line_of(text: str, name: str) -> list[str]:
    (line,) = [each for each in text.splitlines() if each.split()[:1] == [name]]
    return line.split()


def test_first_line_says_what_was_attacked_how(audit):
    assert (
        audit_text(audit).splitlines()[0] == "my model: digits/test, n = 120, linf 8/255, pgd-20, seed 0, exact (fp32)"
    )


def test_rows_hold_the_figures(audit):
    # 10 of 40 robust and 10 + 15 clean; Wilson limits of 10/40 from statsmodels.
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(10, 40, method="wilson")
    words = line_of(audit_text(audit), "cat")
    assert words == ["cat", "40", "62.5", "25.0", f"[{100 * low:.1f},", f"{100 * high:.1f}]", "37.5", "←", "weakest"]
    assert line_of(audit_text(audit), "car")[:4] == ["car", "40", "87.5", "75.0"]


def test_only_the_weakest_class_is_marked(audit):
    assert audit_text(audit).count("weakest") == 1


def test_aggregates_with_intervals_stand_below(audit):
    text = audit_text(audit)
    for estimate in (audit.mean, audit.worst, audit.gap, audit.table().overall("clean")):
        assert f"{estimate} ({estimate.method})" in text
    assert audit.worst.low < audit.table().robust_low.min()


def test_print_shows_the_table(audit):
    assert str(audit) == audit_text(audit)


def test_each_threat_has_a_table(make_audit):
    audit = make_audit("m", NAMES, robust=RATES, threats=(linf("4/255"), linf("8/255")))
    text = audit_text(audit)
    assert "linf 4/255, linf 8/255" in text.splitlines()[0]
    first, second = text.split("\nlinf 4/255\n")[1].split("\nlinf 8/255\n")
    assert line_of(first, "dog")[3] == "50.0"
    assert line_of(second, "dog")[3] == "25.0"


def test_a_class_without_samples_is_a_dash(audit):
    from dataclasses import replace

    plan = replace(audit.plan, class_names=(*NAMES, "ship"))
    assert line_of(audit_text(replace(audit, plan=plan)), "ship")[:4] == ["ship", "0", "–", "–"]


def test_names_are_not_read_as_markup(make_audit):
    text = audit_text(make_audit("m", ("[red]x[/red]", ":smile:", "b"), robust=RATES))
    assert "[red]x[/red]" in text
    assert ":smile:" in text


def test_no_colour_without_a_terminal(audit, capsys):
    assert "\x1b" not in audit_text(audit)


def test_colour_on_a_terminal(audit, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = audit_text(audit)
    assert "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search("\x1b\\[[0-9;]*3[0-7]", audit_text(audit))


def test_lines_fit_at_least_eighty_columns(audit, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    table = [line for line in audit_text(audit).splitlines() if line.startswith(" ")]
    assert 20 < max(map(len, table)) <= 80


def test_without_rich_the_table_is_markdown(audit, monkeypatch):
    for name in [each for each in sys.modules if each.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    lines = audit_text(audit).splitlines()
    assert lines[0].startswith("my model: digits/test")
    (row,) = [line for line in lines if line.startswith("| cat |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["cat", "40", "62.5", "25.0"]
    assert cells[-1] == "weakest"
    assert any(str(audit.gap) in line for line in lines)


@pytest.fixture
def comparison(make_audit):
    before = make_audit("old", NAMES, per_class=100, robust=(0.2, 0.5, 0.7))
    after = make_audit("new", NAMES, per_class=100, robust=(0.6, 0.5, 0.3), seed=1)
    return compare_audits(before, after)


def test_comparison_shows_both_values_and_the_difference(comparison):
    words = line_of(comparison_text(comparison), "cat")
    assert words[:6] == ["cat", "100", "20.0", "→", "60.0", "+40.0"]
    assert words[-2:] == ["←", "higher"]
    assert line_of(comparison_text(comparison), "car")[-1] == "lower"
    assert line_of(comparison_text(comparison), "dog")[-1] == "1.000"


def test_comparison_ends_with_the_findings(comparison):
    lines = comparison_text(comparison).splitlines()
    findings = comparison.findings()
    assert lines[-len(findings) :] == findings
    assert lines[0] == "old → new: digits/test, n = 300, linf 8/255, pgd-20, seed 0, exact (fp32)"


def test_rows_for_files_are_fractions(audit):
    rows = audit_rows(audit)
    assert [row["class"] for row in rows] == list(NAMES)
    assert rows[1] == {"class": "dog", "n": 40} | {
        key: pytest.approx(value)
        for key, value in {
            "clean": 0.75,
            "robust": 0.5,
            "robust_low": audit.table().robust_low[1],
            "robust_high": audit.table().robust_high[1],
            "boundary": 0.25,
        }.items()
    }


def test_csv_reads_back(audit):
    rows = audit_rows(audit)
    rows[2] |= {"class": 'a "b", c', "clean": math.nan}
    read = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert float(read[0]["robust_low"]) == rows[0]["robust_low"]
    assert read[2]["class"] == 'a "b", c'
    assert read[2]["clean"] == ""


def test_markdown_prints_per_cent_and_escapes_bars():
    text = markdown([{"class": "a|b", "n": 3, "robust": 0.125}, {"class": "c\nd", "n": 4, "robust": float(np.nan)}])
    assert text.splitlines() == [
        "| class | n | robust |",
        "| --- | ---: | ---: |",
        "| a\\|b | 3 | 12.5 |",
        "| c d | 4 | – |",
    ]
