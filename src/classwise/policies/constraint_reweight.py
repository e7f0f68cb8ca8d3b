"""Class weights that grow while a class's error exceeds the average by more than a slack (FRL, reweight)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats, mean_one
from classwise.policies.violations import OBSERVED, Average, check_decay, class_errors, decayed, violations
from classwise.registry import register

_ROUNDING = 1e-9
"""A violation so small is rounding: the constraint holds with equality."""


@register("policy", "constraint-reweight", "frl-reweight")
@config
class ConstraintReweight(ClassPolicy):
    """Raise the weight of a class while its error exceeds the average error by more than a slack.

    Every class has two constraints, one on its clean error (weight of the loss on the label) and one on its boundary
    error, the share that is correct without attack and wrong under it (weight of the robust term). Each has a
    multiplier phi, which moves by rate x violation before every training epoch, the first included. The weight of class
    c of K is 1 + K phi_c - sum phi: mean 1, and at least 1 - cap. Made for a robust start and for an objective with a
    robust term; with a rate of 0 the weights of its term stay 1 and the term may be missing.

    Source: Xu et al. 2021 (FRL), eq. 6-10 and algorithm 1; code hannxu123/fair_robust a80547d. As the code: update
    "projected", cap 0.5, rate_boundary twice rate_clean (0.1 and 0.05), rate_decay 0.5 in decay_epochs 39, 79, 119. As
    algorithm 1 of the paper: update "free", cap 0, normalise "mean". As arXiv v1: the same with relative=False. Weights
    of FRL (Remargin): rate_boundary 0, beside ``constraint-remargin`` (the code's old file: cap 0.3, "joint-weight-sum").
    Departures: the defaults join the paper's rates to the code's projection, without which a weight may fall below 0
    and would raise the loss of a class: with cap 0 such a weight is 0 and the others are scaled back to mean 1. Class
    priors are taken as equal, as in the code. A class without validation samples does not move.
    Observes: validation accuracy, clean and under the validation attack (published: PGD-20, 300 images a class).
    Costs: one validation pass before the first epoch; those after each epoch are there anyway.
    """

    slack_clean: float = 0.05
    """tau_1: how far the clean error of a class may exceed the average, a fraction in [0, 1]."""
    slack_boundary: float = 0.05
    """tau_2: the same of the boundary error, a fraction in [0, 1]."""
    rate_clean: float = 0.05
    """alpha_1: change of a multiplier per unit of violation of the clean error, at least 0; 0: these weights stay 1."""
    rate_boundary: float = 0.05
    """alpha_2: the same for the boundary error."""
    cap: float = 0.5
    """Largest sum of the multipliers of one kind, in [0, 1]; above it they are scaled down. 0: no cap."""
    update: Literal["projected", "free", "growing"] = "projected"
    """What the multipliers may do: stay at 0 or above (the saddle point of eq. 10), take any value (algorithm 1 as it is
    printed), or never shrink (the gradient of eq. 9, where violations below 0 count as 0)."""
    relative: bool = True
    """Whether violations that move the multipliers are relative to the average error; false: error minus slack, as
    algorithm 1 of arXiv v1 prints it. What is noted and what stops training is relative either way."""
    average: Average = "samples"
    """What the average error is taken over: "samples", or "classes" of equal say; the same on a balanced split."""
    normalise: Literal["weight-sum", "joint-weight-sum", "mean"] = "weight-sum"
    """Divisor of a batch's loss: each term by the sum of its weights (code), both by the sum of all weights (the code's old
    remargin file), or the number of samples (paper)."""
    rate_decay: float = 0.1
    """Factor of both rates at each of the epochs below, in [0, 1]."""
    decay_epochs: tuple[int, ...] = (40, 80)
    """Training epochs (counted from 0) from whose own update on the rates are lower; paper: every 40."""
    stop: bool = False
    """Whether training ends with the epoch after which every constraint of both kinds holds, as algorithm 1 does."""

    needs = OBSERVED

    def check(self) -> None:
        """Refuse values out of range, and rates that never move anything."""
        if not all(0 <= slack <= 1 for slack in (self.slack_clean, self.slack_boundary)):
            raise ValueError(
                f"slack_clean {self.slack_clean} and slack_boundary {self.slack_boundary} must lie in [0, 1]: 0.05 is usual"
            )
        rates = (self.rate_clean, self.rate_boundary)
        if not all(0 <= rate < math.inf for rate in rates) or not any(rates):
            raise ValueError(
                f"rate_clean {self.rate_clean} and rate_boundary {self.rate_boundary} must be at least 0, and one of them "
                "above 0: 0.05 is usual"
            )
        if not 0 <= self.cap <= 1:
            raise ValueError(f"cap {self.cap} must lie in [0, 1], where weights cannot fall below 0: 0 is for no cap")
        if self.cap and self.update == "free":
            raise ValueError(f"cap {self.cap} is for multipliers of at least 0: set cap 0, or another update")
        check_decay(self.rate_decay, self.decay_epochs)

    def steered(self) -> frozenset[str]:
        """See :class:`ClassPolicy`."""
        rates = {"label": self.rate_clean, "robust": self.rate_boundary}
        return frozenset(name for name, rate in rates.items() if rate)

    def reduction(self) -> str:
        """See :class:`ClassPolicy`."""
        return self.normalise

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`. Violations are not known yet: infinite, so that nothing counts as reached."""
        zero, unknown = (torch.full((groups,), value, dtype=torch.float64) for value in (0.0, torch.inf))
        return {
            "clean_multiplier": zero,
            "boundary_multiplier": zero,
            "clean_violation": unknown,
            "boundary_violation": unknown,
        }

    def on_start(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`. The method evaluates before it trains."""
        return self._moved(state, stats)

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        return self._moved(state, stats)

    def knobs(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        weights = {"label": state["clean_multiplier"], "robust": state["boundary_multiplier"]}
        return {name: _weights(weights[name]) for name in self.steered()}

    def notes(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`. Multipliers of the epoch to come, and the violations they were moved by."""
        return dict(state)

    def finished(self, state: State) -> bool:
        """See :class:`ClassPolicy`. Whether every constraint holds, where training shall stop then."""
        worst = torch.maximum(state["clean_violation"], state["boundary_violation"]).amax()
        return self.stop and float(worst) <= _ROUNDING

    def _moved(self, state: State, stats: Stats) -> State:
        count, moved = stats["validation_count"], {}
        clean, boundary = class_errors(stats)
        for name, errors, slack, rate in (
            ("clean", clean, self.slack_clean, self.rate_clean),
            ("boundary", boundary, self.slack_boundary, self.rate_boundary),
        ):
            force = violations(errors, count, slack, self.average, self.relative)
            step = decayed(rate, self.rate_decay, self.decay_epochs, stats)
            moved[f"{name}_multiplier"] = self._projected(state[f"{name}_multiplier"], step, force)
            moved[f"{name}_violation"] = violations(errors, count, slack, self.average)
        return moved

    def _projected(self, multipliers: Tensor, step: float, force: Tensor) -> Tensor:
        """Multipliers (G,) after a step."""
        if self.update == "free":
            return multipliers + step * force
        force = force.clamp_min(0) if self.update == "growing" else force
        moved = (multipliers + step * force).clamp_min(0)
        total = float(moved.sum())
        return moved * (self.cap / total) if 0 < self.cap < total else moved


def _weights(multipliers: Tensor) -> Tensor:
    """Class weights (G,), mean 1, at least 0."""
    return mean_one((1 + len(multipliers) * multipliers - multipliers.sum()).clamp_min(0))
