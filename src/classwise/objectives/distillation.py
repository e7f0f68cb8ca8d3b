"""Distillation from a robust teacher, with a temperature for each class (ABSLD)."""

from __future__ import annotations

import math

from torch import Tensor

from classwise.attacks.base import Classifier, Inner
from classwise.attacks.losses import kl_from_clean, widen
from classwise.configuration import config
from classwise.objectives.base import NOTHING, Objective, Outputs, SampleInfo
from classwise.registry import register


@register("objective", "robust-distillation", "absld")
@config
class Distillation(Objective):
    """Divergence of the network's predictions, for clean and for perturbed images, from a robust teacher's soft labels.

    Both labels come from the teacher's logits z on the *clean* image: p = softmax(z / T), with the temperature T of the
    clean or of the perturbed branch, this field times the class knob "temperature" or "robust_temperature". The loss is
    (1 - robust_share) KL(p || q(x)) / K + robust_share KL(p' || q(x')) / K with q the network's prediction; it contains no
    label but the teacher's. The matched adversary ascends KL(p' || q(x')) from 0.001 times a normal draw.

    Source: Zhao et al. 2024 (ABSLD: anti-bias soft label distillation), code zhaoshiji123/ABSLD 7407c3a, whose mean runs
    over the B K entries of a batch, hence the K. With :class:`classwise.policies.CalibratedTemperature` it is ABSLD.
    Departures: the code adds 1e-5 to the teacher's probabilities inside a logarithm, which moves the loss by a constant
    and no gradient; its two branches see the product of both temperatures, ours each its own.
    Costs: a forward of the teacher, and one of the clean images on top of adversarial training.
    """

    robust_share: float = 5 / 6
    """Weight of the perturbed branch, in [0, 1]; the clean one has the rest."""
    temperature: float = 1.0
    """Temperature of the teacher's logits in both branches, dimensionless, above 0; class knobs multiply it."""

    heeds = frozenset({"temperature", "robust_temperature"})
    taught = True
    inner = Inner(loss="kl", start="gauss")
    computes = frozenset({"clean", "adversarial"})
    term_names = ("label", "robust")

    def check(self) -> None:
        """Refuse a share outside [0, 1] and temperatures that are not above 0."""
        if not 0 <= self.robust_share <= 1:
            raise ValueError(f"robust_share {self.robust_share} must lie in [0, 1]: 5/6 is published")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature {self.temperature} must be a finite number above 0: 1 is published")

    def reference(self, info: SampleInfo) -> Tensor:
        """See :class:`Objective`. The teacher's logits, as soft as the perturbed branch takes them."""
        return self._soft(info, "robust_temperature")

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`.

        Raises:
            ValueError: The logits of a teacher are missing, or are of another number of classes.
        """
        label, robust = self._soft(info, "temperature"), self._soft(info, "robust_temperature")
        clean, adversarial = widen(model(x)), widen(model(x_adv))
        classes = clean.shape[1]
        if label.shape != clean.shape:
            raise ValueError(
                f"the teacher tells {label.shape[1]} classes apart, the network {classes}: name a teacher that was trained "
                "on the same classes"
            )
        return Outputs(
            {
                "label": (1 - self.robust_share) / classes * kl_from_clean(clean, label),
                "robust": self.robust_share / classes * kl_from_clean(adversarial, robust),
            },
            clean=clean,
            adversarial=adversarial,
        )

    def _soft(self, info: SampleInfo, knob: str) -> Tensor:
        """The teacher's logits over the temperature of a branch."""
        if info.teacher is None:
            raise ValueError(
                f"objective {self.registered_name!r} learns from a teacher: name its checkpoint as teacher of the run, or "
                "give its logits as SampleInfo.teacher"
            )
        logits = widen(info.teacher) / self.temperature
        factor = info.knobs.get(knob)
        return logits if factor is None else logits / factor[:, None].to(logits.dtype)
