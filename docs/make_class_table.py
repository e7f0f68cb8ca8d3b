"""Draw ``docs/class_table.svg``, the picture in the README, from the demo's first audit.

python docs/make_class_table.py [runs/demo/train]
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.text import Text

import classwise as cw
from classwise.report.terminal import terminal_svg


def main(run: Path) -> None:
    """Audit a run (or read its audit) and draw what the terminal shows."""
    lines = str(cw.Run(run).audit()).splitlines()
    styled = [Text(line, style="bold dark_orange" if "weakest" in line else "") for line in lines]
    drawing = terminal_svg(styled, "print(result)", max(map(len, lines)))
    (Path(__file__).parent / "class_table.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/train"))
