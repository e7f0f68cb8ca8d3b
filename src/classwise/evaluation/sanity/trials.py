"""Small attacks on a few images of every class, run to see whether attacks behave as attacks must."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from classwise.attacks.apgd import APGD
from classwise.attacks.base import Attack, Classifier
from classwise.attacks.pgd import PGD
from classwise.attacks.square import Square
from classwise.attacks.suite import describe
from classwise.configuration import replace
from classwise.data.dataset import ClassData
from classwise.evaluation.check import Check
from classwise.evaluation.collect import Collected, Evaluator
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.sanity.counted import clean_accuracy
from classwise.evaluation.sanity.look import probe, spread
from classwise.evaluation.sanity.strength import Bools, black_box, larger_radius, more_steps
from classwise.evaluation.sanity.verdicts import not_judged
from classwise.progress import Progress
from classwise.radius import Radius
from classwise.threat import Norm, ThreatModel

FEW_STEPS = PGD(steps=10, stop_when_fooled=True, loss="cross-entropy", start="uniform")
MANY_STEPS = APGD(steps=50)
OTHER_LOSS = APGD(steps=20, loss="targeted-dlr")
BLIND = Square(queries=1000)
"""On six small robust networks at three radii each BLIND broke up to 4 of 100 images that the first two left, and none of
those that OTHER_LOSS left too."""
AT_ONCE = (APGD(steps=20), PGD(steps=20, stop_when_fooled=True, loss="margin", start="uniform"))
"""What is run at larger radii, where a few steps suffice."""
AGAIN = 64
"""Clean images that are classified again."""
MULTIPLES = (2, 4)
"""Larger radii tried, in units of the audit's, as long as they are below the last one."""


@dataclass(frozen=True)
class Trials:
    """Attacks on a few images at the audit's first radius.

    Args:
        model: The classifier.
        data: The few images.
        plan: The audit.
        device: Where the model is.
        progress: Where progress is shown.
    """

    model: Classifier
    data: ClassData
    plan: AuditPlan
    device: torch.device
    progress: Progress | None

    def run(self, *attacks: Attack, threats: tuple[ThreatModel, ...] | None = None) -> Collected:
        """Attack all images by some attacks, whose worst case counts."""
        threats = (self.plan.threats[0],) if threats is None else threats
        plan = self.plan
        evaluator = Evaluator(threats, attacks, plan.seed, plan.batch_size, self.device, plan.precision)
        return evaluator.run(self.model, self.data, self.progress, "sanity")

    def clean_accuracy(self, collected: Collected) -> Check:
        """Whether the model, asked again, answers as was counted."""
        rows = spread(self.data, AGAIN)
        at = probe(self.model, self.data, AGAIN, collected.images_at_once, self.device)
        return clean_accuracy(collected.outcomes, rows, at.logits(at.x), self.data.labels)

    def more_steps(self, few: Bools, many: Bools) -> Check:
        """See :func:`classwise.evaluation.sanity.strength.more_steps`."""
        return more_steps(few, many, (describe([FEW_STEPS]), describe([MANY_STEPS])))

    def black_box(self, white: Bools) -> Check:
        """Run the square attack beside attacks with gradients; what they left unbroken is given."""
        threat = self.plan.threats[0]
        if threat.norm == "l1" or not threat.plain:
            reason = "in l_1" if threat.norm == "l1" else "for radii of channels or without the box"
            return not_judged("black-box", f"there is no black-box attack {reason}")
        black = self.run(BLIND).outcomes.robust_correct(0)
        return black_box(white, black, ("the attacks with gradients", describe([BLIND])))

    def larger_radius(self) -> Check:
        """Run short attacks at multiples of the radius, and where any image may become grey."""
        threats = tuple(larger(self.plan.threats[0], math.prod(self.data.shape)))
        outcomes = self.run(*AT_ONCE, threats=threats).outcomes
        robust = [outcomes.robust_correct(r) for r in range(len(threats))]
        return larger_radius(robust, threats, outcomes.label)


def larger(threat: ThreatModel, values: int) -> Iterator[ThreatModel]:
    """A radius, multiples of it, and last the one at which every image can be turned into the same grey, if that is larger.

    Args:
        threat: Of the audit.
        values: Pixel values of an image.
    """
    grey = to_grey(threat.norm, values) / min(threat.channels, default=1.0)
    yield threat
    for multiple in MULTIPLES:
        if multiple * threat.radius < grey:
            yield replace(threat, radius=Radius(multiple * threat.radius))
    if threat.radius < grey:
        yield replace(threat, radius=Radius(grey))


def to_grey(norm: Norm, values: int) -> float:
    """Greatest distance of an image of so many values in [0, 1] from the one that is 1/2 everywhere."""
    return {"linf": 0.5, "l2": 0.5 * math.sqrt(values), "l1": 0.5 * values}[norm]


def gradient_attacks(attacks: tuple[Attack, ...]) -> tuple[Attack, ...]:
    """Those of an audit's attacks that are not known to work without gradients."""
    return tuple(attack for attack in attacks if not isinstance(attack, Square))
