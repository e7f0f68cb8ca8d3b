"""Average against worst-class robust error: the exact frontier of linear classifiers, and where the methods stand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from classwise.configuration import config
from classwise.registry import register
from classwise.theory import frl_arxiv
from classwise.theory.frontier import Frontier, MethodPoint, frontier, least_average, method_points
from classwise.theory.gaussian_mixture import Floats, GaussianPair
from classwise.theory.mixup import variance_factor
from classwise.theory.shown.base import TheoryFigure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBER = 201
"""Points of the frontier."""
_OFF = 1e-6
"""An average error is called above the frontier from here on: TRADES is found by a search of about that precision."""
_BESIDE = 0.5
"""How far panel (b) goes past the frontier, as a share of it."""
_PLACES = 0.065
"""Least distance of two numbers in panel (b), as a share of its width."""
_SHADE = 0.12
"""Strength of the colour over what is within reach."""
_CLASSES = "that of docs/theory.md: strong features that differ in spread, and many weak ones that the attack can turn"
_USUAL = "the method's usual value"
_SHOWN = "small enough that the point stands apart from those of other methods"


@register("theory-figure", "frontier")
@config
class FrontierFigure(TheoryFigure):
    """Least average robust error over the worst-class robust error, with the places of the methods' linear solutions.

    The classes are those of FRL's first version. Panel (a) shows all methods, panel (b) the frontier and what is near it.
    """

    paper: ClassVar[str] = "not in the papers: drawn for the classes of FRL v1, section 3.1"
    assumed: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("m", "gamma", "d", "eta", "ratio", "sigma"), _CLASSES),
        "radius": "between the means of weak and strong features, so that the best direction needs the strong ones alone",
        "shifted_prior": _SHOWN,
        "threshold": _SHOWN,
        "weight_plus": _SHOWN,
        "lam": "the strongest fixed choice",
        "tau": f"{_SHOWN}; FAAL's 0.5 ends at equal errors",
        "slack": _USUAL,
        "beta": _USUAL,
        "factor_plus": "about CFA's 1/2 + robust accuracy of the class after adversarial training",
        "factor_minus": "as factor_plus",
    }

    m: int = 4
    """Number of robust features, at least 1."""
    gamma: float = 1.0
    """Their mean in class +1, at least 0."""
    d: int = 100
    """Number of non-robust features, at least 0."""
    eta: float = 0.1
    """Their mean in class +1, at least 0."""
    ratio: float = 2.0
    """K, standard deviation of class +1 over that of class -1, above 0."""
    sigma: float = 1.5
    """Standard deviation of class -1, above 0."""
    radius: float = 0.4
    """l_inf radius of the test and of adversarial training, at least 0."""
    shifted_prior: float = 0.6
    """Share of class +1 in the training data of "prior shift", strictly between 0 and 1."""
    threshold: float = 0.1
    """What "threshold shift" adds to the offset of adversarial training."""
    weight_plus: float = 1.4
    """Weight of class +1 in "reweighting", above 0; class -1 has 1."""
    lam: float = 0.5
    """Share of a point itself in a mixed one, in [0, 1]."""
    tau: float = 0.01
    """Radius of the ball of KL-DRO in nats, at least 0."""
    slack: float = 0.05
    """FRL's tau: how far a class error may lie above the average, at least 0."""
    beta: float = 6.0
    """Weight of the boundary error in TRADES, at least 0."""
    factor_plus: float = 1.1
    """Of the training radius in class +1, "class-wise radii", at least 0."""
    factor_minus: float = 1.4
    """The same in class -1."""

    def check(self) -> None:
        """Refuse numbers out of range."""
        self.methods()

    def pair(self) -> GaussianPair:
        """The two classes."""
        return frl_arxiv.pair(self.m, self.gamma, self.d, self.eta, self.ratio, self.sigma)

    def curve(self) -> Frontier:
        """The frontier, from equal errors to the least average."""
        return frontier(self.pair(), self.radius, points=_NUMBER)

    def methods(self) -> dict[str, MethodPoint]:
        """The methods' solutions by name, in the order of their numbers."""
        return method_points(
            self.pair(),
            self.radius,
            shifted_prior=self.shifted_prior,
            threshold=self.threshold,
            weights=(self.weight_plus, 1.0),
            variance_factor=variance_factor(self.lam),
            tau=self.tau,
            slack=self.slack,
            beta=self.beta,
            radius_factors=(self.factor_plus, self.factor_minus),
        )

    def table(self) -> tuple[list[str], list[list[str | float]]]:
        """One row per point of the frontier, and one per method."""
        curve = self.curve()
        rows: list[list[str | float]] = [
            ["frontier", "", *map(float, each), 0.0]
            for each in zip(curve.worst, curve.average, curve.errors.plus, curve.errors.minus, strict=True)
        ]
        rows += [
            ["method", name, *map(float, (at.worst, at.average, *at.errors)), _above(at)]
            for name, at in self.methods().items()
        ]
        columns = ["part", "method", "worst-class error", "average error", "error of class +1", "error of class -1"]
        return [*columns, "above the frontier"], rows

    def summary(self) -> list[str]:
        """See :class:`TheoryFigure`."""
        curve, methods = self.curve(), self.methods()
        end = curve.worst[-1]
        ends = (
            f"At radius {self.radius:g} no linear classifier has a worst-class error below {curve.worst[0]:.4f}, where both "
            f"classes err alike; the least average error is {curve.average[-1]:.4f}, with {end:.4f} in the worse class."
        )
        on = [name for name, at in methods.items() if _above(at) == 0 and at.worst <= end + _OFF]
        off = [f"{name} ({_above(at):.4f})" for name, at in methods.items() if _above(at) > 0]
        said = [ends]
        if on:
            low, high = (each(float(methods[name].worst) for name in on) for each in (min, max))
            said.append(f"On the frontier, with worst-class errors from {low:.4f} to {high:.4f}: {', '.join(on)}.")
        if off:
            said.append(f"Above it, by so much in the average: {', '.join(off)}.")
        trades = methods["TRADES"]
        if not np.isfinite(trades.classifier.offset):
            said.append(
                f"With beta = {self.beta:.1f} TRADES does best with one answer for everything, which has no boundary error; its "
                f"average error is {trades.average:.4f}."
            )
        return said

    def draw(self) -> Figure:
        """See :class:`TheoryFigure`."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        from classwise.report.svg import PALETTE, new_figure

        figure, (left, right) = new_figure(10.4, 5.2, 2)
        methods = self.methods()
        near = self._near(methods)
        self._draw_all(left, methods, near)
        self._draw_near(right, methods, near)
        handles: list[Artist] = [
            Line2D([], [], linestyle="", marker=_mark(at), color=_colour(at), label=f"{number}  {name}")
            for number, (name, at) in enumerate(methods.items(), 1)
        ]
        handles.append(Line2D([], [], color=PALETTE[2], linewidth=1.6, label="the frontier"))
        handles.append(Patch(color=PALETTE[2], alpha=_SHADE, linewidth=0, label="linear classifiers"))
        figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.6)
        return figure

    def _near(self, methods: dict[str, MethodPoint]) -> list[str]:
        """Methods that panel (b) shows, by rising worst-class error."""
        curve = self.curve()
        right = curve.worst[-1] + _BESIDE * _extent(curve.worst)
        top = curve.average.max() + _BESIDE * _extent(curve.average)
        inside = [name for name, at in methods.items() if at.worst <= right and at.average <= top]
        return sorted(inside, key=lambda name: float(methods[name].worst))

    def _draw_curve(self, axes: Axes, to: float) -> None:
        from classwise.report.svg import PALETTE

        curve = self.curve()
        axes.plot(curve.worst, curve.average, color=PALETTE[2], linewidth=1.6)
        worst = np.linspace(curve.worst[0], to, _NUMBER)[1:]
        least = least_average(self.pair(), self.radius, np.minimum(worst, 1))
        axes.fill_between(worst, least, worst, color=PALETTE[2], alpha=_SHADE, linewidth=0)
        axes.set(xlabel="worst-class robust error", ylabel="average robust error")

    def _draw_all(self, axes: Axes, methods: dict[str, MethodPoint], near: list[str]) -> None:
        to = max(max(float(at.worst) for at in methods.values()), float(self.curve().worst[-1]))
        self._draw_curve(axes, to)
        for number, (name, at) in enumerate(methods.items(), 1):
            axes.plot(float(at.worst), float(at.average), _mark(at), color=_colour(at), markersize=5)
            if name not in near:
                place = (float(at.worst), float(at.average))
                axes.annotate(f"{number}", place, (-6, 7), textcoords="offset points", ha="right", fontsize=9)
        axes.set(title=f"(a) radius {self.radius:g}; for what is near the frontier see (b)")

    def _draw_near(self, axes: Axes, methods: dict[str, MethodPoint], near: list[str]) -> None:
        from classwise.report.svg import INK

        curve = self.curve()
        low, width = float(curve.worst[0]), _extent(curve.worst)
        height = _extent(curve.average)
        left, right = low - 0.1 * width, low + (1 + _BESIDE) * width
        self._draw_curve(axes, right)
        bottom, top = float(curve.average.min()) - 0.1 * height, float(curve.average.max()) + _BESIDE * height
        numbers = {name: number for number, name in enumerate(methods, 1)}
        room = _PLACES * (right - left)
        places = _apart(np.array([float(methods[name].worst) for name in near]), room, (left + room, right - room))
        for name, place in zip(near, places, strict=True):
            at = methods[name]
            x, y = float(at.worst), float(at.average)
            axes.plot([x, place], [y, top - 0.08 * height], "-", color=INK, alpha=0.45, linewidth=0.6)
            axes.plot(x, y, _mark(at), color=_colour(at), markersize=6)
            axes.text(float(place), top - 0.06 * height, f"{numbers[name]}", ha="center", va="bottom", fontsize=9)
        axes.set(title="(b) on the frontier and beside it", xlim=(left, right), ylim=(bottom, top + 0.1 * height))


def _above(at: MethodPoint) -> float:
    """Distance above the frontier, 0 where it is no more than that of rounding and search."""
    excess = float(at.excess)
    return excess if excess > _OFF else 0.0


def _extent(values: Floats) -> float:
    """Range of the values; a little where they are all but one, so that axes have a length."""
    return max(float(np.ptp(values)), 0.02)


def _mark(at: MethodPoint) -> str:
    return "s" if _above(at) > 0 else "o"


def _colour(at: MethodPoint) -> str:
    from classwise.report.svg import PALETTE

    return PALETTE[1] if _above(at) > 0 else PALETTE[0]


def _apart(places: Floats, least: float, within: tuple[float, float]) -> Floats:
    """Rising places moved as little as may be, so that each stands at least so far from the next, and all within limits.

    Less the distance that is due, they must not fall: each run that does is brought to its mean.
    """
    runs: list[list[float]] = []
    for place in places - least * np.arange(len(places)):
        runs.append([float(place)])
        while len(runs) > 1 and math.fsum(runs[-2]) / len(runs[-2]) > math.fsum(runs[-1]) / len(runs[-1]):
            last = runs.pop()
            runs[-1] += last
    level = np.array([math.fsum(run) / len(run) for run in runs for _ in run], dtype=np.float64)
    moved: Floats = np.clip(level, within[0], within[1] - least * (len(places) - 1)) + least * np.arange(len(places))
    return moved
