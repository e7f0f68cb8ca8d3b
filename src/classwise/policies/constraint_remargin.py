"""A radius that grows while a class's boundary error exceeds the average by more than a slack (FRL, remargin)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.policies.violations import OBSERVED, Average, check_decay, class_errors, decayed, violations
from classwise.registry import register


@register("policy", "constraint-remargin", "frl-remargin")
@config
class ConstraintRemargin(ClassPolicy):
    """Enlarge the radius of a class while its boundary error exceeds the average by more than a slack.

    Before every training epoch, the first included, the radius of each class is multiplied by exp(rate x violation) and
    kept within [low, high] times the threat's. Training against a larger radius lowers the boundary error (the share
    that is correct without attack and wrong under it) at the radius that counts, which weights alone hardly do.

    Source: Xu et al. 2021 (FRL), eq. 11 and section 5.2; code hannxu123/fair_robust a80547d. FRL (Remargin) and FRL
    (Reweight+Remargin) are this beside ``constraint-reweight`` in a ``combined`` policy. As the code: rate 0.4 (its rate
    0.2 and a factor 2 in the exponent), low 0.98, high 3.0, windup, no decay; rate 0.2 and high 2.5 in its old file
    without reweighting of boundary errors. As eq. 11: relative=False, low 0. As arXiv v1: that, and high infinite.
    Departures: eq. 11 does not subtract the average, so nearly every class would grow all the time; the text and the
    code do, and so do the defaults. The limit is a multiple of the radius; the paper's 16/255 is 2 times its 8/255. A
    class without validation samples keeps its radius.
    Observes: validation accuracy, clean and under the validation attack, at the threat's own radius.
    Costs: one validation pass before the first epoch; those after each epoch are there anyway.
    """

    slack_boundary: float = 0.05
    """tau_2: how far the boundary error of a class may exceed the average, a fraction in [0, 1]."""
    rate: float = 0.05
    """Change of the logarithm of a radius per unit of violation, the whole coefficient, above 0."""
    low: float = 1.0
    """Smallest multiplier of the radius, in [0, 1]; 1: no class is trained against less than the threat."""
    high: float = 2.0
    """Largest multiplier of the radius, at least 1; may be infinite."""
    relative: bool = True
    """Whether violations that move the radius are relative to the average error; false: error minus slack (eq. 11). What
    is noted is relative either way."""
    windup: bool = False
    """Whether what is accumulated may run beyond the limits, so that a radius leaves a limit only once that is worked off
    (code); false: it stays within them."""
    average: Average = "samples"
    """What the average error is taken over: "samples", or "classes" of equal say; the same on a balanced split."""
    rate_decay: float = 0.1
    """Factor of the rate at each of the epochs below, in [0, 1]."""
    decay_epochs: tuple[int, ...] = (40, 80)
    """Training epochs (counted from 0) from whose own update on the rate is lower; paper: every 40, code: none."""

    needs = OBSERVED
    steers = ("radius",)

    def check(self) -> None:
        """Refuse values out of range."""
        if not 0 <= self.slack_boundary <= 1 or not 0 < self.rate < math.inf:
            raise ValueError(
                f"slack_boundary {self.slack_boundary} must lie in [0, 1] and rate {self.rate} be above 0: 0.05 is usual"
            )
        if not 0 <= self.low <= 1 <= self.high:
            raise ValueError(f"low {self.low} must lie in [0, 1] and high {self.high} be at least 1: 1 and 2 are usual")
        check_decay(self.rate_decay, self.decay_epochs)

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`. Violations are not known yet: infinite."""
        zero, unknown = (torch.full((groups,), value, dtype=torch.float64) for value in (0.0, torch.inf))
        return {"log_radius": zero, "boundary_violation": unknown}

    def on_start(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`. The method evaluates before it trains."""
        return self._moved(state, stats)

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        return self._moved(state, stats)

    def knobs(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        return {"radius": state["log_radius"].exp().clamp(self.low, self.high)}

    def notes(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`. What the next radius comes from, and the violation it was moved by."""
        return dict(state)

    def _moved(self, state: State, stats: Stats) -> State:
        _, boundary = class_errors(stats)
        count, slack = stats["validation_count"], self.slack_boundary
        force = violations(boundary, count, slack, self.average, self.relative)
        moved = state["log_radius"] + decayed(self.rate, self.rate_decay, self.decay_epochs, stats) * force
        if not self.windup:
            moved = moved.clamp(math.log(self.low) if self.low else -math.inf, math.log(self.high))
        return {"log_radius": moved, "boundary_violation": violations(boundary, count, slack, self.average)}
