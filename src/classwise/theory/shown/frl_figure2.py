"""Figure 2 of FRL (ICML 2021): two Gaussian classes in the plane, and where natural and adversarial training part them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn

from classwise.configuration import config
from classwise.registry import register
from classwise.theory.gaussian_mixture import Floats, GaussianPair
from classwise.theory.logistic import population_logistic
from classwise.theory.shown.base import TheoryFigure
from classwise.theory.simulate import Simulated
from classwise.theory.small_net import net_errors, train_small_net, training_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGISTIC, NET = "logistic regression", "small network"
TRAININGS = ("natural", "adversarial")


@dataclass(frozen=True)
class Fitted:
    """One way of training one kind of classifier.

    Args:
        panel: Kind of classifier.
        training: ``natural`` or ``adversarial``.
        boundary: Points on the decision boundary, (P, 2), in order; of the first network where there are several.
        clean: Errors of class +1 and -1, (networks, 2); one row for logistic regression.
        robust: The same under the attack.
        simulated: Of every network the clean errors and the robust ones, by class; empty for logistic regression.
    """

    panel: str
    training: str
    boundary: Floats
    clean: Floats
    robust: Floats
    simulated: tuple[tuple[tuple[Simulated, Simulated], tuple[Simulated, Simulated]], ...] = ()


@register("theory-figure", "frl-icml-figure2")
@config
class FRLFigure2(TheoryFigure):
    """Two Gaussian classes in the plane and the boundaries of natural and adversarial training, linear and not.

    The logistic regression is the one of infinitely many points (:mod:`classwise.theory.logistic`), so its errors are exact.
    The networks are trained on points drawn (:mod:`classwise.theory.small_net`), and their errors are simulated: means of
    several networks, as one depends on its points more than on the kind of training. Drawn is the first of them.
    """

    paper: ClassVar[str] = "FRL, ICML 2021, Figure 2"
    assumed: ClassVar[Mapping[str, str]] = {
        "points": "not stated; enough that most networks agree on the picture",
        "width": "not stated: the paper says a multi-layer perceptron; one hidden layer is the smallest",
        "steps": "not stated; at learning rate 0.01 of Adam the loss has settled",
        "nets": "the paper shows one; three tell a trend from an accident",
    }

    centre: float = 2.0
    """Both coordinates of the mean of class +1, above 0; class -1 has the opposite."""
    variance_plus: float = 2.0
    """Variance of every coordinate in class +1, above 0."""
    variance_minus: float = 1.0
    """Variance of every coordinate in class -1, above 0."""
    radius: float = 0.5
    """l_inf radius of adversarial training and of the attack on all classifiers, at least 0, below the centre."""
    points: int = 2000
    """Training points of a network per class, at least 1."""
    width: int = 32
    """Hidden units of a network, at least 1."""
    steps: int = 300
    """Training steps of a network on all its points, at least 1."""
    nets: int = 3
    """Networks over which errors are averaged, at least 1; each has points and first weights of its own."""
    samples: int = 50_000
    """Fresh points per class on which a network's errors are counted, at least 1."""
    shown: int = 300
    """Training points that are drawn per class, from 0 to all of them."""
    seed: int = 0
    """Seed of the first network and of its points; the others count on."""

    def check(self) -> None:
        """Raises: ValueError: A field is out of range."""
        if not 0 < self.centre < np.inf:
            raise ValueError(
                f"centre {self.centre:g} is out of range: above 0, so that class +1 lies to the upper right"
            )
        for name in ("variance_plus", "variance_minus"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} {getattr(self, name):g} is out of range: above 0, else the class is a point")
        if not 0 <= self.radius < self.centre:
            raise ValueError(
                f"radius {self.radius:g} is out of range: at least 0 and below the centre {self.centre:g}, beyond which "
                "adversarial training gives every point one answer, and no boundary"
            )
        for name in ("points", "width", "steps", "nets", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is out of range: at least 1")
        if not 0 <= self.shown <= self.points:
            raise ValueError(
                f"shown {self.shown} is out of range: from 0 to the {self.points} training points per class"
            )
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is out of range: at least 0")

    @property
    def pair(self) -> GaussianPair:
        """The two classes."""
        return GaussianPair(
            theta=[self.centre],
            times=[2],
            sigma_plus=self.variance_plus**0.5,
            sigma_minus=self.variance_minus**0.5,
        )

    @cached_property
    def fitted(self) -> list[Fitted]:
        """Both kinds of classifier, each trained both ways; computed once, in a few seconds."""
        radii = dict(zip(TRAININGS, (0.0, self.radius), strict=True))
        return [self._logistic(*each) for each in radii.items()] + [self._nets(*each) for each in radii.items()]

    @cached_property
    def drawn_points(self) -> tuple[Floats, Floats]:
        """Points of class +1 and of class -1 that are drawn, (shown, 2) each."""
        x = training_points(self.pair, self.points, self.seed)[0].double().numpy()
        return x[: self.shown], x[self.points :][: self.shown]

    def table(self) -> tuple[list[str], list[list[str | float]]]:
        """Points, boundaries and errors, told apart by the second column; errors of networks with 95 % intervals."""
        rows: list[list[str | float]] = [
            ["both", "point", "", name, float(x1), float(x2), "", "", ""]
            for name, points in zip(("+1", "-1"), self.drawn_points, strict=True)
            for x1, x2 in points
        ]
        for each in self.fitted:
            rows += [
                [each.panel, "boundary", each.training, "", float(x1), float(x2), "", "", ""]
                for x1, x2 in each.boundary
            ]
            for position, item in enumerate(("clean error", f"error at radius {self.radius:g}")):
                means = (each.clean, each.robust)[position].mean(0)
                for side, name in enumerate(("+1", "-1")):
                    for number, simulated in enumerate(each.simulated, 1):
                        one = simulated[position][side]
                        label = f"{item}, network {number}"
                        rows.append([each.panel, label, each.training, name, "", "", one.value, one.low, one.high])
                    rows.append([each.panel, item, each.training, name, "", "", float(means[side]), "", ""])
        return ["panel", "item", "training", "class", "x1", "x2", "value", "low", "high"], rows

    def summary(self) -> list[str]:
        """The class errors of all four, and how adversarial training moves them."""
        said = []
        for natural, adversarial in (self.fitted[:2], self.fitted[2:]):
            of = "exact" if natural.panel == LOGISTIC else f"mean of {self.nets}, simulated"
            said.append(
                f"{natural.panel.capitalize()} ({of}), errors of class +1 and of class -1: natural training "
                f"{_both(natural.clean)} on clean data, {_both(natural.robust)} at radius {self.radius:g}; "
                f"adversarial training {_both(adversarial.clean)}, {_both(adversarial.robust)}."
            )
            said.append(
                f"The error of class +1 less that of class -1, in points: after natural training {_gap(natural.clean)} on "
                f"clean data, {_gap(natural.robust)} at radius {self.radius:g}; "
                f"after adversarial training {_gap(adversarial.clean)}, {_gap(adversarial.robust)}."
            )
        places = [_on_diagonal(each.boundary) for each in self.fitted[:2]]
        said.append(
            f"The boundary of logistic regression crosses x1 = x2 at {places[0]:.3f} after natural training "
            f"and at {places[1]:.3f} after adversarial training; class +1 lies at {self.centre:g}."
        )
        return said

    def draw(self) -> Figure:
        """See :class:`TheoryFigure`."""
        from classwise.report.svg import PALETTE, new_figure

        figure, axes = new_figure(11, 6, 2)
        edge = self._edge
        for place, fitted in zip(axes, (self.fitted[:2], self.fitted[2:]), strict=True):
            for name, points, colour in zip(("+1", "-1"), self.drawn_points, PALETTE, strict=False):
                place.scatter(
                    points[:, 0], points[:, 1], 12, color=colour, alpha=0.45, linewidths=0, label=f"class {name}"
                )
            for each, colour, style in zip(fitted, PALETTE[2:], ("-", "--"), strict=False):
                place.plot(*each.boundary.T, style, color=colour, linewidth=1.8, label=f"{each.training} training")
            place.set(title=fitted[0].panel.capitalize(), xlabel="x1", ylabel="x2", aspect="equal")
            place.set(xlim=(-edge, edge), ylim=(-edge, edge))
        # Below both panels: inside, the boundaries run through the corners that hold no points.
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, markerscale=2)
        return figure

    @property
    def _edge(self) -> float:
        """Half the side of the square that is drawn: it holds most points, and the boundaries stand apart in it."""
        return self.centre + 2.2 * math.sqrt(max(self.variance_plus, self.variance_minus))

    def _logistic(self, training: str, radius: float) -> Fitted:
        pair = self.pair
        fitted = population_logistic(pair, radius)
        steepness, intercept = float(fitted.weight[0]), float(fitted.intercept)
        boundary = _boundary(lambda x: np.asarray(steepness * x.sum(1) + intercept), self._edge)
        clean, robust = (np.array([pair.errors(fitted.classifier, size)]) for size in (0.0, self.radius))
        return Fitted(LOGISTIC, training, boundary, clean, robust)

    def _nets(self, training: str, radius: float) -> Fitted:
        simulated = []
        boundary = np.empty((0, 2))
        for number in range(self.nets):
            seed = self.seed + number
            net = train_small_net(self.pair, radius, seed, points=self.points, width=self.width, steps=self.steps)
            clean, robust = (net_errors(net, self.pair, size, self.samples, seed) for size in (0.0, self.radius))
            simulated.append((clean, robust))
            if number == 0:
                boundary = _boundary(_answers(net), self._edge)
        values = np.array([[[each.value for each in kind] for kind in net_] for net_ in simulated])
        return Fitted(NET, training, boundary, values[:, 0], values[:, 1], tuple(simulated))


