"""The one way in which tests run what a page shows.

A page's blocks are carried out from top to bottom, in one process and one folder, as a reader would:

- ``sh``: each line is a command. A comment may say ``exit code 3`` (or ``exit code 0 or 4``); 0 is expected otherwise.
- ``python``: runs in the same namespace as the page's other Python; where its first line is a comment such as
  ``# my_policy.py`` it is a file.
- ``yaml``: a file, named in the same way.
- ``text``: what the block above prints. Numbers may be others, lines may be left out; … stands for any of them.

A command, or Python that begins with a comment, that says ``needs the network`` or ``needs a GPU`` is not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NEEDS = re.compile(r"#.*\bneeds (the network|a GPU)\b")
LANGUAGES = {"sh", "python", "yaml", "text"}


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        language: What stands behind the fence.
        text: What is in it.
        line: Number of its first line on the page.
    """

    language: str
    text: str
    line: int

    @property
    def skipped(self) -> bool:
        """Whether a test leaves all of it out."""
        if self.language == "sh":
            return all(NEEDS.search(line) for line in self.text.splitlines())
        return bool(NEEDS.match(self.text.partition("\n")[0]))

    @property
    def file(self) -> str:
        """The name of the file that it is; empty where it is none."""
        found = re.match(r"# (\w+\.(?:py|yaml))\n", self.text)
        return found[1] if found else ""


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order; directives of Sphinx are none."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(each[1], each[2], text.count("\n", 0, each.start(2)) + 1) for each in found]


def commands(page: Path) -> list[str]:
    """All lines of a page's ``sh`` blocks, without their comments."""
    lines = [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines]


def run(words: list[str], folder: Path) -> str:
    """Run a program in a folder, on one thread; what it prints, once it has succeeded."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def carry_out(page: Path, folder: Path) -> int:
    """Carry out a page in a folder, in a process of its own; the number of blocks and commands that were run."""
    done = run([sys.executable, str(Path(__file__).with_name("run_page.py")), str(page)], folder)
    return int(done.splitlines()[-1].split()[0])
