"""Matplotlib figures as SVG that belongs to the page it stands in: its text colour, its font, no outside names."""

from __future__ import annotations

import hashlib
import io
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#010203", "#040506"
"""Stand-ins for the page's text colour and for a fainter one; no data is drawn in them."""

PALETTE = ("#2f7fc1", "#c8641a", "#16896b", "#a5559e", "#8f7a00")
"""Told apart with every common kind of colour blindness, at least 3 : 1 against a white and against a dark page."""

_COLOURS = {INK: "currentColor", FAINT: "var(--faint, #8884)"}
_DPI = 96.0


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib settings under which figures are made and rendered; those of the program are left alone."""
    import matplotlib as mpl

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "classwise",
        "text.parse_math": False,  # a class may be called "$5"
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": FAINT,
        "grid.alpha": 0.6,
        "grid.linewidth": 0.7,
        "legend.frameon": False,
        "legend.fontsize": 9,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def new_figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels in a row; width and height in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def to_svg(figure: Figure, label: str) -> str:
    """Render a figure as an ``<svg>`` element to be put into an HTML page.

    Args:
        figure: A figure made under :func:`drawing`.
        label: What it shows, in words, for those who cannot see it.

    Returns:
        The same text for the same figure; its ids are its own, so that several fit in one page.
    """
    buffer = io.StringIO()
    with drawing(), warnings.catch_warnings():
        # The page's fonts draw the text, so what matplotlib's own font lacks does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    root = ET.fromstring(buffer.getvalue())
    prefix = "f" + hashlib.sha256((label + buffer.getvalue()).encode()).hexdigest()[:8]
    for parent in list(root.iter()):
        for child in list(parent):
            # The style element would apply to the whole page.
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        _own(element.attrib, prefix)
    width = figure.get_figwidth() * _DPI
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": label,
        "style": f"stroke-linejoin: round; stroke-linecap: butt; min-width: {0.8 * width:.0f}px; max-width: {1.2 * width:.0f}px",
    }
    return ET.tostring(root, encoding="unicode")


def standalone(figure: Figure, label: str) -> str:
    """Render a figure as the text of an SVG file of its own: dark lines on a light page, light ones on a dark page.

    It has a ground of its own, as a page may be dark where the reader's system is light, and the other way round.

    Args:
        figure: A figure made under :func:`drawing`.
        label: What it shows, in words, for those who cannot see it.
    """
    root = ET.fromstring(to_svg(figure, label))
    root.attrib |= {
        "xmlns": "http://www.w3.org/2000/svg",
        "width": f"{figure.get_figwidth() * _DPI:.0f}",
        "height": f"{figure.get_figheight() * _DPI:.0f}",
        "font-family": "system-ui, sans-serif",
    }
    style = ET.Element("style")
    style.text = (
        "svg{color:#1f2328;background:#fff}@media(prefers-color-scheme:dark){svg{color:#e6edf3;background:#0d1117}}"
    )
    root.insert(0, style)
    return ET.tostring(root, encoding="unicode") + "\n"


def _own(attributes: dict[str, str], prefix: str) -> None:
    """Make ids the figure's own, leave the font to the page, and put the page's colours for the stand-ins."""
    if "id" in attributes:
        attributes["id"] = f"{prefix}-{attributes['id']}"
    if attributes.get("href", "").startswith("#"):
        attributes["href"] = f"#{prefix}-{attributes['href'][1:]}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{prefix}-")
    if "style" in attributes:
        parts = [part.strip() for part in attributes["style"].split(";")]
        style = "; ".join(part for part in parts if not part.startswith("font-family"))
        for stand_in, colour in _COLOURS.items():
            style = style.replace(stand_in, colour)
        attributes["style"] = style
