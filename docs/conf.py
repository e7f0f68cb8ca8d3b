"""How Sphinx builds the documentation site; ``make docs`` runs it over the pages that ``make_site.py`` gathers."""

import re
from pathlib import Path
from typing import Any

import classwise

project = "classwise"
author = "the classwise authors"
copyright = "the classwise authors, Apache-2.0"  # noqa: A001 - the name Sphinx asks for
version = release = classwise.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
default_role = "code"  # names between single quotes of this kind, in docstrings
smartquotes_action = "D"  # dashes only; quotes stay as they are written

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"classwise {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

HEADS = ("Source", "Departures", "Observes", "Costs")
COLON = "\ue000"
"""Stands for a colon while Napoleon looks: it would take the words before one, in the text under a field, for a type."""


def setup(app: Any) -> None:
    """Put what docstrings say into the form that Sphinx expects."""
    assert Path(app.srcdir, "components", "index.md").is_file(), "gather the pages first: run docs/make_site.py"
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)


def _before_napoleon(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    if what in ("attribute", "property", "data"):
        lines[:] = [line.replace(":", COLON) for line in lines]


def _after_napoleon(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """Formulas are plain text: |x| is no substitution and ``x_`` outside of code no link. Source, costs … get a paragraph."""
    text = "\n".join(lines).replace(COLON, ":")
    lines[:] = re.sub(rf"\n(?=(?:{'|'.join(HEADS)}): )", "\n\n", text).split("\n")
    for number, line in enumerate(lines):
        parts = re.split(r"(``.+?``|`.+?`)", line)
        parts[::2] = [re.sub(r"\|", r"\\|", re.sub(r"(?<=\w)_(?!\w)", r"\\_", part)) for part in parts[::2]]
        lines[number] = "".join(parts)
