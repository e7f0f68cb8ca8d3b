"""What a Gaussian model of a classifier's features predicts beside what an audit measured. Experimental."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classwise.theory.feature_fit import Fitted
from classwise.theory.features import Floats

Word = Literal["well", "in part", "badly"]

WELL, PARTLY = 0.8, 0.5
"""Share of the classes whose predicted error must lie inside the interval of the measured one to fit well, or in part."""
FEW, MANY = 0.2, 0.5
"""Share of the directions that may depart from normal for a fit to be good, and above which it is bad."""


@dataclass(frozen=True)
class Compared:
    """Class errors as measured and as predicted, all (K,), fractions.

    Args:
        names: K class names.
        measured: Errors that the audit counted.
        low: Lower limits of their Wilson intervals, 95 %.
        high: Upper limits.
        predicted: By the Gaussian along the directions, through the whole layer.
        isotropic: By the Gaussian with one variance for all coordinates of a class.
        largest_pair: The largest closed-form error against one other class: a lower bound of ``predicted``.
    """

    names: tuple[str, ...]
    measured: Floats
    low: Floats
    high: Floats
    predicted: Floats
    isotropic: Floats
    largest_pair: Floats

    def inside(self, values: Floats) -> NDArray[np.bool_]:
        """(K,) whether predictions lie in the intervals."""
        found: NDArray[np.bool_] = (values >= self.low) & (values <= self.high)
        return found

    def mean_difference(self, values: Floats) -> float:
        """Mean over the classes of the absolute difference from the measured errors."""
        return float(np.abs(values - self.measured).mean())

    def rank_correlation(self, values: Floats) -> float:
        """Spearman's correlation over the classes; nan where all classes are alike."""
        from scipy.stats import spearmanr

        if min(np.ptp(values), np.ptp(self.measured)) == 0:
            return math.nan
        return float(spearmanr(values, self.measured).statistic)

    @property
    def worst(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The classes with the largest measured error, and those with the largest predicted one; several where equal."""
        measured, predicted = (
            tuple(self.names[each] for each in np.flatnonzero(values == values.max()))
            for values in (self.measured, self.predicted)
        )
        return measured, predicted

    @property
    def settled(self) -> int:
        """Number of classes that are measured all right or all wrong, where nearly any model agrees."""
        return int(((self.measured == 0) | (self.measured == 1)).sum())


@dataclass(frozen=True)
class Explanation:
    """What a Gaussian model of the features predicts for a run, beside what was measured. Experimental.

    Args:
        model: The audited checkpoint, in words.
        audit: Name of the audit's folder.
        held: What its figures hold for: images, attacks, precision.
        threat: Threat model of the robust errors.
        attack: What made the attacked features.
        attack_broke: Share of all images that are wrong with these features.
        audit_broke: Share of all images that the audit counted as not robust.
        images: Their number.
        dimensions: Of the features.
        seed: Of the attack's starts and of the Monte Carlo.
        samples: Monte Carlo points for each class and half.
        clean: Errors without attack.
        robust: Errors under attack.
        fitted: Moments and pairs.
        distance: (K, K) largest difference between the distribution of a margin in class i and the fitted normal one; nan
            on the diagonal.
        departs: (K, K) whether it is significant (Lilliefors, 5 %) and noticeable (0.05 or more).
    """

    model: str
    audit: str
    held: str
    threat: str
    attack: str
    attack_broke: float
    audit_broke: float
    images: int
    dimensions: int
    seed: int
    samples: int
    clean: Compared
    robust: Compared
    fitted: Fitted
    distance: Floats
    departs: NDArray[np.bool_]

    @property
    def departing(self) -> float:
        """Share of the directions (ordered pairs of classes) along which the features depart from normal."""
        classes = len(self.departs)
        return float(self.departs.sum() / (classes * (classes - 1)))

    def fits(self, compared: Compared) -> Word:
        """How well the model fits, by a rule of ours.

        "well": the predictions of at least 80 % of the classes lie in the intervals of the measured errors, and at most 20 %
        of the directions depart from normal. "badly": fewer than 50 % do, or more than 50 % depart. Else "in part".
        """
        share = float(compared.inside(compared.predicted).mean())
        if share < PARTLY or self.departing > MANY:
            return "badly"
        return "well" if share >= WELL and self.departing <= FEW else "in part"


def as_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation in plain values; nan becomes None."""
    summary = {
        name: {
            "fits": explanation.fits(compared),
            "inside": compared.inside(compared.predicted).tolist(),
            "mean_difference": compared.mean_difference(compared.predicted),
            "rank_correlation": compared.rank_correlation(compared.predicted),
            "isotropic_mean_difference": compared.mean_difference(compared.isotropic),
            "isotropic_rank_correlation": compared.rank_correlation(compared.isotropic),
            "worst_measured": list(compared.worst[0]),
            "worst_predicted": list(compared.worst[1]),
        }
        for name, compared in (("clean", explanation.clean), ("robust", explanation.robust))
    }
    made: dict[str, Any] = _plain(asdict(explanation))
    return {"experimental": True, **made, "departing": explanation.departing, "summary": _plain(summary)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
