"""Class weights that follow the robust error on training images (Agarwal et al., FRL's baseline)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.policies.base import ClassPolicy, State, Stats, mean_one
from classwise.registry import register


@register("policy", "error-reweight", "baseline-reweight")
@config
class ErrorReweight(ClassPolicy):
    """Raise the weight of the classes with the highest robust error on the training images of the last epoch.

    "best-response" gives the worst class (all of them, where several are equally bad) 1 + boost times the weight of the
    others. "exponentiated-gradient" accumulates theta_c += rate (error_c - mean error - slack) and weighs class c of K by
    1 + K lambda_c - sum lambda with lambda = cap exp(theta) / (1 + sum exp(theta)). Weights have mean 1, and a batch's
    loss is divided by their sum.

    Source: the baseline of Xu et al. 2021 (FRL), section 5.1, one sentence: the cost of the class with the highest robust
    error on training data is raised ("best-response"; by how much is not said); the reductions of Agarwal et al. 2018,
    algorithm 1 ("exponentiated-gradient"). There is no published code.
    Departures: everything beyond that sentence is a reading of it. A class without samples keeps its value.
    Observes: the logits of the training step it has anyway.
    Costs: nothing.
    """

    rule: Literal["exponentiated-gradient", "best-response"] = "exponentiated-gradient"
    """How weights follow errors."""
    boost: float = 1.0
    """kappa: extra weight of the worst class relative to that of the others, at least 0; for "best-response"."""
    rate: float = 0.05
    """eta: change of theta per unit of error and epoch, at least 0; for "exponentiated-gradient"."""
    cap: float = 0.5
    """L_max: bound on the sum of lambda, in [0, 1]; for "exponentiated-gradient"."""
    slack: float = 0.0
    """tau: how far an error may exceed the mean before theta grows, a fraction in [0, 1]; likewise."""

    needs = ("train_error", "train_count")
    steers = ("weight",)
    reducer = "weight-sum"

    def check(self) -> None:
        """Refuse values out of range."""
        if not all(0 <= each < math.inf for each in (self.boost, self.rate)):
            raise ValueError(f"boost {self.boost} and rate {self.rate} must be at least 0: 1 and 0.05 are usual")
        if not all(0 <= each <= 1 for each in (self.cap, self.slack)):
            raise ValueError(f"cap {self.cap} and slack {self.slack} must lie in [0, 1]: 0.5 and 0 are usual")

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {self._value: torch.zeros(groups, dtype=torch.float64)}

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        seen, last = stats["train_count"] > 0, state[self._value]
        new = error = torch.where(seen, stats["train_error"], 0)
        if self.rule == "exponentiated-gradient":
            mean = error.sum() / seen.sum().clamp_min(1)
            new = last + self.rate * (error - mean - self.slack)
        return {self._value: torch.where(seen, new, last)}

    def knobs(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        value = state[self._value]
        if self.rule == "best-response":
            return {"weight": mean_one(1 + self.boost * (value == value.amax()).to(value))}
        share = torch.cat([value, value.new_zeros(1)]).softmax(0)[:-1]
        return {"weight": 1 + self.cap * (len(share) * share - share.sum())}

    def notes(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`. The errors last seen, or theta."""
        return dict(state)

    @property
    def _value(self) -> str:
        """What the state holds of each class (G,): its robust error as last seen, or theta."""
        return "robust_error" if self.rule == "best-response" else "theta"
