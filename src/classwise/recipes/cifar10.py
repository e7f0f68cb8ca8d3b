"""CIFAR-10 with PreActResNet-18: the baselines that all the papers share."""

from __future__ import annotations

from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.data import CIFAR10, CropFlip
from classwise.models import PreActResNet18
from classwise.objectives import AdversarialTraining, Natural, Trades
from classwise.policies import CalibratedRadius
from classwise.registry import register
from classwise.selection import Last
from classwise.threat import linf
from classwise.training import SGD, Steps, TrainConfig


@register("recipe", "cifar10-prn18-pgd-at")
def cifar10_prn18_pgd_at() -> TrainConfig:
    """PGD adversarial training, 200 epochs, learning rate 0.1 divided by 10 at 100 and 150.

    Source: CFA section 5.1 and FAAL section 5.1 (the same setting); reported AutoAttack accuracy of the best
    checkpoint, average / worst class: 46.7 / 20.1 (CFA table 1), 47.4 / 12.9 (FAAL table 2).
    """
    return TrainConfig(
        data=CIFAR10(),
        model=PreActResNet18(),
        threat=linf("8/255"),
        augmentation=CropFlip(),
        adversary=PGD(steps=10),
        objective=AdversarialTraining(),
        optimizer=SGD(lr=0.1, weight_decay=5e-4),
        schedule=Steps(drops=(100, 150)),
        epochs=200,
        batch_size=128,
    )


@register("recipe", "cifar10-prn18-natural")
def cifar10_prn18_natural() -> TrainConfig:
    """The same schedule without any attack."""
    return replace(cifar10_prn18_pgd_at(), objective=Natural(), selection=Last())


@register("recipe", "cifar10-prn18-trades")
def cifar10_prn18_trades() -> TrainConfig:
    """TRADES with beta 6.

    Source: CFA table 1, reported AutoAttack accuracy of the best checkpoint, average / worst class: 48.3 / 21.7.
    """
    return replace(cifar10_prn18_pgd_at(), objective=Trades(beta=6))


@register("recipe", "cifar10-prn18-ccm")
def cifar10_prn18_ccm() -> TrainConfig:
    """Adversarial training with a radius calibrated per class.

    Source: CFA table 2, reported AutoAttack accuracy, average / worst class: 47.6 / 22.8.
    """
    return replace(cifar10_prn18_pgd_at(), policy=CalibratedRadius(offset=0.5, begin=10))
