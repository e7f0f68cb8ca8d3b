"""TRADES: accuracy on clean images and agreement between clean and perturbed predictions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from classwise.attacks.base import Classifier, Inner
from classwise.attacks.losses import kl_from_clean, widen
from classwise.configuration import config
from classwise.objectives.base import NOTHING, Objective, Outputs, SampleInfo
from classwise.registry import register


@register("objective", "trades")
@config
class Trades(Objective):
    """Mean of CE(x) + beta KL(p(x) || p(x')); the gradient flows through both arguments of the divergence.

    Accuracy comes from the first term; the second holds the prediction of a perturbed image to that of the clean one.

    Source: Zhang et al. 2019, eq. 3 and 5 (beta = 1/lambda); code yaodongyu/TRADES 6e8e11b.
    Departures: the clean images are run once per step, not twice; only BatchNorm's running statistics can tell.
    Costs: a forward of the clean images on top of adversarial training.
    """

    beta: float = 6.0
    """Weight of the divergence, dimensionless, at least 0."""
    divided: bool = False
    """Whether the sum is divided by 1 + beta, as CFA's code trains it (a loss 7 times smaller at beta 6)."""

    inner = Inner(loss="kl", start="gauss")
    computes = frozenset({"clean", "adversarial"})
    term_names = ("label", "robust")

    def check(self) -> None:
        """Refuse a negative weight."""
        if not self.beta >= 0:
            raise ValueError(f"beta {self.beta} must be at least 0")

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`."""
        clean, adversarial = widen(model(x)), widen(model(x_adv))
        scale = 1 / (1 + self.beta) if self.divided else 1.0
        label = F.cross_entropy(clean, y, reduction="none")
        return Outputs(
            {"label": scale * label, "robust": scale * self.beta * kl_from_clean(adversarial, clean)},
            clean=clean,
            adversarial=adversarial,
        )
