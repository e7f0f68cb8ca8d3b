"""Repair of a robust network by KL-DRO class weights (FAAL, CVPR 2024)."""

from __future__ import annotations

from classwise.configuration import replace
from classwise.objectives import Trades
from classwise.policies import KLDRO
from classwise.recipes.cifar10 import cifar10_prn18_pgd_at
from classwise.registry import register
from classwise.training import SGD, Steps, TrainConfig


@register("recipe", "faal-at")
def faal_at() -> TrainConfig:
    """Two epochs of adversarial training with KL-DRO class weights, learning rate 0.01 then 0.001.

    Source: FAAL section 5.1 and table 1 (fine-tuning of WideResNet-34-10 checkpoints): reported AutoAttack accuracy,
    average / worst class, of the PGD-AT checkpoint 52.5 / 24.4 before and 50.8 / 35.7 after. There the checkpoint was
    chosen on test images, here on validation images.
    """
    return replace(
        cifar10_prn18_pgd_at(),
        policy=KLDRO(tau=0.5),
        optimizer=SGD(lr=0.01, weight_decay=5e-4),
        schedule=Steps(drops=(1,)),
        epochs=2,
    )


@register("recipe", "faal-trades")
def faal_trades() -> TrainConfig:
    """The same on the TRADES loss (beta 6)."""
    return replace(faal_at(), objective=Trades(beta=6))
