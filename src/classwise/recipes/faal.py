"""Repair, and training, by class weights that are worst within a KL ball (FAAL, CVPR 2024).

The paper repairs WideResNet-34-10 checkpoints, its code PreActResNet-18 as well, which is the network here. The variants
hold what algorithm 1 and section 4 print and what TrustAI/FAAL b20ee9d runs with the options of its README; see
docs/presets.md. Training from scratch was not published as code. What repairs hands out the start where no epoch leaves
the weakest class as strong as it was, on validation images; the variants keep the epoch that their rule likes best.
"""

from __future__ import annotations

from typing import Any

from classwise.attacks import PGD, attack_list
from classwise.averaging import EpochEMA
from classwise.configuration import replace
from classwise.objectives import Mart, Trades
from classwise.perturbation import AdversarialWeights
from classwise.policies import KLDRO
from classwise.recipes.cifar10 import cifar10_prn18_pgd_at
from classwise.registry import register
from classwise.selection import BestSum, BestWorst, NoWorse
from classwise.training import SGD, Steps, TrainConfig

FROM_IMAGE = PGD(steps=10, start="none", box="end")
"""Algorithm 1 begins at the image itself and clips to the box after the last step only. For TRADES and MART section 4.1 leaves
the base method's own attack unchanged."""


@register("recipe", "faal-at")
def faal_at() -> TrainConfig:
    """Two epochs of adversarial training with KL-DRO class weights, learning rate 0.01 then 0.001.

    Source: FAAL section 4.1 and table 1 (fine-tuning of WideResNet-34-10 checkpoints): reported AutoAttack accuracy,
    average / worst class, of the PGD-AT checkpoint 52.46 / 24.40 before and 50.81 / 35.70 after. There the checkpoint
    was chosen on test images, here on validation images.
    """
    return replace(
        cifar10_prn18_pgd_at(),
        policy=KLDRO(tau=0.5),
        optimizer=SGD(lr=0.01, weight_decay=5e-4),
        schedule=Steps(drops=(1,)),
        epochs=2,
        selection=NoWorse(),
    )


@register("recipe", "faal-trades")
def faal_trades() -> TrainConfig:
    """The same on the TRADES loss (beta 6)."""
    return replace(faal_at(), objective=Trades(beta=6))


@register("recipe", "faal-mart")
def faal_mart() -> TrainConfig:
    """The same on the MART loss (beta 6)."""
    return replace(faal_at(), objective=Mart(beta=6))


@register("recipe", "faal-at-awp")
def faal_at_awp() -> TrainConfig:
    """faal-at at adversarially perturbed weights; the perturbation does not see the class weights.

    Source: FAAL table 1, reported AutoAttack accuracy of the repaired PGD-AT checkpoint: 52.47 / 36.90. The text gives
    no gamma; 0.005 is that of the code.
    """
    return replace(faal_at(), perturbation=AdversarialWeights(gamma=0.005))


@register("recipe", "faal-trades-awp")
def faal_trades_awp() -> TrainConfig:
    """faal-trades at adversarially perturbed weights."""
    return replace(faal_trades(), perturbation=AdversarialWeights(gamma=0.005))


@register("recipe", "faal-at-scratch")
def faal_at_scratch() -> TrainConfig:
    """Training from scratch: 200 epochs, class weights from epoch 100 (tau 0.25) and 150 (tau 0.5), and an average.

    Source: FAAL section 4.2 and table 2 (PreActResNet-18): reported AutoAttack accuracy, best over test images: 49.10 /
    33.70. The decay of the average is not stated; 0.85 is CFA's.
    """
    return replace(
        cifar10_prn18_pgd_at(),
        policy=KLDRO(tau=0.0, stage_epochs=(100, 150), stage_taus=(0.25, 0.5)),
        averaging=EpochEMA(decay=0.85, start=100),
    )


@register("recipe", "faal-at-paper")
def faal_at_paper() -> TrainConfig:
    """As printed: attacks begin at the image, the loss is scaled by the number of all classes."""
    return _paper(faal_at(), adversary=FROM_IMAGE)


@register("recipe", "faal-trades-paper")
def faal_trades_paper() -> TrainConfig:
    """As printed, with the attack of TRADES unchanged."""
    return _paper(faal_trades())


@register("recipe", "faal-mart-paper")
def faal_mart_paper() -> TrainConfig:
    """As printed, with the attack of MART unchanged."""
    return _paper(faal_mart())


@register("recipe", "faal-at-awp-paper")
def faal_at_awp_paper() -> TrainConfig:
    """As printed, with the gamma of the paper on AWP that the text refers to."""
    return _paper(faal_at_awp(), adversary=FROM_IMAGE, perturbation=AdversarialWeights(gamma=0.01))


@register("recipe", "faal-trades-awp-paper")
def faal_trades_awp_paper() -> TrainConfig:
    """As printed, with the attack of TRADES unchanged; AWP's own gamma for TRADES is 0.005 too."""
    return _paper(faal_trades_awp())


@register("recipe", "faal-at-scratch-paper")
def faal_at_scratch_paper() -> TrainConfig:
    """As printed: attacks begin at the image, the loss is scaled by the number of all classes."""
    return _paper(faal_at_scratch(), adversary=FROM_IMAGE)


@register("recipe", "faal-at-published-code")
def faal_at_published_code() -> TrainConfig:
    """As released: scores are sums over the samples of a class, the best worst class is kept."""
    return _published(faal_at())


@register("recipe", "faal-trades-published-code")
def faal_trades_published_code() -> TrainConfig:
    """As released, on the TRADES loss."""
    return _published(faal_trades())


@register("recipe", "faal-mart-published-code")
def faal_mart_published_code() -> TrainConfig:
    """As released, on the MART loss with the attack of TRADES."""
    return _published(faal_mart(), adversary=PGD(steps=10, loss="kl", start="gauss"))


@register("recipe", "faal-at-awp-published-code")
def faal_at_awp_published_code() -> TrainConfig:
    """As released, at perturbed weights."""
    return _published(faal_at_awp())


@register("recipe", "faal-trades-awp-published-code")
def faal_trades_awp_published_code() -> TrainConfig:
    """As released, on the TRADES loss at perturbed weights."""
    return _published(faal_trades_awp())


def _paper(config: TrainConfig, **changes: Any) -> TrainConfig:
    return replace(config, policy=replace(config.policy, normaliser="all"), selection=BestSum(), **changes)


def _published(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Every checkpoint is kept, since the code picks one of them on test images."""
    return replace(
        config,
        policy=replace(config.policy, scores="sample-sums", normaliser="all", missing="minus-one"),
        validation_attack=attack_list("cw-10")[0],
        selection=BestWorst(),
        keep_every=1,
        **changes,
    )
