"""Cross-entropy on clean or on perturbed images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from classwise.attacks.base import Classifier
from classwise.attacks.losses import widen
from classwise.configuration import config
from classwise.objectives.base import NOTHING, Objective, Outputs, SampleInfo
from classwise.registry import register


@register("objective", "natural")
@config
class Natural(Objective):
    """Mean cross-entropy of clean images: the reference without any defence. No attack is run.

    Source: the natural training that every paper here compares with.
    Departures: none.
    Costs: one forward and backward.
    """

    attacked = False
    computes = frozenset({"clean"})

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`."""
        logits = widen(model(x))
        return Outputs({"label": F.cross_entropy(logits, y, reduction="none")}, clean=logits)


@register("objective", "pgd-at", "adversarial-training", "madry", "at")
@config
class AdversarialTraining(Objective):
    """Mean cross-entropy of perturbed images: the network learns from the worst images it could be shown.

    Source: Madry et al. 2018, eq. 2.1; uniform start and steps of a quarter of the radius as in the published code of
    Rice et al. 2020 (locuslab/robust_overfitting c47a25c), of CFA and of FAAL.
    Departures: clean images are not run, so training accuracy on them is not known.
    Costs: the attack, one forward and backward per step of it.
    """

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`."""
        logits = widen(model(x_adv))
        return Outputs({"label": F.cross_entropy(logits, y, reduction="none")}, adversarial=logits)
