"""What the tests of claims measure, from the verdicts of several starts on the same test images.

Averages and weakest classes are those of the tables on effects. Other figures (how far classes differ, what happens to the hard
ones) are any function of class rates: the spread over starts is what the starts give, that over images comes from drawing
the images of every class anew, and both are added as in ``effects_figures``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import effects_figures
from effects_cells import Cell
from effects_figures import Bools, Figure, Floats, Ints

Outcome = Literal["clean", "robust", "boundary"]
"""Accuracy without attack, accuracy under attack, or boundary error: right without attack and wrong under it."""
Part = Literal["hard", "easy", "hard less easy"]
DRAWS = 400
"""How often the test images are drawn anew."""
SCALES = {"points": 100.0, "squared points": 10_000.0, "1": 1.0}
"""Units, and by what a fraction is multiplied to be in them."""
THIRD = 3
"""Hard classes are the hardest third, rounded; easy ones the easiest third."""


class Measure(ABC):
    """A figure of some cells, or its difference from that of others.

    Attributes:
        unit: ``points``, ``squared points``, or ``1``: then a figure is a plain number.
    """

    unit: str = "points"

    @property
    def scale(self) -> float:
        """By what a fraction is multiplied to be in the unit."""
        return SCALES[self.unit]

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is, to stand before the names of what is compared."""

    def also(self, minus: bool) -> tuple[str, ...]:
        """Further cells of each start that it needs, of the method itself or of the one that is subtracted; mostly none."""
        return ()

    @abstractmethod
    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """The figure with its intervals.

        Args:
            after: One cell per start, then one per start of each of :meth:`also`.
            before: Cells of the same starts that are subtracted, likewise.
            labels: Class of every test image, (n,).
        """


def outcomes(cells: Sequence[Cell], of: Outcome) -> Bools:
    """Verdicts (S, n) of which the rate is the accuracy or the boundary error."""
    clean, robust = (np.stack([getattr(cell, each) for cell in cells]) for each in ("clean", "robust"))
    return {"clean": clean, "robust": robust, "boundary": clean & ~robust}[of]


@dataclass(frozen=True)
class Average(Measure):
    """Accuracy over all images, or boundary error."""

    of: Outcome

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        return {"clean": "average clean accuracy", "robust": "average robust accuracy"}.get(
            self.of, "average boundary error"
        )

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        return effects_figures.average(outcomes(after, self.of), None if before is None else outcomes(before, self.of))


@dataclass(frozen=True)
class Worst(Measure):
    """Accuracy of the weakest class of each start, or the largest boundary error of a class."""

    of: Outcome

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        return {"clean": "clean accuracy of the worst class", "robust": "robust accuracy of the worst class"}.get(
            self.of, "largest boundary error of a class"
        )

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        now, then = outcomes(after, self.of), None if before is None else outcomes(before, self.of)
        if self.of != "boundary":
            return effects_figures.worst(now, labels, then)
        # The largest error belongs to the class with the lowest share of images that are not on the boundary.
        figure = effects_figures.worst(~now, labels, None if then is None else ~then)
        return _mirrored(figure, 1.0 if before is None else 0.0)


@dataclass(frozen=True)
class Fall(Measure):
    """How much less accurate the weakest class of each start is in other cells of the same starts, such as the last epoch's.

    Attributes:
        of: Accuracy without attack, or under it.
        last: Cells that are subtracted.
        last_before: Likewise from the cells of the other method.
    """

    of: Literal["clean", "robust"]
    last: str
    last_before: str

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        return f"what the worst class loses of its {self.of} accuracy from the best to the last epoch, on test images"

    def also(self, minus: bool) -> tuple[str, ...]:
        """See :class:`Measure`."""
        return (self.last_before,) if minus else (self.last,)

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        assert before is not None, "two methods are compared"
        falls = [np.split(outcomes(cells, self.of), 2) for cells in (after, before)]

        def value(rates: Callable[[Bools], Floats]) -> Floats:
            now, then = (rates(best).min(axis=-1) - rates(last).min(axis=-1) for best, last in falls)
            return now - then

        return drawn(value, labels, bound=2.0)


