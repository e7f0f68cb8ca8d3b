"""MART: more regularisation for images that the network already gets wrong, or is unsure of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from classwise.attacks.base import Classifier, Inner
from classwise.attacks.losses import widen
from classwise.configuration import config
from classwise.objectives.base import NOTHING, Objective, Outputs, SampleInfo
from classwise.registry import register

_TINY = 1e-12
_ABOVE_ONE, _BARELY_ABOVE_ONE = 1.0001, 1.0000001
"""Constants that keep logarithms and weights off zero, as published; they are part of the loss to the last digit."""


@register("objective", "misclassification-aware", "mart")
@config
class Mart(Objective):
    """Mean of BCE(p(x'), y) + beta KL(p(x) || p(x')) (1 - p_y(x)); the gradient flows through everything.

    BCE is the cross-entropy plus -log(1 - the largest wrong probability), which also pushes the strongest rival down.
    The divergence counts in full for images that are wrong without attack and hardly for those that are surely right.

    Source: Wang et al. 2020, eq. 8, 10 and 11; code YisenWang/MART 2d83e17 with its constants (beta 6 in the script for
    wide networks, 5 in that for ResNet-18). Inner problem: cross-entropy from the "gauss" start; FAAL's code attacks
    the divergence instead (the adversary's loss "kl").
    Departures: none.
    Costs: a forward of the clean images on top of adversarial training.
    """

    beta: float = 6.0
    """Weight of the divergence, dimensionless, at least 0."""

    inner = Inner(loss="cross-entropy", start="gauss")
    computes = frozenset({"clean", "adversarial"})
    term_names = ("label", "robust")

    def check(self) -> None:
        """Refuse a negative weight."""
        if not self.beta >= 0:
            raise ValueError(f"beta {self.beta} must be at least 0")

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`."""
        clean, adversarial = widen(model(x)), widen(model(x_adv))
        own, perturbed = clean.softmax(1), adversarial.softmax(1)
        rival = adversarial.scatter(1, y[:, None], float("-inf")).argmax(1, keepdim=True)
        strongest = perturbed.gather(1, rival)[:, 0]
        label = F.cross_entropy(adversarial, y, reduction="none") - (_ABOVE_ONE - strongest + _TINY).log()
        # log_softmax, not the logarithm of a probability: that has no gradient where the probability rounds to 0.
        divergence = (own * (clean.log_softmax(1) - (perturbed + _TINY).log())).sum(1)
        doubt = _BARELY_ABOVE_ONE - own.gather(1, y[:, None])[:, 0]
        return Outputs({"label": label, "robust": self.beta * divergence * doubt}, clean=clean, adversarial=adversarial)
