"""The methods that the class-wise papers build on or compare with, as their authors' published code runs them.

Only their code was read, not their texts, hence no ``-paper`` variants. A ``-published-code`` variant exists where that
code differs from the recommended recipe in a key. Those that write the radius as 0.031 keep it. Other networks there,
such as ResNet-18 (MART, WAT, DAFA, VAR) and wide ResNets (TRADES, MART, WAT, VAR), are PreActResNet-18 here.
"""

from __future__ import annotations

from classwise.attacks import PGD, FriendlyPGD
from classwise.configuration import replace
from classwise.data import Split
from classwise.objectives import AdversarialTraining, Distillation, Mart, Objective, Trades, VarianceRegularised
from classwise.perturbation import AdversarialWeights
from classwise.policies import CalibratedTemperature, Hedge, SimilarityTransfer
from classwise.radius import Radius
from classwise.recipes.cifar10 import cifar10_prn18_pgd_at, cifar10_prn18_trades
from classwise.registry import register
from classwise.threat import linf
from classwise.training import SGD, Steps, TrainConfig

STEP = Radius("0.007")
"""Length of an attack step beside the radius 0.031."""


@register("recipe", "trades")
def trades() -> TrainConfig:
    """TRADES (beta 6) as its authors run it: 76 epochs, the learning rate divided by 10 before the 75th.

    Source: Zhang et al. 2019; code yaodongyu/TRADES 6e8e11b.
    """
    return _authors(Trades(beta=6), lr=0.1, weight_decay=2e-4, drops=(74, 89, 99), epochs=76)


@register("recipe", "mart")
def mart() -> TrainConfig:
    """MART with the values of its ResNet-18 script: beta 5 (its script for wide networks: 6).

    Source: Wang et al. 2020; code YisenWang/MART 2d83e17.
    """
    return _authors(Mart(beta=5), lr=0.01, weight_decay=3.5e-3, drops=(74, 89, 99), epochs=120)


@register("recipe", "fat")
def fat() -> TrainConfig:
    """Friendly adversarial training: attacks stop soon after the label changes, later epochs allow one more step each.

    Source: Zhang et al. 2020; code zjfheart/Friendly-Adversarial-Training 80a0640 (budget 0, 1 from epoch 50, 2 from 90).
    """
    attack = FriendlyPGD(steps=10, step_size=STEP, budget=0, budget_epochs=(50, 90), jitter=Radius("0.001"))
    friendly = replace(_authors(AdversarialTraining(), lr=0.1, weight_decay=2e-4), adversary=attack)
    return replace(friendly, schedule=Steps(drops=(59, 89, 109), to=(0.1, 0.01, 0.005)), epochs=120)


@register("recipe", "fat-trades")
def fat_trades() -> TrainConfig:
    """The same on the TRADES loss (beta 6), without jitter."""
    attack = FriendlyPGD(steps=10, step_size=STEP, budget=0, budget_epochs=(50, 90))
    return replace(fat(), objective=Trades(beta=6), adversary=attack)


@register("recipe", "awp-at")
def awp_at() -> TrainConfig:
    """Adversarial training at adversarially perturbed weights, gamma 0.01.

    Source: Wu et al. 2020; code csdongxian/AWP a7acf5d, whose attacks run in the mode that the code before them left:
    eval in the first batch of an epoch, train in the others; here eval.
    """
    return replace(cifar10_prn18_pgd_at(), perturbation=AdversarialWeights(gamma=0.01))


@register("recipe", "awp-trades")
def awp_trades() -> TrainConfig:
    """TRADES at adversarially perturbed weights, gamma 0.005, from the tenth epoch on.

    Source: as ``awp-at``; its script for TRADES counts epochs from 1, so that the drops come one epoch earlier as well.
    """
    return replace(
        cifar10_prn18_trades(),
        perturbation=AdversarialWeights(gamma=0.005, begin=9),
        schedule=Steps(drops=(99, 149)),
    )


@register("recipe", "wat")
def wat() -> TrainConfig:
    """TRADES (beta 6) with weights by Hedge over the classes and their average; 300 validation images of each class.

    Source: Li and Liu 2023 (WAT); code boqili/WAT 62d1184. FAAL table 2 reports for it, average / worst class under
    AutoAttack: 46.16 / 30.70 (PreActResNet-18).
    """
    return replace(
        _authors(Trades(beta=6), lr=0.1, weight_decay=2e-4, drops=(74, 89, 99), epochs=100),
        split=Split(fraction=0, at_least=300),
        policy=Hedge(rate=0.1),
    )


