"""How pages are made from templates: everything that is put in is escaped, and a missing value is an error."""

from __future__ import annotations

from typing import Any

from classwise.report import phrasing

_PHRASES = ("percent", "points", "limits", "p_value", "level", "conditions")


def templates() -> Any:
    """The environment of all pages, with the phrasing of figures."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("classwise.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _PHRASES:
        made.globals[name] = getattr(phrasing, name)
    return made
