"""Figures 1 and 2 of the same-class mixup paper, with the curves that it leaves out: the errors on the data themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from classwise.configuration import config
from classwise.registry import register
from classwise.theory.gaussian_mixture import Floats, Numbers
from classwise.theory.mixup import DomainPair, MixupErrors, errors_of_mixup, variance_factor
from classwise.theory.shown.base import CurvesFigure, Panel
from classwise.theory.shown.mixup import NOT_STATED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBER = 109
"""Values on an axis that is no number of features."""
_CURVES = {"plain": "plain training", "mixed": "mixup, on mixed data", "original": "mixup, on original data"}
_ALIKE = {
    "prior": f"{NOT_STATED}: above 1/2, for with equal variances and priors there is no gap to shrink",
    "sigma_plus": f"{NOT_STATED}: equal variances, of which its remarks speak",
    "sigma_minus": f"{NOT_STATED}: as sigma_plus",
    "lam": f"{NOT_STATED}: the strongest fixed choice",
    "d": f"{NOT_STATED}: errors that can be told apart over the whole axis",
    "distance_from": f"{NOT_STATED}: from classes that all but coincide",
    "distance_to": f"{NOT_STATED}: to classes that are well apart",
}


class Sweep(NamedTuple):
    """One panel's numbers."""

    title: str
    """What the panel shows."""
    x_name: str
    """Name of the axis."""
    x: Floats
    """Values on it, (N,)."""
    kind: str
    """Natural or adversarial."""
    errors: MixupErrors
    """Class errors, each (N,)."""


@config
class MixupFigure(CurvesFigure):
    """Base class of the two figures: which classes, which mixup, and how their errors become panels."""

    prior: float = 0.7
    """Share of class +1 (the paper's alpha), strictly between 0 and 1."""
    sigma_plus: float = 1.0
    """Standard deviation of every feature in class +1, above 0."""
    sigma_minus: float = 1.0
    """Standard deviation of every feature in class -1, above 0."""
    lam: float = 0.5
    """Share of a point itself in a mixed one, in [0, 1]; 1 is no mixup."""
    d: int = 5
    """Number of features where they are not what varies, at least 1."""
    distance_from: float = 0.2
    """Smallest distance of the class means in each feature, mu_plus + mu_minus, above 0."""
    distance_to: float = 2.0
    """Largest distance of the class means in each feature."""

    def check(self) -> None:
        """Refuse numbers for which there are no such classes, and axes without a length."""
        if not 0 < self.distance_from < self.distance_to < np.inf:
            raise ValueError(
                f"distances from {self.distance_from:g} to {self.distance_to:g} make no axis: give them rising, above 0"
            )
        self.sweeps()

    @abstractmethod
    def sweeps(self) -> Sequence[Sweep]:
        """The panels' numbers, from left to right."""

    def errors(self, d: Numbers, distance: Numbers, radius: Numbers) -> MixupErrors:
        """Class errors at a number of features, a distance of the means and a radius of both training and test."""
        half = np.asarray(distance) / 2  # where the middle lies moves the boundary, not the errors
        classes = DomainPair(
            d=d,
            mu_plus=half,
            mu_minus=half,
            sigma_plus=self.sigma_plus,
            sigma_minus=self.sigma_minus,
            prior=self.prior,
        )
        return errors_of_mixup(classes.pair, variance_factor(self.lam), radius)

    def distances(self) -> Floats:
        """The axis of distances, (109,)."""
        return np.linspace(self.distance_from, self.distance_to, _NUMBER)

    def panels(self) -> list[Panel]:
        """See :class:`CurvesFigure`."""
        return [
            Panel(
                sweep.title,
                sweep.x_name,
                sweep.x,
                f"{sweep.kind} error of the class",
                {
                    f"{_CURVES[kind]}, class {name}": np.broadcast_to(getattr(errors, side), sweep.x.shape)
                    for kind, errors in sweep.errors._asdict().items()
                    for name, side in (("+1", "plus"), ("-1", "minus"))
                },
            )
            for sweep in self.sweeps()
        ]

    def summary(self) -> list[str]:
        """See :class:`TheoryFigure`."""
        said = []
        for sweep in self.sweeps():
            at = len(sweep.x) // 2
            plain, mixed, original = (np.abs(each.gap) for each in sweep.errors)
            before, after = (each.average(self.prior) for each in (sweep.errors.plain, sweep.errors.original))
            narrower, dearer = (np.round(each, 4) + 0.0 for each in (plain - original, after - before))  # no -0.0000
            most, cost = int(narrower.argmax()), int(dearer.argmax())
            apart = (
                f"{sweep.title}: at {sweep.x_name} = {sweep.x[at]:.3g} the {sweep.kind} errors of the classes are "
                f"{plain[at]:.3f} apart after plain training; after mixup {mixed[at]:.3f} on mixed data and "
                f"{original[at]:.3f} on the original data."
            )
            price = (
                f"On the original data mixup narrows the gap by {narrower.min():.3f} to {narrower[most]:.3f} (most at "
                f"{sweep.x[most]:.3g}), and the average error grows by {dearer.min():.4f} to {dearer[cost]:.4f} (most at "
                f"{sweep.x[cost]:.3g})."
            )
            said += [apart, price]
        return said

    def draw(self) -> Figure:
        """The panels with one legend below them: six curves leave no room for it inside."""
        figure = super().draw()
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.7)
        for axes in figure.axes:
            legend = axes.get_legend()
            assert legend is not None
            legend.remove()
            axes.set_ylim(bottom=0)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return figure


