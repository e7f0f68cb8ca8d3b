"""Figures of a report as PNG, for trackers that show no SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from classwise.report import figures
from classwise.report.svg import FAINT, INK, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {INK: "#1f2328", FAINT: "#c9ced4"}
"""What the stand-ins for a page's colours are on white paper."""


def pictures_of(events: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, bytes]:
    """The figures of a run as PNG files.

    Args:
        events: The "epoch" entries of its event log, at least one.
        names: Names of the classes.

    Returns:
        "figures/training", "figures/classes" and, where a class knob ever left 1, "figures/knobs".
    """
    made = {
        "training": figures.training_figure(events),
        "classes": figures.class_curves_figure(events, names),
        "knobs": figures.knob_figure(events, names),
    }
    return {f"figures/{name}": to_png(figure) for name, figure in made.items() if figure is not None}


def to_png(figure: Figure) -> bytes:
    """Render a figure made under :func:`classwise.report.svg.drawing`, dark on white, 100 dots per inch."""
    from matplotlib.artist import Artist
    from matplotlib.colors import to_hex

    for artist in figure.findobj(Artist):
        for part in ("color", "edgecolor", "facecolor", "markeredgecolor"):
            colour = getattr(artist, f"get_{part}", lambda: None)()
            stand_in = to_hex(colour) if isinstance(colour, str | tuple) else None
            if stand_in in _COLOURS:
                getattr(artist, f"set_{part}")(_COLOURS[stand_in])
    buffer = io.BytesIO()
    with drawing(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=100, facecolor="white")
    return buffer.getvalue()
