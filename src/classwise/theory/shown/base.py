"""What ``classwise theory`` shows: a model of a paper with its parameters, and a figure of a paper."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from classwise.configuration import Component, config
from classwise.theory.simulate import Simulated

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Row:
    """One quantity of a model, for one set of parameters.

    Args:
        quantity: What it is, in words.
        corrected: Its value by the right formula.
        printed: Its value by the formula as the paper prints it; None where the paper prints none.
        simulated: What a simulation gives; None where nothing can be drawn for it.
        remark: Where the print is, and what is wrong with it.
    """

    quantity: str
    corrected: float
    printed: float | None = None
    simulated: Simulated | None = None
    remark: str = ""


@config
class TheoryModel(Component):
    """Base class: one conceptual model of a paper, with parameters.

    Fields are the parameters; ``check`` refuses those out of range and says which range and why.
    """

    kind: ClassVar[str] = "theory"
    paper: ClassVar[str]
    """Paper and section."""
    assumed: ClassVar[Mapping[str, str]] = {}
    """Fields whose default the paper does not state → why this value."""

    @abstractmethod
    def rows(self, samples: int, seed: int) -> list[Row]:
        """As printed, corrected and simulated.

        Args:
            samples: Points drawn per class in each simulation; 0 leaves simulations out.
            seed: Seed of the simulations.
        """


@dataclass(frozen=True)
class Panel:
    """Curves over one axis.

    Args:
        title: What the panel shows.
        x_name: Name of the axis, with its symbol.
        x: Values on the axis, (N,).
        y_name: What is drawn.
        curves: Name → values, (N,). Curves of class +1 end in "+1", those of class -1 in "-1": they share a colour with
            what stands before, and class -1 is drawn dashed.
    """

    title: str
    x_name: str
    x: npt.NDArray[np.float64]
    y_name: str
    curves: Mapping[str, npt.NDArray[np.float64]]


@config
class TheoryFigure(Component):
    """Base class: one figure of a paper, computed."""

    kind: ClassVar[str] = "theory-figure"
    paper: ClassVar[str]
    """Paper and number of the figure."""
    assumed: ClassVar[Mapping[str, str]] = {}
    """Fields whose default the paper does not state → why this value."""

    @abstractmethod
    def table(self) -> tuple[list[str], list[list[str | float]]]:
        """Names of the columns, and the rows: everything that is drawn or said, as it goes to the CSV file."""

    @abstractmethod
    def summary(self) -> list[str]:
        """What the figure says, in a few sentences with the numbers."""

    @abstractmethod
    def draw(self) -> Figure:
        """The figure; called under :func:`classwise.report.svg.drawing`."""


@config
class CurvesFigure(TheoryFigure):
    """Base class of figures that consist of curves."""

    @abstractmethod
    def panels(self) -> Sequence[Panel]:
        """The panels, from left to right."""

    def table(self) -> tuple[list[str], list[list[str | float]]]:
        """One row per point of a curve."""
        rows: list[list[str | float]] = [
            [panel.title, panel.x_name, float(x), name, float(y)]
            for panel in self.panels()
            for name, values in panel.curves.items()
            for x, y in zip(panel.x, values, strict=True)
        ]
        return ["panel", "axis", "x", "curve", "y"], rows

    def draw(self) -> Figure:
        """See :class:`TheoryFigure`."""
        from classwise.report.svg import PALETTE, new_figure

        panels = self.panels()
        figure, axes = new_figure(4.6 * len(panels), 3.6, len(panels))
        for panel, place in zip(panels, axes, strict=True):
            families = list(dict.fromkeys(_family(name) for name in panel.curves))
            for name, values in panel.curves.items():
                colour = PALETTE[families.index(_family(name)) % len(PALETTE)]
                style = "--" if name.endswith("-1") else "-"
                place.plot(panel.x, values, style, color=colour, label=name, linewidth=1.6)
            place.set(title=panel.title, xlabel=panel.x_name, ylabel=panel.y_name)
            place.legend()
        return figure


def _family(name: str) -> str:
    return name.removesuffix("+1").removesuffix("-1").rstrip(" ,")