@register("theory-figure", "mixup-figure1")
@config
class MixupFigure1(MixupFigure):
    """Class errors with and without same-class mixup: natural over the distance of the means, adversarial over the radius.

    Added to the paper's curves: the errors of the mixup-trained classifier on the original data.
    """

    paper: ClassVar[str] = "Zhong and Tandon, Learning fair robustness via domain mixup, figure 1"
    assumed: ClassVar[dict[str, str]] = {
        **_ALIKE,
        "mean": f"{NOT_STATED}: classes that are neither alike nor far apart",
        "radius_to": f"{NOT_STATED}: up to where hardly a margin is left",
    }

    mean: float = 0.4
    """Mean of every feature in class +1, and minus that in class -1, in panel (b); above 0."""
    radius_to: float = 0.35
    """Largest l_inf radius in panel (b), above 0."""

    def check(self) -> None:
        """See :class:`MixupFigure`."""
        if not 0 < self.radius_to < np.inf:
            raise ValueError(f"radius_to {self.radius_to:g} must be above 0: it ends the axis of radii")
        super().check()

    def sweeps(self) -> list[Sweep]:
        """See :class:`MixupFigure`."""
        distances, radii = self.distances(), np.linspace(0, self.radius_to, _NUMBER)
        return [
            Sweep(
                f"(a) natural training, d = {self.d}",
                "distance of the means |\u03bc+ + \u03bc-|",
                distances,
                "natural",
                self.errors(self.d, distances, 0.0),
            ),
            Sweep(
                f"(b) adversarial training, means \u00b1{self.mean:g}, d = {self.d}",
                "radius \u03b5",
                radii,
                "adversarial",
                self.errors(self.d, 2 * self.mean, radii),
            ),
        ]


@register("theory-figure", "mixup-figure2")
@config
class MixupFigure2(MixupFigure):
    """Adversarial class errors with and without same-class mixup, over the distance of the means and the number of features.

    Added to the paper's curves: the errors of the mixup-trained classifier on the original data.
    """

    paper: ClassVar[str] = "Zhong and Tandon, Learning fair robustness via domain mixup, figure 2"
    assumed: ClassVar[dict[str, str]] = {
        **_ALIKE,
        "distance_from": f"{NOT_STATED}: from where the radius leaves hardly a margin",
        "radius": f"{NOT_STATED}: leaves a margin on most of both axes",
        "mean": f"{NOT_STATED}: classes that many features are needed to tell apart",
        "d_to": f"{NOT_STATED}: to where the errors come near 0",
    }

    distance_from: float = 0.3
    """Smallest distance of the class means in each feature, mu_plus + mu_minus, above 0."""
    radius: float = 0.1
    """l_inf radius of training and test, at least 0."""
    mean: float = 0.3
    """Mean of every feature in class +1, and minus that in class -1, in panel (b); above 0."""
    d_to: int = 40
    """Largest number of features in panel (b), at least 2."""

    def check(self) -> None:
        """See :class:`MixupFigure`."""
        if self.d_to < 2:
            raise ValueError(f"d_to {self.d_to} must be at least 2: the axis of features begins at 1")
        super().check()

    def sweeps(self) -> list[Sweep]:
        """See :class:`MixupFigure`."""
        distances, counts = self.distances(), np.arange(1.0, self.d_to + 1)
        return [
            Sweep(
                f"(a) adversarial training, radius {self.radius:g}, d = {self.d}",
                "distance of the means |\u03bc+ + \u03bc-|",
                distances,
                "adversarial",
                self.errors(self.d, distances, self.radius),
            ),
            Sweep(
                f"(b) adversarial training, radius {self.radius:g}, means \u00b1{self.mean:g}",
                "number of features d",
                counts,
                "adversarial",
                self.errors(counts, 2 * self.mean, self.radius),
            ),
        ]
