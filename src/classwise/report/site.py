"""A comparison as a static site: a first page that sorts and filters, and a page per model; nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markupsafe import Markup

from classwise.comparison.overview import Overview
from classwise.comparison.rows import Member
from classwise.report.overview_figures import class_bars_of_rows, trade_off_figure
from classwise.report.overview_files import TABLES
from classwise.report.overview_tables import (
    classes_changed,
    family,
    headings,
    left_out,
    notes,
    opening,
    row_name,
    versus_rows,
)
from classwise.report.svg import to_svg
from classwise.report.templating import templates
from classwise.runs.atomic import cannot_write, write_json, write_text
from classwise.runs.directory import CONFIG

GENERATOR = "classwise compare"
MARK = f'<meta name="generator" content="{GENERATOR}">'
FIRST, PAGES = "index.html", "runs"


def write_site(overview: Overview, folder: Path) -> Path:
    """Write ``index.html``, ``runs/*.html`` and the tables into a folder; an earlier site there is replaced.

    Returns:
        The path of the first page.

    Raises:
        ValueError: The folder holds something else, or cannot be written.
    """
    _admit(folder)
    environment = _templates()
    pages: dict[tuple[int, int], str] = {}
    content: dict[str, str] = {}
    template = environment.get_template("site_run.html.j2")
    for number, row in enumerate(overview.rows):
        for place, member in enumerate(row.members):
            name = pages[place, number] = f"{PAGES}/{len(content) + 1:03}-{_file_name(member.model.name)}.html"
            content[name] = template.render(
                title=f"{member.model.name} {member.model.checkpoint}".strip(),
                row=row,
                member=member,
                differences=overview.differences,
                configuration=_configuration(member),
            )
    first = environment.get_template("site_index.html.j2").render(
        title=f"Class-wise robustness of {len(content)} models",
        overview=overview,
        pages=pages,
        headings=headings(overview),
        front=overview.on_front(),
        opening=opening(overview),
        family=family(overview),
        versus=versus_rows(overview),
        classes_changed=list(classes_changed(overview)),
        notes=[*notes(overview), *left_out(overview)],
        row_name=row_name,
        trade_off=Markup(to_svg(trade_off_figure(overview), "Average against worst-class robust accuracy")),
        bars=Markup(to_svg(class_bars_of_rows(overview), "Robust accuracy of every class, methods side by side")),
    )
    _write_pages(folder, content)
    for name, table in TABLES.items():
        write_text(folder / name, f"{table(overview).rstrip()}\n")
    write_json(folder / "comparison.json", overview.to_dict())
    write_text(folder / FIRST, first)  # last, so that it links to nothing that is not there
    return folder / FIRST


def _admit(folder: Path) -> None:
    """Refuse a folder with something in it that is no such site."""
    index = folder / FIRST
    ours = index.is_file() and MARK in index.read_text(encoding="utf-8", errors="replace")[:1000]
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{str(folder)!r} holds something else than a site of classwise: give a new folder")


def _write_pages(folder: Path, content: dict[str, str]) -> None:
    """Write the pages, and remove those of an earlier site; plainly, since they can be made again and may be hundreds."""
    pages = folder / PAGES
    try:
        pages.mkdir(parents=True, exist_ok=True)
        for old in pages.glob("*.html"):
            if (
                f"{PAGES}/{old.name}" not in content
                and MARK in old.read_text(encoding="utf-8", errors="replace")[:1000]
            ):
                old.unlink()
        for name, page in content.items():
            (folder / name).write_text(page, encoding="utf-8")
    except OSError as error:
        raise cannot_write(pages, error) from error


def _configuration(member: Member) -> str:
    run = member.model.run
    return (run / CONFIG).read_text(encoding="utf-8") if run is not None else ""


def _file_name(name: str) -> str:
    """A name that every file system and address takes."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[:60] or "run"


def _templates() -> Any:
    made = templates()
    made.globals["generator"] = GENERATOR
    return made
