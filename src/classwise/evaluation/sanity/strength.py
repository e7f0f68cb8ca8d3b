"""Do stronger attacks break more? Pure comparisons of which images withstood which attack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classwise.attacks.base import Attack
from classwise.attacks.square import Square
from classwise.evaluation.check import Check
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.sanity.sign_test import CERTAIN, DOUBTFUL, chance
from classwise.evaluation.sanity.verdicts import found
from classwise.threat import ThreatModel

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

SOME, MUCH = 0.01, 0.05
"""Shares of all images that a black-box attack breaks on its own: above the first the other attacks are incomplete,
above the second they fail. After the gradient attacks of AutoAttack it usually breaks none, rarely 0.3 %."""
FEWEST = 3
"""Images on which such a statement rests at least."""


def more_steps(few: Bools, many: Bools, names: tuple[str, str]) -> Check:
    """Whether an attack with more steps breaks at least as much.

    Args:
        few: (N,) which images withstood the attack with few steps.
        many: (N,) which withstood the one with more.
        names: Of the two attacks.
    """
    only_few, only_many = int((~few & many).sum()), int((few & ~many).sum())
    p = chance(only_few, only_many)
    figures = f"{int(few.sum())} of {len(few)} images withstand {names[0]} and {int(many.sum())} withstand {names[1]}"
    if only_few <= only_many or p >= DOUBTFUL:
        return found("more-steps", "pass", f"{figures}.")
    return found(
        "more-steps",
        "fail" if p < CERTAIN else "warn",
        f"{figures}, although that has more steps ({only_few} images were broken by the first alone, {only_many} by the "
        f"second alone, p = {p:.1g}): the attack loses its way, so gradients mislead it; look for steps of the "
        "model that gradients do not describe, and trust the smaller figure only as an upper bound.",
    )


def larger_radius(robust: Sequence[Bools], threats: Sequence[ThreatModel], label: Ints | None = None) -> Check:
    """Whether larger radii break more, and the largest one nearly everything.

    Args:
        robust: For each radius (N,) which images withstood.
        threats: The radii, of one norm, in rising order.
        label: (N,) labels, where any image may become the same grey at the last radius. That grey has one prediction, so
            against a perfect attack only images of one label can withstand. None: the last radius is no such radius.
    """
    counts = [int(each.sum()) for each in robust]
    size = len(robust[0])
    radii = f"{threats[0].norm} {_listed([_radius(t) for t in threats])}{_form(threats[0])}"
    figures = f"Of {size} images {_listed(counts)} withstand {radii}"
    steps = [
        (chance(int((~a & b).sum()), int((a & ~b).sum())), small, large)
        for a, b, small, large in zip(robust, robust[1:], threats, threats[1:], strict=False)
        if b.sum() > a.sum()
    ]
    p, small, large = min(steps, key=lambda step: step[0], default=(1.0, threats[0], threats[0]))
    if p < DOUBTFUL:
        return found(
            "larger-radius",
            "fail" if p < CERTAIN else "warn",
            f"{figures}: at {_radius(large)} more withstand than at {_radius(small)} (p = {p:.1g}), which no model can do, so "
            "the attack fails where it should have it easier; its robust accuracy is too high at every radius, and "
            "another attack is needed.",
        )
    if label is None:
        return found("larger-radius", "pass", f"{figures}.")
    grey = f"{figures}; at the last radius every image can be turned into the same grey"
    left = np.bincount(label[robust[-1]], minlength=1)
    missed = int(left.sum() - left.max())
    if missed < FEWEST or missed <= SOME * size:
        return found("larger-radius", "pass", f"{grey}.")
    return found(
        "larger-radius",
        "fail" if missed > MUCH * size else "warn",
        f"{grey}, so that images of one class at most can withstand: the attack provably misses {missed} images there, and "
        "probably others at smaller radii; read the robust accuracy as an upper bound, and attack with other losses and "
        "black-box attacks.",
    )


def black_box(white: Bools, black: Bools, names: tuple[str, str]) -> Check:
    """Whether an attack without gradients breaks what attacks with gradients do not.

    Args:
        white: (N,) which images withstood the attacks with gradients.
        black: (N,) which withstood the attack without.
        names: Of the two.
    """
    alone, behind = int((white & ~black).sum()), int((~white & black).sum())
    size = len(white)
    figures = (
        f"Of {size} images {int(white.sum())} withstand {names[0]} and {int(black.sum())} withstand {names[1]}, which "
        f"asks for no gradients; {alone} are broken by it alone"
    )
    beaten = int(black.sum()) < int(white.sum()) and chance(alone, behind) < CERTAIN
    return _black_box(figures, alone, size, beaten)


def black_box_in_suite(outcomes: Outcomes, attacks: Sequence[Attack]) -> Check | None:
    """The same from an audit in which an attack without gradients came last; None where none did.

    Only survivors of the attacks before it were attacked, so what it broke, it broke alone.
    """
    blind = [number for number, attack in enumerate(attacks) if isinstance(attack, Square)]
    if not blind or blind[0] == 0:
        return None
    size = outcomes.broken_by.shape[1]
    alone = int(np.isin(outcomes.broken_by, blind).sum(1).max(initial=0))
    figures = (
        f"Square, which asks for no gradients, alone broke {alone} of {size} images after the attacks with gradients "
        "were done"
    )
    return _black_box(figures, alone, size, False)


def radii_in_audit(outcomes: Outcomes, threats: Sequence[ThreatModel]) -> Check | None:
    """:func:`larger_radius` for the radii of an audit; None where no norm has two."""
    for shape in dict.fromkeys(_shape(threat) for threat in threats):
        chosen = sorted((t.radius, i) for i, t in enumerate(threats) if _shape(t) == shape)
        if len(chosen) > 1:
            return larger_radius([outcomes.robust_correct(i) for _, i in chosen], [threats[i] for _, i in chosen])
    return None


def _black_box(figures: str, alone: int, size: int, beaten: bool) -> Check:
    share = alone / max(size, 1)
    if not beaten and (alone < FEWEST or share <= SOME):
        return found("black-box", "pass", f"{figures}.")
    failed = beaten or share > MUCH
    return found(
        "black-box",
        "fail" if failed else "warn",
        f"{figures} ({100 * share:.1f} %): gradients know more than answers alone and should not lose, so "
        + ("the model hides its gradients" if failed else "the attacks with gradients are incomplete")
        + "; read the robust accuracy as an upper bound, and attack with more steps, other losses and black-box attacks.",
    )


def _shape(threat: ThreatModel) -> tuple[object, ...]:
    """What balls have in common of which the larger contains the smaller."""
    return threat.norm, threat.channels, threat.box


def _radius(threat: ThreatModel) -> str:
    text = str(threat.radius)
    return text if len(text) <= 7 else f"{float(threat.radius):.3g}"


def _form(threat: ThreatModel) -> str:
    """What its name says beyond norm and radius: factors of channels, and whether there is a box; mostly empty."""
    return str(threat).removeprefix(f"{threat.norm} {threat.radius}")


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)
