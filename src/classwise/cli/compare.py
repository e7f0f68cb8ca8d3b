"""``classwise compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import api, registry
from classwise.cli.flags import parse
from classwise.evaluation import AuditResult
from classwise.run import Run
from classwise.runs import RunDirectory


@dataclass(frozen=True)
class Flags:
    """Compare two audits of the same images, paired per image.

    A run stands for the audit of its selected checkpoint, which is made first where it is missing.
    """

    before: tyro.conf.Positional[Path]
    """An audit folder, or a run directory."""
    after: tyro.conf.Positional[Path]
    """The other one."""
    report: Path | None = None
    """HTML file to write."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the runs were made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "compare", arguments)
    for plugin in flags.plugin:
        registry.load_plugin(plugin)
    before = _audit(flags.before, like=None)
    comparison = api.compare(before, _audit(flags.after, like=before))
    print(comparison)
    if flags.report is not None:
        from classwise.report.html import write_report

        runs = [RunDirectory(path) for path in (flags.before, flags.after) if RunDirectory(path).exists]
        path = write_report(
            flags.report, audits=[comparison.before, comparison.after], comparison=comparison, runs=runs
        )
        print(f"Report: {path.resolve()}")
    return 0


def _audit(path: Path, like: AuditResult | None) -> AuditResult:
    return Run(path).audit(like=like) if RunDirectory(path).exists else AuditResult.load(path)
