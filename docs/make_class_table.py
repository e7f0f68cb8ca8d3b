"""Draw ``docs/class_table.svg``, the picture in the README, from the demo's first audit.

python docs/make_class_table.py [runs/demo/train]
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

import classwise as cw


def main(run: Path) -> None:
    """Audit a run (or read its audit) and draw what the terminal shows."""
    lines = str(cw.Run(run).audit()).splitlines()
    console = Console(record=True, width=max(map(len, lines)) + 2, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text(line, style="bold dark_orange" if "weakest" in line else ""))
    drawing = console.export_svg(title="print(result)")
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)  # no fonts from elsewhere
    drawing = drawing.replace("font-family: Fira Code", "font-family: ui-monospace, Menlo, Consolas")
    (Path(__file__).parent / "class_table.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/train"))
