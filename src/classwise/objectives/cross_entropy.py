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
    """Mean cross-entropy of clean images: the reference without any defence. No attack is run."""

    attacked = False
    computes = frozenset({"clean"})

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`."""
        logits = widen(model(x))
        return Outputs({"label": F.cross_entropy(logits, y, reduction="none")}, clean=logits)


@register("objective", "pgd-at", "adversarial-training", "madry")
@config
class AdversarialTraining(Objective):
    """Mean cross-entropy of perturbed images.

    Source: Madry et al. 2018, eq. 2.1.
    """

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`."""
        logits = widen(model(x_adv))
        return Outputs({"label": F.cross_entropy(logits, y, reduction="none")}, adversarial=logits)
