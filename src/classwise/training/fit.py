"""Which components fit together: rules that are looked at when a configuration is built."""

from __future__ import annotations

from collections.abc import Collection

from classwise.attacks import Attack
from classwise.averaging import Averaging
from classwise.mixing import Mixing
from classwise.objectives import Objective
from classwise.policies import KNOBS, ClassPolicy
from classwise.training.observe import check_needs, measured


def check_fit(
    objective: Objective, adversary: Attack, policy: ClassPolicy, mixing: Mixing, averaging: Averaging
) -> None:
    """Refuse choices on the axes that make no sense together.

    Raises:
        ValueError: Two of them do not fit; the message says why.
    """
    needs = policy.observes() | frozenset(averaging.needs)
    check_needs(needs, objective.computes, objective.term_names)
    if measured(averaging.needs, "train") or measured(averaging.needs, "batch"):
        raise ValueError("an average may look at validation statistics only: let its needs begin with validation_")
    check_heeded(policy.steered(), policy, objective, adversary)
    for name, reason in (
        (f"policy {policy.registered_name!r}", policy.refusal(objective)),
        (f"mixing {mixing.registered_name!r}", mixing.refusal(objective.attacked)),
    ):
        if reason:
            raise ValueError(f"{name} makes no sense with objective {objective.registered_name!r}: {reason}")


def check_heeded(knobs: Collection[str], policy: ClassPolicy, objective: Objective, adversary: Attack) -> None:
    """Refuse class knobs that nothing would heed.

    Raises:
        ValueError: There is one.
    """
    heeded = {"weight", *objective.term_names, *objective.heeds} | (adversary.heeds if objective.attacked else set())
    idle = sorted(name for name in knobs if name not in heeded)
    if idle:
        raise ValueError(
            f"policy {policy.registered_name!r} sets the {KNOBS.get(idle[0], idle[0])}, which neither objective "
            f"{objective.registered_name!r} nor attack {adversary.registered_name!r} heeds: choose others, or another policy"
        )
