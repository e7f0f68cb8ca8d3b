"""An explanation of a run for a terminal. Experimental, and every text says so."""

from __future__ import annotations

from typing import Any

import numpy as np

from classwise.report.phrasing import limits, percent, points
from classwise.report.tables import Block, text
from classwise.theory.explanation import FEW, MANY, PARTLY, WELL, Compared, Explanation, Word
from classwise.theory.features import Floats

SAID: dict[Word, str] = {"well": "fits well", "in part": "fits in part only", "badly": "DOES NOT FIT"}
RULE: dict[Word, str] = {
    "well": f"well: at least {percent(WELL)} % inside and at most {percent(FEW)} % departing",
    "in part": f"well would be at least {percent(WELL)} % inside and at most {percent(FEW)} % departing",
    "badly": f"fewer than {percent(PARTLY)} % inside or more than {percent(MANY)} % departing is no fit",
}


def lines(explanation: Explanation) -> list[str]:
    """Tables of measured and predicted errors, what follows from them, and how well the model fits."""
    found = explanation
    fitted = (
        f"Fitted: {found.dimensions} features of {found.images} test images, each half of a class predicted from the other; "
        f"{found.samples} Monte Carlo points for each class and half, seed {found.seed}."
    )
    blocks: list[Block] = [
        f"EXPERIMENTAL: a Gaussian model of the penultimate features of {found.model}",
        f"Measured: {found.held}; audit {found.audit or 'not saved'}.",
        fitted,
        "Test images only explain here: nothing is trained or chosen by them.",
    ]
    conditions = (("clean", "without attack", found.clean), ("robust", f"under attack, {found.threat}", found.robust))
    for name, described, compared in conditions:
        more = [("Gaussian of the attacked features:", found.fitted.attacked)] if name == "robust" else []
        blocks += [f"\nErrors {described}", _rows(compared), _summary(compared, more)]
        blocks += [_verdict(found, name, compared)]
    return text([*blocks, "\n" + _shape(found), _attack(found)]).splitlines()


def _rows(compared: Compared) -> list[dict[str, Any]]:
    inside = compared.inside(compared.predicted)
    return [
        {
            "class": name,
            "measured %": percent(compared.measured[i]),
            "95 % (Wilson)": limits(compared.low[i], compared.high[i]),
            "predicted %": percent(compared.predicted[i]),
            "difference": points(compared.predicted[i] - compared.measured[i]),
            "largest pair %": percent(compared.largest_pair[i]),
            "isotropic %": percent(compared.isotropic[i]),
            "": "" if inside[i] else "outside",
        }
        for i, name in enumerate(compared.names)
    ]


def _summary(compared: Compared, more: list[tuple[str, Floats]]) -> str:
    figures = [
        ("Gaussian along the directions:", compared.predicted),
        ("Gaussian with one variance a class:", compared.isotropic),
        *more,
    ]
    rows = [
        f"{name:<36}{compared.inside(values).sum()} of {len(values)} classes inside, mean absolute difference "
        f"{percent(compared.mean_difference(values))} points, rank correlation {_correlation(compared, values)}"
        for name, values in figures
    ]
    measured, predicted = (_listed(each) for each in compared.worst)
    return "\n".join([*rows, f"{'Weakest class:':<36}measured {measured}; predicted {predicted}"])


def _correlation(compared: Compared, values: Floats) -> str:
    found = compared.rank_correlation(values)
    return "– (all classes alike)" if np.isnan(found) else f"{found:+.2f}"


def _listed(names: tuple[str, ...]) -> str:
    """Names of classes that share a place; the first three of many."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _verdict(explanation: Explanation, name: str, compared: Compared) -> str:
    inside, classes = int(compared.inside(compared.predicted).sum()), len(compared.names)
    word = explanation.fits(compared)
    settled = (
        f" {compared.settled} classes are all right or all wrong, where agreement says little."
        if compared.settled
        else ""
    )
    return (
        f"The Gaussian model {SAID[word]} for {name} errors: {inside} of {classes} predictions lie inside the interval of the "
        f"measured error, and the features depart from normal along {percent(explanation.departing)} % of the directions "
        f"({RULE[word]}). The intervals are {percent(float((compared.high - compared.low).mean()))} points wide on average: "
        f"smaller faults cannot be seen.{settled}"
    )


def _shape(explanation: Explanation) -> str:
    fitted = explanation.fitted
    others = ~np.eye(len(fitted.mean), dtype=bool)
    moved = np.maximum(fitted.radius, 0)[others] / fitted.length[others]
    spread = fitted.sd[others].mean()
    wider = fitted.attacked_sd[others].mean() / spread if spread > 0 else np.nan
    return (
        f"Shape: along the {others.sum()} directions w_i - w_j the largest difference from the fitted normal distribution function "
        f"has the median {np.nanmedian(explanation.distance):.3f} and the maximum {np.nanmax(explanation.distance):.3f}.\n"
        f"Attack in feature space: it moves a class by {np.median(moved):.3g} along a direction (median) and multiplies the spread "
        f"along it by {wider:.2f} on average. The model moves all images of a class alike (1.00), while an attack drives each "
        "towards the class that is nearest to it; the Gaussian of the attacked features is fitted to what the attack did."
    )


def _attack(explanation: Explanation) -> str:
    return (
        f"The attacked features were made by {explanation.attack}: with it {percent(explanation.attack_broke)} % of all images are "
        f"wrong, {percent(explanation.audit_broke)} % in the audit, which keeps no perturbed images."
    )
