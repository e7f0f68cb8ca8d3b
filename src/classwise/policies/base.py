"""Class policies: small state machines that turn class statistics into class knobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from classwise.configuration import Component, config
from classwise.objectives.base import Objective

State = dict[str, Tensor]
Stats = Mapping[str, Tensor]

KNOBS = {
    "radius": "multiplier of the threat's radius",
    "step": "multiplier of the attack's step size",
    "weight": "multiplier of every term of the loss",
    "label": "multiplier of the loss on the label",
    "robust": "multiplier of the robust term",
    "steps": "multiplier of the number of attack steps, at most 1",
    "temperature": "multiplier of the teacher's temperature for clean images",
    "robust_temperature": "multiplier of the teacher's temperature for perturbed images",
}
"""Class knobs, one value per group, all neutral at 1."""


REDUCERS = ("mean", "weight-sum", "joint-weight-sum")
"""Divisors of a batch's loss: its samples, of each term the sum of its weights, or of all terms the sum of all weights."""


@config
class ClassPolicy(Component):
    """Base class of policies: pure functions of vectors with one entry per group.

    A policy never sees samples. It names in ``needs`` what the loop shall measure, and only that is measured:
    ``<when>_<measure>`` with when = "train" (mean over the last epoch's training batches), "batch" (mean over the
    current batch, in ``on_batch``) or "validation" (of the raw weights, after each epoch), and measure as listed in
    ``classwise.training.observe.MEASURES``, or "count". ``stats["epoch"]`` is always there: the epoch just finished.
    What a policy computes of them, such as violations of its constraints, it may show in the history by ``notes``.

    State is a dictionary of tensors; it is saved and restored with the run. Permuting the groups permutes the knobs.
    """

    kind: ClassVar[str] = "policy"
    needs: ClassVar[Collection[str]] = ()
    """Statistics the policy observes."""
    reducer: ClassVar[str | None] = None
    """How weighted terms become one number, one of ``REDUCERS``; None: the policy does not care."""
    steers: ClassVar[Collection[str]] = ()
    """Knobs it may set, so that a choice in which nothing heeds them is refused when it is configured; others are looked
    at when they are set."""
    single: ClassVar[bool] = False
    """Whether two of its kind in a combination make no sense, since their multipliers would not be what either means."""
    label_groups: ClassVar[bool] = False
    """Whether it makes sense only where the groups are the labels."""

    def observes(self) -> frozenset[str]:
        """What is measured for this policy; override where it depends on a field."""
        return frozenset(self.needs)

    def steered(self) -> frozenset[str]:
        """Knobs it may set; override where that depends on a field."""
        return frozenset(self.steers)

    def wants_labels(self) -> bool:
        """Whether groups must be the labels; see ``label_groups``."""
        return self.label_groups

    def refusal(self, objective: Objective) -> str:
        """Why this makes no sense with an objective, beyond what ``needs`` and ``steers`` tell; empty: it does."""
        return ""

    def looks_first(self) -> bool:
        """Whether it wants its validation statistics before the first epoch too: where ``on_start`` is written."""
        return type(self).on_start is not ClassPolicy.on_start

    def reduction(self) -> str | None:
        """The reducer asked for; see ``reducer``."""
        return self.reducer

    def init(self, groups: int) -> State:
        """State before anything is measured."""
        return {}

    def on_start(self, state: State, stats: Stats) -> State:
        """State before the first epoch; ``stats`` holds the validation statistics asked for, epoch = -1."""
        return state

    def on_epoch(self, state: State, stats: Stats) -> State:
        """State after an epoch."""
        return state

    def on_batch(self, state: State, stats: Stats) -> tuple[Tensor | None, State]:
        """Batch weights (G,), neutral at 1, as constants; None: all ones."""
        return None, state

    def knobs(self, state: State) -> dict[str, Tensor]:
        """Knobs (G,) by name; those not named are 1. Default: the entries of the state that are named like knobs."""
        return {name: state[name] for name in KNOBS if name in state}

    def notes(self, state: State) -> dict[str, Tensor]:
        """Vectors (G,) that the history keeps beside the knobs, such as the violation of each class's constraint."""
        return {}

    def finished(self, state: State) -> bool:
        """Whether training may stop, since the policy has reached what it is for."""
        return False


def mean_one(values: Tensor) -> Tensor:
    """Scale positive class values (G,) so that their mean is 1."""
    return values / values.mean()


def all_knobs(policy: ClassPolicy, state: State, groups: int, device: torch.device) -> dict[str, Tensor]:
    """Every knob (G,), float32 on a device, ones where the policy sets none.

    Raises:
        ValueError: The policy sets a knob that does not exist, or one of the wrong shape or with values that are no
            finite non-negative numbers.
    """
    chosen = policy.knobs(state)
    name = policy.registered_name
    for key, value in chosen.items():
        if key not in KNOBS:
            raise ValueError(f"policy {name!r} sets an unknown knob {key!r}: known are {', '.join(KNOBS)}")
        if value.shape != (groups,):
            raise ValueError(
                f"policy {name!r} sets {key} with shape {tuple(value.shape)}: one value per group, ({groups},)"
            )
        if not bool((value.isfinite() & (value >= 0)).all()):
            raise ValueError(f"policy {name!r} sets {key} to {value.tolist()}: finite values of at least 0 are needed")
    if "steps" in chosen and bool((chosen["steps"] > 1).any()):
        raise ValueError(
            f"policy {name!r} sets steps to {chosen['steps'].tolist()}: an attack makes fewer steps, not more"
        )
    ones = torch.ones(groups, device=device)
    return {key: chosen[key].to(ones) if key in chosen else ones for key in KNOBS}