def _answers(net: nn.Module) -> Callable[[Floats], Floats]:
    def answer(x: Floats) -> Floats:
        with torch.no_grad():
            values = net(torch.from_numpy(x).float())[:, 0]
        return np.asarray(values.double())

    return answer


def _boundary(answer: Callable[[Floats], Floats], edge: float) -> Floats:
    """Where the answer changes its sign on lines parallel to x1 = x2, (P, 2); on each the change nearest to class +1.

    Args:
        answer: From points (N, 2) to numbers (N,), positive for class +1.
        edge: Half the side of the square that is looked at.
    """
    along = np.linspace(-2 * edge, 2 * edge, 641)
    found = []
    for across in np.linspace(-edge, edge, 161):
        line = np.stack([along + across, along - across], 1)
        value = answer(line)
        (changes,) = np.nonzero((value[:-1] <= 0) & (value[1:] > 0))
        if len(changes):
            last = changes[-1]
            share = value[last] / (value[last] - value[last + 1])
            found.append(line[last] + share * (line[last + 1] - line[last]))
    boundary: Floats = np.array(found, dtype=np.float64).reshape(-1, 2)
    return boundary


def _on_diagonal(boundary: Floats) -> float:
    """x1 where a boundary crosses x1 = x2."""
    return float(boundary[np.abs(boundary[:, 0] - boundary[:, 1]).argmin(), 0])


def _both(errors: Floats) -> str:
    plus, minus = 100 * errors.mean(0)
    return f"{plus:.2f} % and {minus:.2f} %"


def _gap(errors: Floats) -> str:
    plus, minus = 100 * errors.mean(0)
    return f"{plus - minus:+.2f}"
