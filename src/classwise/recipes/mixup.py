"""Adversarial training on mixtures of images of one class (domain mixup).

No code was published, so there is no such variant. The text perturbs standardised images and does not say in which space
its radii are measured; here attacks act on pixels unless the threat model has radii of channels.
"""

from __future__ import annotations

from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.data import CIFAR10, CropFlip, NoAugmentation
from classwise.mixing import SameClassMixup
from classwise.models import ResNetCIFAR
from classwise.objectives import AdversarialTraining
from classwise.registry import register
from classwise.selection import Last
from classwise.threat import linf
from classwise.training import Adam, Steps, TrainConfig

FGSM = PGD(steps=1, relative_step=1.0, start="none")
"""One full step from the image itself."""


@register("recipe", "mixup-at")
def mixup_at() -> TrainConfig:
    """Adversarial training on mixtures of two images of a class, equal shares, radius 8/255.

    Source: Zhong and Tandon, "Learning fair robustness via domain mixup", section III: ResNet-20, Adam at 0.001 divided
    by 10 every 50 epochs, 80 epochs, batches of 256, one-step attacks. Their shares are not stated; ours are one half.
    Attacked with ten steps and judged by PGD-10 on validation images, since a network can learn to mislead one step only.
    """
    return TrainConfig(
        data=CIFAR10(),
        model=ResNetCIFAR(depth=20),
        threat=linf("8/255"),
        augmentation=CropFlip(),
        mixing=SameClassMixup(),
        adversary=PGD(steps=10),
        objective=AdversarialTraining(),
        optimizer=Adam(lr=1e-3),
        schedule=Steps(drops=(50,)),
        epochs=80,
        batch_size=256,
    )


@register("recipe", "mixup-at-paper")
def mixup_at_paper() -> TrainConfig:
    """As printed: one-step attacks in training and in validation, no augmentation, radius 0.3, the last epoch.

    0.3 is the only radius that is left of the paper's table in our copy of its text. If it is meant in standardised
    images, it is about 0.06 of the pixel range: then give --threat.channels 0.2023 0.1994 0.2010 --threat.no-box.
    """
    return replace(
        mixup_at(),
        threat=linf("0.3"),
        augmentation=NoAugmentation(),
        adversary=FGSM,
        validation_attack=replace(FGSM, loss="cross-entropy"),
        selection=Last(),
    )
