"""What a terminal shows, as a picture."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


def terminal_svg(lines: Sequence[str | Text], title: str, width: int) -> str:
    """Lines in the window of a terminal, as the text of an SVG file that needs nothing from elsewhere.

    Args:
        lines: The lines, from above; longer ones than ``width`` are wrapped.
        title: The title of the window.
        width: Characters in a line.

    Returns:
        The same text for the same lines.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(
        record=True,
        width=width + 2,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for line in lines:
        console.print(Text(line) if isinstance(line, str) else line)
    drawing = console.export_svg(title=title)
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)  # no fonts from elsewhere
    return drawing.replace("font-family: Fira Code", "font-family: ui-monospace, Menlo, Consolas")
