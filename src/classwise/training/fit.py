"""Which components fit together: rules that are looked at when a configuration is built."""

from __future__ import annotations

from collections.abc import Collection

from classwise.attacks import Attack
from classwise.averaging import Averaging
from classwise.mixing import Mixing
from classwise.objectives import Objective
from classwise.policies import KNOBS, ClassPolicy, Combined
from classwise.policies.base import REDUCERS
from classwise.training.observe import check_names, measured, uncomputed

_HEEDING = {
    "robust": "an objective with a robust term, such as trades",
    "temperature": "the objective robust-distillation",
    "robust_temperature": "the objective robust-distillation",
    "radius": "an objective that is attacked, such as pgd-at",
    "steps": "the attack pgd",
    "step": "the attack pgd",
}
"""What heeds a knob."""


def check_fit(
    objective: Objective, adversary: Attack, policy: ClassPolicy, mixing: Mixing, averaging: Averaging
) -> None:
    """Refuse choices on the axes that make no sense together.

    Raises:
        ValueError: Two of them do not fit; the message names both and says why.
    """
    check_names(averaging.needs)
    if measured(averaging.needs, "train") or measured(averaging.needs, "batch"):
        raise ValueError(
            f"averaging {averaging.registered_name!r} looks at training statistics: an average may look at validation "
            "statistics only, so let its needs begin with validation_"
        )
    for member in _members(policy):
        check_names(member.observes())
        missing = uncomputed(member.observes(), objective.computes, objective.term_names)
        if missing:
            raise ValueError(
                f"policy {member.registered_name!r} observes {missing[0]!r}, which objective "
                f"{objective.registered_name!r} does not compute: use another objective or policy"
            )
        check_heeded(member.steered(), member, objective, adversary)
        if member.reduction() not in (None, *REDUCERS):
            raise ValueError(
                f"policy {member.registered_name!r} asks for the reducer {member.reduction()!r}: known are {', '.join(REDUCERS)}"
            )
        _refuse(f"policy {member.registered_name!r}", member.refusal(objective), objective)
        if "step" in member.steered() and getattr(adversary, "step_from", "threat") != "threat":
            raise ValueError(
                f"policy {member.registered_name!r} scales the attack's step by itself, and attack "
                f"{adversary.registered_name!r} takes it from the radius as well: leave step_from at 'threat'"
            )
    _refuse(f"mixing {mixing.registered_name!r}", mixing.refusal(objective.attacked), objective)


def check_heeded(knobs: Collection[str], policy: ClassPolicy, objective: Objective, adversary: Attack) -> None:
    """Refuse class knobs that nothing would heed.

    Raises:
        ValueError: There is one.
    """
    heeded = {"weight", *objective.term_names, *objective.heeds} | (adversary.heeds if objective.attacked else set())
    idle = sorted(name for name in knobs if name not in heeded)
    if not idle:
        return
    names = f"objective {objective.registered_name!r}", f"attack {adversary.registered_name!r}"
    nobody = (
        f"which neither {names[0]} nor {names[1]} heeds"
        if objective.attacked
        else f"which {names[0]} does not heed, and it runs no attack"
    )
    raise ValueError(
        f"policy {policy.registered_name!r} sets the {KNOBS.get(idle[0], idle[0])}, {nobody}: "
        f"use {_HEEDING.get(idle[0], 'others')}, or another policy"
    )


def _members(policy: ClassPolicy) -> list[ClassPolicy]:
    """The policies that a combined one consists of, or the policy itself."""
    if not isinstance(policy, Combined):
        return [policy]
    return [each for member in policy.members for each in _members(member)]


def _refuse(what: str, reason: str, objective: Objective) -> None:
    if reason:
        raise ValueError(f"{what} makes no sense with objective {objective.registered_name!r}: {reason}")
