"""``classwise report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import registry
from classwise.cli.flags import parse
from classwise.evaluation import AuditResult
from classwise.run import Run
from classwise.runs import RunDirectory


@dataclass(frozen=True)
class Flags:
    """Write one offline HTML file about a run and its audits, or about one audit."""

    path: tyro.conf.Positional[Path]
    """A run directory or an audit folder."""
    out: Path | None = None
    """The HTML file; default: report/report.html in the run, report.html in the audit."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the run was made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "report", arguments)
    for plugin in flags.plugin:
        registry.load_plugin(plugin)
    if RunDirectory(flags.path).exists:
        written = Run(flags.path).report(flags.out)
    else:
        written = AuditResult.load(flags.path).report(flags.out or flags.path / "report.html")
    print(f"Report: {written.resolve()}")
    return 0
