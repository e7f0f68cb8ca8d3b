"""The audited model itself, in fp32: the only one whose verdicts count."""

from __future__ import annotations

import torch
from torch import Tensor

from classwise.attacks.losses import logit_margin, widen
from classwise.evaluation.admission import check_logits
from classwise.evaluation.shapes import FixedShapes
from classwise.threat import ThreatModel
from classwise.widest import widest

TOLERANCE = 1e-5
"""How far a perturbed image may be outside the ball or the box through float32 rounding."""


class Judge:
    """Predictions and margins of the original model.

    Args:
        model: On its device, in eval mode.
        classes: Number of classes.
    """

    def __init__(self, model: FixedShapes, classes: int) -> None:
        self.model, self.classes = model, classes
        self.excess = 0.0

    def verdict(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and margins (n,) of images on the device, on the CPU."""
        with torch.no_grad():
            logits = widen(self.model.memory.run(lambda _: self.model(x)))
        check_logits(logits, x, self.classes)
        return logits.argmax(1).cpu(), logit_margin(logits, y).float().cpu()

    def perturbed(
        self, x_adv: Tensor, x: Tensor, y: Tensor, threat: ThreatModel, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same of perturbed images, after checking in float64 that each is in the ball and in the box.

        What is outside is judged where the projection puts it, and how far it was is kept in ``excess``.
        """
        outside = float((threat.distance(x_adv, x) - widest(radius)).amax())
        off_box = float(torch.maximum(-x_adv.amin(), x_adv.amax() - 1)) if threat.box else 0.0
        self.excess = max(self.excess, outside, off_box)
        if max(outside, off_box) > TOLERANCE:
            x_adv = threat.project(x_adv, x, radius)
        return self.verdict(x_adv, y)
