"""Pages of the documentation site about the public names, for Sphinx's autodoc to fill."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import classwise

AXES = (
    "attacks",
    "objectives",
    "policies",
    "mixing",
    "perturbation",
    "averaging",
    "selection",
    "repair",
)
"""Packages of the axes of the training loop, in the order of the pages."""
FURTHER = (
    "data",
    "models",
    "recipes",
    "training",
    "evaluation",
    "metrics",
    "experiments",
    "theory",
    "testing",
)
PACKAGES = tuple(dict.fromkeys((*AXES, *FURTHER, *sorted(classwise._PACKAGES))))
"""Public packages: those above, and what else ``classwise`` offers."""
VERBS = "classwise.api"
"""Home of what the command line can do as well."""

HEAD = """# Python API

`import classwise as cw` costs nothing: names are imported when they are first used. What `classwise` itself offers is on the
first page; each axis of the training loop, data, models and figures have a package of their own. Names that begin with an
underscore, and modules that are not listed, may change without notice.

| package | what is in it |
| --- | --- |
"""


def write_api(folder: Path) -> None:
    """Write the index, the page of ``classwise`` and one of each public package.

    Args:
        folder: Where; it is made.
    """
    folder.mkdir(parents=True)
    rows = ["| [`classwise`](classwise.md) | what most programs need |"]
    for name in PACKAGES:
        module = importlib.import_module(f"classwise.{name}")
        line = (inspect.getdoc(module) or "").partition("\n")[0]
        rows.append(f"| [`classwise.{name}`]({name}.md) | {line} |")
        body = [f".. automodule:: classwise.{name}", "   :members:", "   :show-inheritance:"]
        (folder / f"{name}.md").write_text(page(f"classwise.{name}", body), encoding="utf-8")
    (folder / "classwise.md").write_text(page("classwise", top()), encoding="utf-8")
    tree = ["", "```{toctree}", ":hidden:", "", "classwise", *PACKAGES, "```", ""]
    (folder / "index.md").write_text(HEAD + "\n".join([*rows, *tree]), encoding="utf-8")


def page(title: str, directives: list[str]) -> str:
    """A Markdown page around directives of autodoc."""
    return "\n".join([f"# {title}", "", "```{eval-rst}", *directives, "```", ""])


def top() -> list[str]:
    """Directives for the names of ``classwise`` itself; those that belong to a public package are described there."""
    lines, elsewhere = [".. currentmodule:: classwise", ""], []
    names = [name for name in classwise.__all__ if name in classwise._HOMES]
    for name in sorted(names, key=lambda name: (classwise._HOMES[name] != VERBS, name)):
        home = ".".join(classwise._HOMES[name].split(".")[:2])
        if home.removeprefix("classwise.") in PACKAGES and name in importlib.import_module(home).__all__:
            elsewhere.append(f"* :py:obj:`classwise.{name} <{home}.{name}>`")
            continue
        kind = "class" if inspect.isclass(getattr(classwise, name)) else "function"
        lines += [f".. auto{kind}:: {name}", *(["   :members:"] if kind == "class" else []), ""]
    return [*lines, "Described with their packages:", "", *elsewhere]
