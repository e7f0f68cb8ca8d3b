"""Pages of the documentation site about the command line, from what each command prints for ``--help``."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from classwise import registry
from classwise.cli import VERBS, run

SUBCOMMANDS = {
    "data": ("list", "fetch", "verify", "show"),
    "models": ("list", "show"),
    "theory": ("list", "show", "figure", "explain"),
}
NAMED = {"data show": ("data", "--data."), "theory show": ("theory", "--"), "theory figure": ("theory-figure", "--")}
"""Command whose flags depend on a name → kind of the names, and how flags begin that are the name's own."""
COLUMNS = "110"
"""Of the terminal that the help is printed for; on a wider one frames would stand side by side."""

HEAD = """# Commands

What `classwise COMMAND --help` prints, for every command. Radii are written `8/255` everywhere. Exit codes: 0 done, 2 the
user's mistake (one sentence says which and how to mend it), 3 a check was not met, 4 nothing was repaired, 130 interrupted.
With `CLASSWISE_TRACEBACK=1` a mistake also shows where it was noticed.
"""
DEPENDS = """The flags of the parts (`--policy…`, `--objective…` and so on) are those of the recipe and of what `--use` puts
into it; here they are those of `{recipe}`. The fields of every part are on its [card](../components/index.md)."""


@dataclass
class Box:
    """One frame of a help text.

    Args:
        title: Its heading, such as "options".
        intro: Sentences above its flags.
        entries: Flag or argument as it is called, and what it does.
    """

    title: str
    intro: str = ""
    entries: list[tuple[str, str]] = field(default_factory=list)


def write_commands(folder: Path) -> None:
    """Write the index and a page per command.

    Args:
        folder: Where; it is made.
    """
    folder.mkdir(parents=True)
    index = [HEAD, "| command | what it does |", "| --- | --- |"]
    index += [f"| [`classwise {verb}`]({verb}.md) | {prose(text)} |" for verb, text in VERBS.items()]
    index += ["", "```{toctree}", ":hidden:", "", *VERBS, "```", ""]
    (folder / "index.md").write_text("\n".join(index), encoding="utf-8")
    for verb in VERBS:
        (folder / f"{verb}.md").write_text(page(verb), encoding="utf-8")


def page(verb: str) -> str:
    """The page about a command and those below it."""
    parts = section(verb, "#")
    if verb in ("train", "finetune"):
        parts.insert(2, DEPENDS.format(recipe={"train": "digits-pgd-at", "finetune": "faal-at"}[verb]))
    for sub in SUBCOMMANDS.get(verb, ()):
        parts += section(f"{verb} {sub}", "##")
        if f"{verb} {sub}" in NAMED:
            kind, own = NAMED[f"{verb} {sub}"]
            for name in registry.names(kind):
                if name != "given":
                    parts += own_flags(f"{verb} {sub} {name}", own)
    return "\n\n".join(parts) + "\n"


def section(command: str, level: str) -> list[str]:
    """One command: usage, what it does, arguments and flags."""
    usage, said, boxes = read_help(help_of(command))
    parts = [f"{level} classwise {command}", f"```text\n{usage}\n```", *map(prose, said)]
    for box in boxes:
        if box.title != "subcommands":
            several = len(boxes) > 2 and box.title not in ("positional arguments", "options")
            parts += [f"**{box.title[:1].upper()}{box.title[1:]}**"] if several else []
            parts += [prose(box.intro)] if box.intro and box.intro not in " ".join(said) else []
            parts += entries(box)
    return parts


def own_flags(command: str, own: str) -> list[str]:
    """The flags that a command has for one name only; nothing where there are none."""
    _, _, boxes = read_help(help_of(command))
    kept = [
        Box("", "", [each for each in box.entries if each[0].startswith(own) and "--help" not in each[0]])
        for box in boxes
    ]
    found = [entry for box in kept for entry in entries(box)]
    return [f"### classwise {command}", *found] if found else []


def entries(box: Box) -> list[str]:
    """Flags as a definition list."""
    return [f"`{called}`\n: {prose(text) or '(no more is said)'}" for called, text in box.entries]


def help_of(command: str) -> str:
    """What ``classwise COMMAND --help`` prints without colours."""
    printed = io.TextIOWrapper(
        io.BytesIO(), encoding="utf-8"
    )  # with another encoding the frames are of other characters
    with mock.patch.dict(os.environ, COLUMNS=COLUMNS, NO_COLOR="1"), contextlib.redirect_stdout(printed):
        code = run([*command.split(), "--help"])
    assert code == 0, command
    printed.seek(0)
    return printed.read()


def read_help(text: str) -> tuple[str, list[str], list[Box]]:
    """Take a help text apart.

    Returns:
        The usage line, the paragraphs below it, and the frames.
    """
    above, *frames = re.split(r"^╭", text, flags=re.MULTILINE)
    assert frames, f"no frame in: {text}"
    usage, *said = re.split(r"\n{2,}", above.strip())
    return usage.removeprefix("usage: "), [" ".join(each.split()) for each in said], [*map(read_box, frames)]


def read_box(text: str) -> Box:
    """Take one frame apart; its flags stand at the left, what they do further right or below."""
    head, *rest = text.splitlines()
    lines = [line[2:-2].rstrip() for line in rest if line.startswith("│")]
    box = Box(head.strip("─╮ "))
    rule = next((number for number, line in enumerate(lines) if line and not line.strip("─")), -1)
    box.intro = " ".join(" ".join(lines[: rule + 1]).replace("─", "").split())
    for line in lines[rule + 1 :]:
        if line[:1].strip():
            called, _, said = line.partition("  ")
            box.entries.append((called, said.strip()))
        elif box.entries:
            called, said = box.entries[-1]
            box.entries[-1] = (called, f"{said} {line.strip()}".strip())
    return box


def flags_of(text: str) -> Iterator[str]:
    """Every flag that a help text names at the left of a frame."""
    for line in text.splitlines():
        if re.match(r"│ -", line):
            yield from re.findall(r"(?<![\w-])--?[a-z][\w.-]*", line.partition("  ")[0])


def prose(text: str) -> str:
    """Help as Markdown: pages that it names are links, flags are code, and nothing else is taken for markup."""
    parts = re.split(r"(``.+?``|`.+?`)", text)
    for number in range(0, len(parts), 2):
        part = re.sub(r"([*<\[|])", r"\\\1", parts[number])
        parts[number] = re.sub(r"(?<![\w-])--[a-z][\w.-]*\w", r"`\g<0>`", part)
    return re.sub(r"docs/(\w+)\.md", r"[docs/\1.md](../\1.md)", "".join(parts))
