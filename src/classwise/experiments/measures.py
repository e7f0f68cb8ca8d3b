"""What a column of a table measures: a figure of an audit, of two, of a certification, or of the course of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from classwise.evaluation import AuditResult
from classwise.evaluation.certificates import CertifyResult
from classwise.experiments.courses import Fall, Followed, Jump, Timed, Violation
from classwise.experiments.figure import Figure, figure_of
from classwise.metrics import ClassTable, hurt_more
from classwise.radius import Radius
from classwise.threat import ThreatModel, linf

__all__ = [
    "USUAL",
    "Audited",
    "Certified",
    "Course",
    "Fall",
    "Figure",
    "Followed",
    "HardHit",
    "Jump",
    "Measure",
    "Timed",
    "Violation",
]

Quantity = Literal["clean", "robust", "boundary"]

USUAL = linf("8/255")
"""The threat of all the papers unless they say otherwise."""


@dataclass(frozen=True)
class Audited:
    """A figure of the class table of an audit on test images, in per cent.

    Args:
        of: Clean accuracy, robust accuracy, or boundary error (correct without attack, wrong under it).
        figure: Over all images, of the worst class, the mean of the worst fifth of the classes (rounded up), of the best
            class, the standard deviation over classes, or of one class. Each quantity has its own worst class.
        attacks: Whose worst case counts; see :func:`classwise.attacks.attack_list`.
        error: Whether the error (100 - accuracy) is meant; the boundary error always is one.
        group: Number of the class, for the figure "class".
        threat: What the attacker may do, whatever was trained against.
        step: Length of the steps of PGD, which the attacks then are; None: as :func:`classwise.attacks.attack_list` has it.
    """

    of: Quantity
    figure: Figure = "average"
    attacks: str = "standard"
    error: bool = False
    group: int = 0
    threat: ThreatModel = USUAL
    step: Radius | None = None

    unit: ClassVar[str] = "%"

    def value(self, table: ClassTable) -> float:
        """The figure; nan for a class that the data do not have."""
        errors = table.boundary if self.of == "boundary" else 1 - getattr(table, self.of)
        found = figure_of(errors, table.n, self.figure, self.group)
        as_error = self.error or self.of == "boundary" or self.figure == "deviation"
        return 100 * (found if as_error else 1 - found)


@dataclass(frozen=True)
class HardHit:
    """Whether hard classes are hurt more: the rank correlation over classes of hardness with the rise of an error, in [-1, 1].

    For rows that hold differences: before is the training that is subtracted, and its clean error is how hard a class is,
    since all images may be wrong under attack before. Ranks of hardness and of the rise come from different halves of the
    images, as of the same images their noise would draw the correlation down; see :func:`classwise.metrics.hurt_more`.
    Above 0: classes with a larger clean error before have the larger rise.

    Args:
        of: Whose rise: of the clean or of the robust error.
        attacks: As for :class:`Audited`.
        threat: As for :class:`Audited`.
    """

    of: Literal["clean", "robust"]
    attacks: str = "standard"
    threat: ThreatModel = USUAL

    unit: ClassVar[str] = "1"

    def value(self, before: AuditResult, after: AuditResult) -> float:
        """The correlation; nan where all classes are equally hard, or have the same rise.

        Args:
            before: Audit of the training that is subtracted.
            after: Audit of the other one, on the same images.
        """
        one, other = before.outcomes, after.outcomes
        assert np.array_equal(one.index, other.index), "the audits are of different images"
        assert np.array_equal(one.group, other.group), "the audits are of different classes"
        was, now = (each.clean_correct if self.of == "clean" else each.robust_correct(0) for each in (one, other))
        rng = np.random.default_rng(0)
        return hurt_more(was, now, one.group, rng, resamples=0, hardness=one.clean_correct).correlation.value


@dataclass(frozen=True)
class Certified:
    """A figure of the accuracy certified at an l_2 radius by randomised smoothing, class by class, in per cent.

    Args:
        figure: As for :class:`Audited`.
        error: Whether what is not certified (100 - accuracy) is meant.
        group: Number of the class, for the figure "class".
        radius: The radius, in units of the pixel range; 0: the label is the certified class at any radius.
        sigma: Standard deviation of the noise, as in training.
    """

    figure: Figure = "average"
    error: bool = False
    group: int = 0
    radius: float = field(kw_only=True)
    sigma: float = field(kw_only=True)

    unit: ClassVar[str] = "%"

    def value(self, result: CertifyResult) -> float:
        """The figure; nan for a class that the data do not have."""
        table = result.certified(self.radius)
        found = figure_of(1 - table.robust, table.n, self.figure, self.group)
        return 100 * (found if self.error or self.figure == "deviation" else 1 - found)


Course = Followed | Violation | Jump
"""Measures that have a curve over epochs."""
Measure = Audited | HardHit | Certified | Followed | Violation | Jump | Fall | Timed
