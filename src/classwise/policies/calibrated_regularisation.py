"""Stronger regularisation for classes that can bear it (CFA's customised class-wise regularisation, CCR)."""

from __future__ import annotations

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.objectives.base import Objective
from classwise.policies.base import ClassPolicy, State, Stats
from classwise.policies.calibration import Counts, calibrated, check_calibration
from classwise.registry import register


@register("policy", "calibrated-regularisation", "ccr")
@config
class CalibratedRegularisation(ClassPolicy):
    """A coefficient beta of each class: beta_c = (offset + its robust accuracy of the last epoch) times beta.

    The loss of a sample becomes (CE + beta_c KL) / (1 + beta_c), so that a hard class leans towards its clean images
    and an easy one towards agreement under attack, at equal total weight. It acts by two multipliers, of the label
    term (1 + beta) / (1 + beta_c) and of the robust term beta_c / beta times that; both are 1 where offset + accuracy
    is 1. On ``trades`` with ``divided: true`` this is the loss of the paper; undivided it is 1 + beta times as large,
    and neutral at plain TRADES.

    Source: Wei et al. 2023 (CFA), section 4.2, eq. 7 and 8; code PKU-ML/CFA 071f333. The paper takes offset
    0.5 from the second epoch on (begin 1), its code from begin 10 on.
    Departures: accuracy over true class counts (the code divides by N/K: ``counts``); a class without samples in an
    epoch keeps its multipliers. Algorithm 1 prints beta_c as a multiple of the radius; eq. 7 is taken, as in the code.
    Observes: robust accuracy in training, from the logits of the step.
    Costs: nothing.
    """

    offset: float = 0.5
    """lambda_2, added to the accuracy, dimensionless, at least 0."""
    begin: int = 10
    """First epoch (counted from 0) with class-wise coefficients; the first accuracies are noise."""
    beta: float = 6.0
    """The objective's own coefficient, dimensionless, above 0."""
    counts: Counts = "true"
    """What a class's correct samples are divided by: its own samples, or N/K as in the published code ("balanced")."""

    needs = ("train_robust", "train_count")
    steers = ("label", "robust")
    single = True
    reducer = "mean"  # a divisor made of weights would take 1 / (1 + beta_c) away again

    def check(self) -> None:
        """Refuse values out of range."""
        check_calibration(self.offset, self.begin)
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"beta {self.beta} must be positive and finite: give that of the objective")

    def refusal(self, objective: Objective) -> str:
        """See :class:`ClassPolicy`: the coefficient must be there, and the one this policy reckons with."""
        beta = getattr(getattr(objective, "base", objective), "beta", None)
        if beta is None or "robust" not in objective.term_names:
            return "it has no robust term with a coefficient beta: use trades"
        if beta != self.beta:
            return f"its beta is {beta}, that of the policy {self.beta}: set both to the same value"
        return ""

    def init(self, groups: int) -> State:
        """See :class:`ClassPolicy`."""
        return {"factor": torch.ones(groups, dtype=torch.float64)}

    def on_epoch(self, state: State, stats: Stats) -> State:
        """See :class:`ClassPolicy`."""
        return {"factor": calibrated(state["factor"], stats, self.offset, self.begin, self.counts)}

    def knobs(self, state: State) -> dict[str, Tensor]:
        """See :class:`ClassPolicy`."""
        label = (1 + self.beta) / (1 + self.beta * state["factor"])
        return {"label": label, "robust": state["factor"] * label}
