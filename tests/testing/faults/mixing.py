"""Mixing with one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import dataclasses

import torch

from classwise import config, register
from classwise.mixing import Mixing


@register("mixing", "fault-no-answer")
@config
class NoAnswer(Mixing):
    """No answer.

    check: declarations
    seen: it gives [None, None]
    mend: return ''
    """

    def refusal(self, attacked):
        return None


@register("mixing", "fault-no-use")
@config
class NoUse(Mixing):
    """No use.

    check: declarations
    seen: it refuses every objective
    """

    def refusal(self, attacked):
        return "no"


@register("mixing", "fault-two-images-at-least")
@config
class TwoImagesAtLeast(Mixing):
    """Two images at least.

    check: runs
    seen: with a batch of one image it raised IndexError
    """

    def before(self, batch, source, noise):
        batch.x[1]
        return batch


@register("mixing", "fault-images-and-no-batch")
@config
class ImagesAndNoBatch(Mixing):
    """Images and no batch.

    check: runs
    seen: before gave a Tensor
    mend: with_images
    """

    def before(self, batch, source, noise):
        return batch.x


@register("mixing", "fault-half-an-answer")
@config
class HalfAnAnswer(Mixing):
    """Half an answer.

    check: runs
    seen: after gave a Batch
    mend: (batch, x_adv)
    """

    def after(self, batch, x_adv, noise):
        return batch


@register("mixing", "fault-other-labels")
@config
class OtherLabels(Mixing):
    """Other labels.

    check: labels-stay
    seen: before changed batch.y
    mend: with_images
    """

    def before(self, batch, source, noise):
        return dataclasses.replace(batch, y=(batch.y + 1) % 5)


@register("mixing", "fault-out-of-the-box")
@config
class OutOfTheBox(Mixing):
    """Out of the box.

    check: images
    seen: before's images run from 0 to 2
    mend: refuse attacked
    """

    def before(self, batch, source, noise):
        return batch.with_images(2 * batch.x)


@register("mixing", "fault-more-digits")
@config
class MoreDigits(Mixing):
    """More digits.

    check: images
    seen: torch.float64
    mend: keep shape and dtype
    """

    def before(self, batch, source, noise):
        return batch.with_images(batch.x.double())


@register("mixing", "fault-the-batch-itself")
@config
class TheBatchItself(Mixing):
    """The batch itself.

    check: keeps-its-inputs
    seen: before changed batch.x
    mend: in-place
    """

    def before(self, batch, source, noise):
        batch.x.mul_(0.5)
        return batch


@register("mixing", "fault-a-random-order")
@config
class ARandomOrder(Mixing):
    """A random order.

    check: repeatable
    seen: drew from torch's global random generator
    mend: noise
    """

    def before(self, batch, source, noise):
        return batch.with_images(batch.x.lerp(batch.x[torch.randperm(len(batch.x))], 0.5))


@register("mixing", "fault-a-value-read-back")
@config
class AValueReadBack(Mixing):
    """A value read back.

    check: stays-on-the-device
    seen: it raised
    mend: torch.where
    """

    def before(self, batch, source, noise):
        return batch.with_images(batch.x * min(1, float(batch.x.mean())))
