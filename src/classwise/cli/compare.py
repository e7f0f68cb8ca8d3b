"""``classwise compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from classwise import api, registry
from classwise.cli.flags import parse
from classwise.evaluation import AuditResult
from classwise.evaluation.result import SEAL
from classwise.report.overview_files import Format
from classwise.run import Run
from classwise.runs import RunDirectory


@dataclass(frozen=True)
class Flags:
    """Compare runs and audits of the same images.

    Two of them: class by class, paired per image; a run stands for the audit of its selected checkpoint, which is made first
    where it is missing. More of them, or folders to be searched: a table with a row for every recipe, seeds aggregated,
    tested against a baseline. What is not comparable is refused.
    """

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Audit folders, run directories, and folders that are searched for both."""
    report: Path | None = None
    """HTML file to write, for two."""
    site: Path | None = None
    """Folder for a static site: a first page that sorts and filters, and a page per run."""
    out: Path | None = None
    """Folder for the tables (Markdown, CSV, LaTeX, JSON) and figures (SVG)."""
    format: Format = "text"
    """Of the table that is printed."""
    baseline: str = ""
    """Row that the others are tested against; default: the one that most others started from, else the first."""
    force: bool = False
    """Show side by side what is not comparable, marked as such."""
    plugin: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Python file that registers components the runs were made with; may be repeated. Its code is run."""


def main(arguments: list[str]) -> int:
    """Run the command."""
    flags = parse(Flags, "compare", arguments)
    for plugin in flags.plugin:
        registry.load_plugin(plugin)
    if not flags.paths:
        raise ValueError("nothing to compare: name a PATH or several, of audits, runs, or a folder that holds some")
    if len(flags.paths) == 1 and not _is_searched(flags.paths[0]):
        raise ValueError(
            f"{str(flags.paths[0])!r} alone is nothing to compare: name a second PATH, or a folder that holds runs or audits"
        )
    of_many = bool(flags.site or flags.out or flags.format != "text" or flags.baseline or flags.force)
    if len(flags.paths) == 2 and not of_many and not any(map(_is_searched, flags.paths)):
        return _two(flags)
    if flags.report is not None:
        raise ValueError("--report is about two audits: name two and no flags for many, or write a --site")
    return _many(flags)


def _two(flags: Flags) -> int:
    first, second = flags.paths
    before = _audit(first, like=None)
    comparison = api.compare(before, _audit(second, like=before))
    print(comparison)
    if flags.report is not None:
        from classwise.report.html import write_report

        runs = [RunDirectory(path) for path in flags.paths if RunDirectory(path).exists]
        path = write_report(
            flags.report, audits=[comparison.before, comparison.after], comparison=comparison, runs=runs
        )
        print(f"Report: {path.resolve()}")
    return 0


def _many(flags: Flags) -> int:
    from classwise.report.overview_files import formatted_overview

    overview = api.compare_many(flags.paths, baseline=flags.baseline, force=flags.force)
    print(formatted_overview(overview, flags.format))
    # Other formats are for other programs, and nothing else is printed then.
    written = [*(overview.save(flags.out) if flags.out is not None else [])]
    written += [overview.site(flags.site)] if flags.site is not None else []
    if flags.format == "text":
        for path in written:
            print(f"Written: {path.resolve()}")
    return 0


def _is_searched(path: Path) -> bool:
    """Whether a path is neither a run nor an audit but a folder that holds some, directly or further down."""
    if RunDirectory(path).exists or (path / SEAL).is_file():
        return False
    return any(path.rglob(SEAL))


def _audit(path: Path, like: AuditResult | None) -> AuditResult:
    return Run(path).audit(like=like) if RunDirectory(path).exists else AuditResult.load(path)
