"""Findings for people to read."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from classwise.testing.finding import Finding
from classwise.testing.plugin import Examined


def plugin_text(path: Path, examined: Sequence[Examined]) -> str:
    """What was found of a plug-in: a paragraph per component, with every check, and a last line that sums up.

    Args:
        path: The plug-in file.
        examined: What :func:`classwise.testing.check_plugin` gave.

    Returns:
        Text without a final newline, wrapped where standard output is a terminal.
    """
    width = min(shutil.get_terminal_size().columns, 110) if sys.stdout.isatty() else 10_000
    lines: list[str] = []
    for each in examined:
        place = f" ({path.name}, line {each.line})" if each.line else ""
        lines += [f"{each.kind} {each.name}{place}"]
        if each.remark:
            lines += _wrapped(each.remark, "  ", width)
        column = max((len(finding.name) for finding in each.findings), default=0) + 2
        for finding in each.findings:
            lines += _finding_lines(finding, column, width)
        lines += [""]
    findings = [finding for each in examined for finding in each.findings]
    failed = sum(not finding.passed for finding in findings)
    total = f"{len(findings)} check{'s' if len(findings) != 1 else ''}"
    return "\n".join([*lines, f"{failed} of {total} failed." if failed else f"{total}, none failed."])


def _finding_lines(finding: Finding, column: int, width: int) -> list[str]:
    if finding.passed:
        return _wrapped(finding.expected, f"  pass  {finding.name:<{column}}", width)
    parts = (("expected", finding.expected), ("seen", finding.seen), ("mend", finding.mend))
    return [
        f"  FAIL  {finding.name}",
        *(line for word, text in parts for line in _wrapped(text, f"{word:>16}  ", width)),
    ]


def _wrapped(text: str, head: str, width: int) -> list[str]:
    """Lines no wider than ``width``, the first after ``head``, the others below its text."""
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)