@register("recipe", "wat-published-code")
def wat_published_code() -> TrainConfig:
    """As released: weights are not scaled (the first loss is twice TRADES), costs over whole batches, last images held out."""
    return replace(
        wat(),
        split=Split(fraction=0, at_least=300, choice="last"),
        policy=Hedge(rate=0.1, normalise=False, counted="batches"),
    )


@register("recipe", "dafa")
def dafa() -> TrainConfig:
    """TRADES (beta 6) with radius, step and label weight moved between similar classes after 70 epochs.

    Source: Lee et al. 2024 (DAFA); code rucy74/DAFA c60ba83.
    """
    config = _authors(Trades(beta=6), lr=0.1, weight_decay=5e-4, drops=(99, 104), epochs=110)
    nesterov = replace(config.optimizer, nesterov=True)
    return replace(config, policy=SimilarityTransfer(strength=1.0, warmup=70), optimizer=nesterov)


@register("recipe", "dafa-at")
def dafa_at() -> TrainConfig:
    """The same on adversarial training, with the Gaussian start of its code and without its second, plain attack step."""
    return replace(dafa(), objective=AdversarialTraining(), adversary=PGD(steps=10, step_size=STEP, start="gauss"))


@register("recipe", "var-at")
def var_at() -> TrainConfig:
    """Adversarial training plus 0.1 times the variance between class losses, batches of 512.

    Source: Ma et al. 2022; code wzekai99/FAT 80e29f6 (its README: batches of 256).
    """
    config = _authors(VarianceRegularised(base=AdversarialTraining(), alpha=0.1), lr=0.1, weight_decay=2e-4)
    return replace(config, schedule=Steps(drops=(59, 89, 109), to=(0.1, 0.01, 0.005)), epochs=120, batch_size=512)


@register("recipe", "var-at-published-code")
def var_at_published_code() -> TrainConfig:
    """As released: the variance runs over 100 slots, of which 90 hold a zero with ten classes."""
    return replace(var_at(), objective=replace(var_at().objective, slots=100))


@register("recipe", "var-trades")
def var_trades() -> TrainConfig:
    """TRADES (beta 6) plus 0.1 times the variance between class losses; the attack raises the cross-entropy."""
    return replace(var_at(), objective=VarianceRegularised(base=Trades(beta=6), alpha=0.1))


@register("recipe", "var-trades-published-code")
def var_trades_published_code() -> TrainConfig:
    """As released: the variance runs over 100 slots."""
    return replace(var_trades(), objective=replace(var_trades().objective, slots=100))


@register("recipe", "absld")
def absld() -> TrainConfig:
    """Distillation from a robust teacher whose labels are sharper for hard classes and softer for easy ones.

    The teacher is the run directory of recipe ``cifar10-prn18-trades``; name your own with --teacher.

    Source: Zhao et al. 2024 (ABSLD); code zhaoshiji123/ABSLD 7407c3a (300 epochs, learning rate 0.1 with drops at 215, 260
    and 285, weight decay 2e-4, batches of 128), which trains a ResNet-18.
    """
    return replace(
        cifar10_prn18_pgd_at(),
        teacher="runs/cifar10-prn18-trades",
        objective=Distillation(),
        policy=CalibratedTemperature(rate=0.1, drops=(215, 260, 285)),
        optimizer=SGD(lr=0.1, weight_decay=2e-4),
        schedule=Steps(drops=(215, 260, 285)),
        epochs=300,
    )


def _authors(
    objective: Objective, lr: float, weight_decay: float, drops: tuple[int, ...] = (), epochs: int = 120
) -> TrainConfig:
    """The frame that most of this code shares: radius 0.031, steps of 0.007, batches of 128."""
    return replace(
        cifar10_prn18_pgd_at(),
        threat=linf("0.031"),
        adversary=PGD(steps=10, step_size=STEP),
        objective=objective,
        optimizer=SGD(lr=lr, weight_decay=weight_decay),
        schedule=Steps(drops=drops),
        epochs=epochs,
    )
