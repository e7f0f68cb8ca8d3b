"""A penalty on the spread of class losses under attack."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from classwise.attacks.base import Classifier, Inner
from classwise.configuration import config
from classwise.objectives.base import NOTHING, Objective, Outputs, SampleInfo
from classwise.objectives.cross_entropy import AdversarialTraining
from classwise.registry import register


@register("objective", "variance-regularised", "var")
@config
class VarianceRegularised(Objective):
    """Any objective plus alpha times the variance of the groups' mean cross-entropy of perturbed images in the batch.

    Groups with a loss above the mean are pushed down and those below it are let go, each in proportion to the distance.

    Source: Ma et al. 2022; code wzekai99/FAT 80e29f6 (alpha 0.1; ``slots`` 100, see there). The inner problem is
    cross-entropy from a uniform start whatever the base asks for, as in that code.
    Departures: the variance is that of the groups present unless ``slots`` is set; a group's mean is over its samples
    (for the superclasses of CIFAR-100 the code averages the means of five classes); class weights touch the base's
    terms only. Of several processes each takes the variance of its own rows, and these are averaged: give each at
    least a few samples of every class.
    Costs: nothing beyond the base.
    """

    base: Objective = AdversarialTraining()
    """The objective that the penalty is added to; it must run perturbed images."""
    alpha: float = 0.1
    """Weight of the variance, per nat, at least 0."""
    slots: int = 0
    """0: unbiased variance over the groups present, 0 where there is only one. Otherwise over so many slots, in which
    absent groups and slots beyond the last group count as a loss of 0; the published code has 100."""

    inner = Inner(loss="cross-entropy", start="uniform")

    def check(self) -> None:
        """Refuse a negative weight, too few slots and a base without perturbed images."""
        if not self.alpha >= 0:
            raise ValueError(f"alpha {self.alpha} must be at least 0")
        if self.slots < 0 or self.slots == 1:
            raise ValueError(f"slots {self.slots} must be at least 2 (100 in the published code), or 0 for none")
        if "adversarial" not in self.base.computes:
            raise ValueError(
                f"base {self.base.registered_name!r} runs no perturbed images, whose losses are compared here: "
                "use another base, such as pgd-at or trades"
            )

    @property
    def heeds(self) -> frozenset[str]:
        """See :class:`Objective`: what the base heeds."""
        return self.base.heeds

    @property
    def taught(self) -> bool:
        """See :class:`Objective`: where the base is."""
        return self.base.taught

    @property
    def computes(self) -> frozenset[str]:
        """See :class:`Objective`."""
        return self.base.computes

    @property
    def term_names(self) -> tuple[str, ...]:
        """See :class:`Objective`."""
        return self.base.term_names

    def reference(self, info: SampleInfo) -> Tensor | None:
        """See :class:`Objective`."""
        return self.base.reference(info)

    def __call__(self, model: Classifier, x: Tensor, x_adv: Tensor, y: Tensor, info: SampleInfo = NOTHING) -> Outputs:
        """See :class:`Objective`.

        Raises:
            ValueError: There are more groups than slots.
        """
        outputs = self.base(model, x, x_adv, y, info)
        assert outputs.adversarial is not None
        group = y if info.group is None else info.group
        groups = info.groups or outputs.adversarial.shape[1]
        if 0 < self.slots < groups:
            raise ValueError(f"slots {self.slots} do not hold {groups} groups: give at least {groups}, or 0")
        losses = F.cross_entropy(outputs.adversarial, y, reduction="none")
        penalty = self.alpha * group_variance(losses, group, groups, self.slots)
        return replace(outputs, penalty=penalty if outputs.penalty is None else penalty + outputs.penalty)


def group_variance(losses: Tensor, group: Tensor, groups: int, slots: int = 0) -> Tensor:
    """Unbiased variance of the groups' mean losses, a scalar.

    Args:
        losses: (N,).
        group: Groups (N,), int64, in 0..groups-1.
        groups: Their number.
        slots: 0: over the groups present, 0 where there is one; otherwise over so many values, all but the means of the
            groups present being 0.
    """
    member = (group[:, None] == torch.arange(groups, device=group.device)).to(losses)
    count = member.sum(0)
    means = (losses @ member) / count.clamp_min(1)
    present = (count > 0).to(losses)
    size = present.sum() if slots == 0 else torch.full_like(count[0], slots)
    centre = means.sum() / size
    spread = (present * (means - centre).square()).sum()
    if slots:
        spread = spread + (size - present.sum()) * centre.square()
    return spread / (size - 1).clamp_min(1)
