"""Carry out one page in the current folder: ``python run_page.py PAGE``. The rules are those of ``pages.py``."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from pages import NEEDS, Block, blocks

from classwise import cli


def main(page: Path) -> None:
    """Run the blocks; the last line that is printed says how many commands and blocks were run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed, ran = "", 0
    sys.path.insert(0, "")
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.language == "text":
            check_printed(block.text, printed, where)
        elif block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif not block.skipped:
            printed, count = carried_out(block, namespace, where)
            ran += count
    print(f"{ran} run")


def carried_out(block: Block, namespace: dict[str, Any], where: str) -> tuple[str, int]:
    """What a block prints, and how many things in it were run."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            if block.language == "python":
                exec(compile(block.text, where, "exec"), namespace)
                return out.getvalue(), 1
            assert block.language == "sh", f"a block of {block.language!r} cannot be run"
            lines = [line for line in block.text.splitlines() if line and not NEEDS.search(line)]
            for line in lines:
                code, expected = command(line), codes(line)
                assert code in expected, f"{line}: exit code {code}, not one of {sorted(expected)}"
            return out.getvalue(), len(lines)
        except BaseException:
            print(f"{where} failed; it had printed\n{out.getvalue()[-4000:]}", file=sys.__stderr__)
            raise


def command(line: str) -> int:
    """Run one line; the exit code."""
    words = shlex.split(line, comments=True)
    if words[0] == "classwise":  # in this process, which has imported torch already
        return cli.run(words[1:])
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    return done.returncode


def codes(line: str) -> set[int]:
    """Exit codes that a line allows."""
    told = re.search(r"#.*\bexit code ([\d]+(?: or \d+)*)", line)
    return {int(each) for each in told[1].split(" or ")} if told else {0}


def check_printed(shown: str, printed: str, where: str) -> None:
    """Each shown line was printed, whatever its numbers."""
    known = {form(line) for line in printed.splitlines()}
    for line in shown.splitlines():
        if form(line) not in known and line.strip() not in ("", "…"):
            assert form(line) in form(printed), f"{where}: this was not printed: {line}\n{printed}"


def form(text: str) -> str:
    """A text with # for every number (and sign before it), and single spaces."""
    text = re.sub(r"(no change|a change) is shown", "is shown", text)
    return " ".join(re.sub(r"[-+]?\d+(\.\d+)?(e-\d+)?", "#", text).split())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
