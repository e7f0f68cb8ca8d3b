"""CFA's figure 1: the points of both classes, and their accuracies as the weight of the first feature grows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from classwise.configuration import config
from classwise.registry import register
from classwise.theory.gaussian_mixture import Floats
from classwise.theory.noisy_feature import ClassAccuracies, NoisyFeature
from classwise.theory.shown.base import TheoryFigure
from classwise.theory.shown.noisy_feature import RECOLLECTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBER = 201
"""Values of w on the axis."""
_SHIFT = 0.07
"""By how much the classes are drawn apart on the first axis, where all points lie at -1 or 1."""
_GOLDEN = (math.sqrt(5) - 1) / 2


@register("theory-figure", "cfa-figure1")
@config
class CFAFigure1(TheoryFigure):
    """Points of CFA's model with one weak feature, and clean and robust accuracy of both classes over w.

    Added to the paper's curves: the robust accuracies where the perturbation moves the first feature too, as the l_inf ball
    allows.
    """

    paper: ClassVar[str] = "CFA (CVPR 2023), figure 1 and appendix A"
    assumed: ClassVar[dict[str, str]] = {
        "p_plus": RECOLLECTED,
        "p_minus": RECOLLECTED,
        "eta": RECOLLECTED,
        "w_max": "wide enough to show both accuracies level off",
        "seed": "the paper names none; with this one the shares come out near p_plus and p_minus",
    }

    p_plus: float = 0.85
    """How often the first feature is right in class +1, below 1."""
    p_minus: float = 0.7
    """The same in class -1, from 1/2 to p_plus."""
    eta: float = 0.4
    """Mean of the weak feature in class +1; class -1 has -eta."""
    variance: float = 0.6
    """Variance of the weak feature."""
    radius: float = 0.8
    """l_inf radius of the test; the paper takes 2 eta."""
    w_max: float = 4.0
    """End of the axis of w."""
    points: int = 100
    """Points drawn per class."""
    seed: int = 5
    """Seed of the points."""

    def check(self) -> None:
        """Refuse numbers out of range."""
        for name, least in (("variance", "above 0"), ("w_max", "above 0"), ("radius", "at least 0")):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and least == "above 0"):
                raise ValueError(f"{name} {value:g} is out of range: it must be finite and {least}")
        if self.points < 1:
            raise ValueError(f"points {self.points} is out of range: draw at least 1 per class")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is out of range: seeds are at least 0")
        self.model()

    def model(self) -> NoisyFeature:
        """The data with these parameters."""
        return NoisyFeature(p_plus=self.p_plus, p_minus=self.p_minus, eta=self.eta, sigma=math.sqrt(self.variance), d=1)

    def drawn(self) -> tuple[Floats, Floats]:
        """Points (N, 2) of class +1 and of class -1."""
        generator, drawn = np.random.default_rng(self.seed), []
        for label, right in ((1, self.p_plus), (-1, self.p_minus)):
            first = np.where(generator.random(self.points) < right, label, -label)
            second = generator.normal(label * self.eta, math.sqrt(self.variance), self.points)
            drawn.append(np.column_stack([first, second]))
        return drawn[0], drawn[1]

    def curves(self) -> tuple[Floats, dict[str, ClassAccuracies]]:
        """Values of w (N,), and the accuracies there by what is measured."""
        w, model = np.linspace(0, self.w_max, _NUMBER), self.model()
        return w, {
            "clean": model.accuracies(w),
            "robust": model.accuracies(w, self.radius),
            "robust, x1 too": model.accuracies(w, self.radius, first_attackable=True),
        }

    def table(self) -> tuple[list[str], list[list[str | float]]]:
        """One row per point, and one per point of a curve."""
        rows: list[list[str | float]] = [
            ["points", "x1", float(x), f"x2, class {name}", float(y)]
            for name, points in zip(("+1", "-1"), self.drawn(), strict=True)
            for x, y in points
        ]
        w, curves = self.curves()
        rows += [
            ["accuracy", "w", float(x), f"{what}, class {name}", float(y)]
            for what, pair in curves.items()
            for name, values in zip(("+1", "-1"), pair, strict=True)
            for x, y in zip(w, values, strict=True)
        ]
        return ["panel", "axis", "x", "curve", "y"], rows

    def summary(self) -> list[str]:
        """See :class:`TheoryFigure`."""
        model = self.model()
        own, best = model.best_weight_of_class(), float(model.best_weight())
        start, end = model.accuracies(best), model.accuracies(self.w_max)
        robust, last = model.accuracies(best, self.radius), model.accuracies(self.w_max, self.radius)
        full, full_last = (model.accuracies(w, self.radius, first_attackable=True) for w in (best, self.w_max))
        clean = (
            f"Clean accuracy of class -1 is highest at w = {own.minus:.3f}, that of class +1 at {own.plus:.3f}; the average of "
            f"both at {best:.3f}, where they are {start.minus:.3f} and {start.plus:.3f}."
        )
        onwards = (
            f"From there to w = {self.w_max:g}, clean accuracy changes by {100 * (end.minus - start.minus):+.2f} in class -1 and "
            f"by {100 * (end.plus - start.plus):+.2f} in class +1, robust accuracy at radius {self.radius:g} by "
            f"{100 * (last.minus - robust.minus):+.2f} and {100 * (last.plus - robust.plus):+.2f} (in points)."
        )
        attacked = (
            f"Where the attack moves the first feature too, robust accuracy goes from {full.minus:.3f} to {full_last.minus:.3f} "
            f"in class -1 and from {full.plus:.3f} to {full_last.plus:.3f} in class +1."
        )
        return [clean, onwards, attacked]

    def draw(self) -> Figure:
        """See :class:`TheoryFigure`."""
        from classwise.report.svg import new_figure

        figure, (left, right) = new_figure(10.4, 4.2, 2)
        self._draw_points(left)
        self._draw_curves(right)
        return figure

    def _draw_points(self, axes: Axes) -> None:
        from classwise.report.svg import INK, PALETTE

        drawn, marks = dict(zip(("+1", "-1"), self.drawn(), strict=True)), ("o", "x")
        for (name, points), side, mark, colour in zip(drawn.items(), (-_SHIFT, _SHIFT), marks, PALETTE, strict=False):
            # All points lie at -1 or 1: spread over a narrow column, none hides another.
            across = side + 0.08 * (np.arange(len(points)) * _GOLDEN % 1 - 0.5)
            axes.scatter(points[:, 0] + across, points[:, 1], s=16, marker=mark, color=colour, label=f"class {name}")
        best = float(self.model().best_weight())
        for at, label in ((-1, f"boundary at w = {best:.2f}"), (1, "")):
            axes.plot([at - 0.3, at + 0.3], [-at * best, -at * best], ":", color=INK, label=label)
        places = [
            f"{at}\n" + ", ".join(f"{np.sum(points[:, 0] == at)} of class {name}" for name, points in drawn.items())
            for at in (-1, 1)
        ]
        axes.set(
            title="(a) points of both classes", xlabel="first feature x1", ylabel="weak feature x2", xlim=(-1.7, 1.7)
        )
        axes.set_xticks([-1, 1], places)
        axes.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.22))

    def _draw_curves(self, axes: Axes) -> None:
        from classwise.report.svg import PALETTE

        w, curves = self.curves()
        model = self.model()
        own = model.best_weight_of_class()
        highest = [float(model.accuracies(own.plus).plus), float(model.accuracies(own.minus).minus)]
        for (what, pair), colour in zip(curves.items(), PALETTE[2:], strict=False):
            for name, values, style in zip(("+1", "-1"), pair, ("-", "--"), strict=True):
                axes.plot(w, values, style, color=colour, label=f"{what}, class {name}", linewidth=1.6)
            if what == "clean":
                axes.plot([*map(float, own)], highest, "o", color=colour, label="highest clean accuracy")
        axes.set(title="(b) accuracy of both classes", xlabel="weight w of the first feature", ylabel="accuracy")
        axes.set(xlim=(0, self.w_max), ylim=(0, 1))
        axes.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.48, -0.16), columnspacing=1.0)
