"""What ``docs/make_theory.py`` puts between its sentences: tables, figures and Python, each computed by what stands there."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import re
import shlex
import tempfile
import textwrap
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from classwise.cli.theory import main as theory
from classwise.theory.shown.table import DIGITS

FIGURES = Path(__file__).parent / "theory"
WIDTH = 126
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
KEPT = ("#", "|", "!", ">")
"""How blocks begin whose lines stay as they are."""


class Shown:
    """What one ``classwise theory show`` gives, by the names of its quantities.

    Args:
        words: What follows ``classwise theory show``.
    """

    def __init__(self, words: str) -> None:
        self.command = f"classwise theory show {words}"
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            name, *flags = shlex.split(words)
            theory(["show", name, *flags, "--out", folder])
            with (Path(folder) / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                self.rows = list(csv.DictReader(file))

    def __getitem__(self, quantity: str) -> str:
        """The right value, as the terminal shows it."""
        return number(self._row(quantity)["corrected"])

    def printed(self, quantity: str) -> str:
        """The value by the formula as printed."""
        return number(self._row(quantity)["printed"])

    def value(self, quantity: str) -> float:
        """The right value in full."""
        return float(self._row(quantity)["corrected"])

    def table(self, *patterns: str) -> str:
        """The command, and the rows whose quantity matches one of the patterns; without patterns all rows."""
        missed = [each for each in patterns if not any(fnmatchcase(row["quantity"], each) for row in self.rows)]
        if missed:
            raise ValueError(f"{self.command} has no quantity {missed[0]!r}")
        rows = [
            row for row in self.rows if not patterns or any(fnmatchcase(row["quantity"], each) for each in patterns)
        ]
        columns = {
            "quantity": [row["quantity"] for row in rows],
            "as printed": [number(row["printed"]) for row in rows],
            "corrected": [number(row["corrected"]) for row in rows],
            "simulated": [number(row["simulated"]) for row in rows],
            "95 %": [f"[{number(row['low'])}, {number(row['high'])}]" if row["simulated"] else "" for row in rows],
            "remark": [row["remark"] for row in rows],
        }
        columns = {name: cells for name, cells in columns.items() if any(cells)}
        rule = ["---" if name in ("quantity", "remark") else "---:" for name in columns]
        lines = [list(columns), rule, *zip(*columns.values(), strict=True)]
        cells = "\n".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|" for line in lines)
        return f"{shell(self.command)}\n\n{cells}"

    def _row(self, quantity: str) -> dict[str, str]:
        (row,) = [each for each in self.rows if each["quantity"] == quantity]
        return row


class Figure:
    """What one ``classwise theory figure`` gives.

    Args:
        name: Name of the figure.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        printed = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(printed):
            theory(["figure", name, "--out", folder])
            self.svg = (Path(folder) / f"{name}.svg").read_text(encoding="utf-8")
        self.says = printed.getvalue().split("\n\n")[1].splitlines()
        """The sentences that are printed between the parameters and the names of the files."""

    def place(self, title: str) -> str:
        """The command, the picture, and what it says."""
        command = shell(f"classwise theory figure {self.name} --out docs/theory")
        said = "\n".join(f"> - {line}" for line in self.says)
        return f"{command}\n\n![{title}](theory/{self.name}.svg)\n\n{said}"


class Ran:
    """Python that stands on the page, and what it prints.

    Args:
        source: The lines, as they are to be read.
    """

    def __init__(self, source: str) -> None:
        self.source = source.strip()
        printed = io.StringIO()
        self.names: dict[str, Any] = {}
        with contextlib.redirect_stdout(printed):
            exec(compile(self.source, "docs/theory.md", "exec"), self.names)
        self.printed = printed.getvalue().rstrip()

    def __str__(self) -> str:
        return f"```python\n{self.source}\n```\n\n```text\n{self.printed}\n```"


def number(value: str | float) -> str:
    """A number as ``classwise theory show`` prints it; nothing for nothing."""
    return "" if value == "" else f"{float(value):.{DIGITS}g}"


def flow(text: str) -> str:
    """Break the lines of paragraphs and lists anew; code, tables, quotes and headings stay, and so does code in a line."""
    codes = iter(CODE.findall(text))
    blocks = CODE.sub("```", text.strip()).split("\n\n")
    return "\n\n".join(
        next(codes) if block == "```" else block if block.startswith(KEPT) else _broken(block) for block in blocks
    )


def _broken(block: str) -> str:
    items = re.split(r"\n(?=- )", block)
    solid = [" ".join(re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "\0"), item).split()) for item in items]
    lines = [
        textwrap.fill(
            item,
            WIDTH,
            subsequent_indent="  " if item.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for item in solid
    ]
    return "\n".join(lines).replace("\0", " ")


def shell(*commands: str) -> str:
    """A block of commands."""
    return "\n".join(["```sh", *commands, "```"])


# Computed once, however many sections or tests ask.
shown = functools.cache(Shown)
figure = functools.cache(Figure)