@dataclass(frozen=True)
class Spread(Measure):
    """Variance of the class accuracies beyond that by chance of images, in squared points: how far the classes differ.

    The variance of measured accuracies is raised by chance of images, the more so the nearer they are to one half, so that a
    method with another average would seem to have classes that differ more. What chance adds to the accuracy p of a class with
    n images is p (1 - p) / n, which p (1 - p) / (n - 1) of the measured accuracies estimates without bias; it is taken off.
    What is left is the mean over pairs of different images of what the covariance of two halves of the images gives, and may
    be below 0. It is not brought back to a standard deviation, since a root would bring a bias back.
    """

    of: Outcome
    unit: str = "squared points"

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        what = {"clean": "clean", "robust": "robust"}.get(self.of, "boundary")
        return f"variance of the classes' {what} errors, without what chance of images adds"

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        sets = [outcomes(after, self.of)] + ([] if before is None else [outcomes(before, self.of)])

        count = np.bincount(labels)
        assert (count > 1).all(), "chance of one image alone cannot be told"

        def between(right: Floats) -> Floats:
            chance = (right * (1 - right) / (count - 1)).mean(axis=-1) * (1 - 1 / len(count))
            return right.var(axis=-1) - chance

        def value(rates: Callable[[Bools], Floats]) -> Floats:
            spreads = [between(rates(each)) for each in sets]
            return spreads[0] - spreads[1] if before is not None else spreads[0]

        return drawn(value, labels)


@dataclass(frozen=True)
class HardHit(Measure):
    """Rank correlation over the classes between clean error before and rise of an error: positive if hard classes lose more.

    The clean error is read from every other test image of a class and the rise from the rest: from the same images, chance
    alone would tie a high error to a small rise.
    """

    of: Literal["clean", "robust"]
    unit: str = "1"

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        return f"rank correlation over classes between clean error before and rise of the {self.of} error"

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        assert before is not None, "a rise is a difference"
        half = halves(labels)
        hardness, now, then = outcomes(before, "clean"), outcomes(after, self.of), outcomes(before, self.of)

        def value(rates: Callable[[Bools, Bools | None], Floats]) -> Floats:
            return _spearman(-rates(hardness, half), rates(then, ~half) - rates(now, ~half))

        return drawn(value, labels)


@dataclass(frozen=True)
class Group(Measure):
    """Mean change of an accuracy over the hardest or easiest third of the classes, or how the two changes differ.

    Which classes are hard is read from the robust accuracy before, on every other test image of a class; the change is
    read from the rest.
    """

    of: Outcome
    part: Part

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        what = {"clean": "clean accuracy", "robust": "robust accuracy"}.get(self.of, "boundary error")
        if self.part == "hard less easy":
            return f"change of the {what} of the hardest third of the classes, less that of the easiest third"
        return f"{what} of the {self.part}est third of the classes".replace("easyest", "easiest")

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        assert before is not None, "a change is a difference"
        half = halves(labels)
        known, now, then = outcomes(before, "robust"), outcomes(after, self.of), outcomes(before, self.of)

        def value(rates: Callable[[Bools, Bools | None], Floats]) -> Floats:
            order = rates(known, half).argsort(axis=-1, kind="stable")
            change = np.take_along_axis(rates(now, ~half) - rates(then, ~half), order, axis=-1)
            size = max(1, round(change.shape[-1] / THIRD))
            hard, easy = change[..., :size].mean(axis=-1), change[..., -size:].mean(axis=-1)
            return {"hard": hard, "easy": easy, "hard less easy": hard - easy}[self.part]

        return drawn(value, labels)


@dataclass(frozen=True)
class OneClass(Measure):
    """Accuracy or boundary error of one class."""

    of: Outcome
    index: int

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        what = {"clean": "clean accuracy", "robust": "robust accuracy"}.get(self.of, "boundary error")
        return f"{what} of the class whose setting was changed"

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        mine = labels == self.index
        now, then = outcomes(after, self.of)[:, mine], None if before is None else outcomes(before, self.of)[:, mine]
        return effects_figures.average(now, then)


@dataclass(frozen=True)
class Told(Measure):
    """A number that a cell's facts tell, one per start; its interval is Student's t over the starts.

    Only for runs whose starts hold out other validation images, so that chance of images is in it too.

    Attributes:
        name: What it is, in words.
        read: The number, from the facts of a cell.
        read_before: Likewise of the cells that are subtracted, where it is another.
    """

    name: str
    read: Callable[[dict[str, Any]], float]
    read_before: Callable[[dict[str, Any]], float] | None = None

    @property
    def words(self) -> str:
        """See :class:`Measure`."""
        return self.name

    def figure(self, after: Sequence[Cell], before: Sequence[Cell] | None, labels: Ints) -> Figure:
        """See :class:`Measure`."""
        values = np.array([self.read(cell.facts) for cell in after])
        if before is not None:
            values = values - [(self.read_before or self.read)(cell.facts) for cell in before]
        return _figure(values, 0.0, 1, len(labels), bound=np.inf)


def halves(labels: Ints) -> Bools:
    """Every other image of each class, (n,)."""
    half = np.zeros(len(labels), bool)
    for c in range(int(labels.max()) + 1):
        half[np.flatnonzero(labels == c)[::2]] = True
    return half


def drawn(value: Callable[..., Floats], labels: Ints, bound: float = 1.0) -> Figure:
    """A figure from class rates, with the images of every class drawn anew to see how it varies.

    Args:
        value: Takes a function that turns verdicts (S, n), and perhaps a choice of images (n,), into class rates (..., S, C);
            returns (..., S).
        labels: Class of every image, (n,).
        bound: Largest size that the figure can have.
    """
    indicator = np.eye(int(labels.max()) + 1)[labels]

    def rates_under(weights: Floats) -> Callable[..., Floats]:
        def rates(verdicts: Bools, chosen: Bools | None = None) -> Floats:
            use = weights if chosen is None else weights * chosen
            right = np.einsum("bn,sn,nc->bsc", use, verdicts.astype(np.float64), indicator, optimize=True)
            # A draw may leave none of a few images: then the class has rate 0, which such a figure has to live with.
            return right / np.maximum((use @ indicator)[:, None, :], 1.0)

        return rates

    per_start = value(rates_under(np.ones((1, len(labels)))))[0]
    again = value(rates_under(_draws(labels))).mean(axis=-1)
    return _figure(per_start, float(again.var(ddof=1)), len(labels) - 1, len(labels), bound)


def _draws(labels: Ints) -> Floats:
    """How often each image is drawn, (DRAWS, n): every class and half keeps its number; the same in every call."""
    random, half = np.random.default_rng(0), halves(labels)
    counts = np.zeros((DRAWS, len(labels)))
    for c in range(int(labels.max()) + 1):
        for part in (half, ~half):
            rows = np.flatnonzero((labels == c) & part)
            counts[:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / max(len(rows), 1)), DRAWS)
    return counts


def _figure(per_start: Floats, over_images: float, free_images: int, n_images: int, bound: float) -> Figure:
    """A figure from what each start gives and the variance of their mean over other images."""
    from scipy.special import stdtrit

    value = float(per_start.mean())
    if len(per_start) < 2:
        return Figure(value, (value, value), None, None, len(per_start), n_images)
    free = len(per_start) - 1
    over_starts = float(per_start.var(ddof=1)) / len(per_start)
    total = over_images + over_starts

    def interval(freedom: float, variance: float) -> tuple[float, float]:
        half = float(stdtrit(freedom, 0.975)) * variance**0.5
        return max(value - half, -bound), min(value + half, bound)

    freedom = total**2 / (over_images**2 / free_images + over_starts**2 / free) if total else float(free)
    return Figure(
        value,
        interval(1e6, over_images),
        interval(free, over_starts),
        interval(freedom, total),
        len(per_start),
        n_images,
    )


def _mirrored(figure: Figure, at: float) -> Figure:
    """The figure ``at`` less this one."""

    def turned(interval: tuple[float, float]) -> tuple[float, float]:
        return at - interval[1], at - interval[0]

    starts, both = (None if each is None else turned(each) for each in (figure.starts, figure.both))
    return Figure(
        at - figure.value, turned(figure.images), starts, both, figure.n_starts, figure.n_images, figure.weakest
    )


def _spearman(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation over the last axis, ties sharing their rank; 0 where one side is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(each, axis=-1) for each in (first, second)]
    centred = [each - each.mean(axis=-1, keepdims=True) for each in ranks]
    product = (centred[0] * centred[1]).sum(axis=-1)
    scale = np.sqrt((centred[0] ** 2).sum(axis=-1) * (centred[1] ** 2).sum(axis=-1))
    return np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
