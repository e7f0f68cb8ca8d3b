"""Class-wise calibrated training (CFA, CVPR 2023): a radius and a regularisation for each class, and a gated average.

The variants hold what the text prints and what PKU-ML/CFA 071f333 runs; see docs/presets.md for all keys. The published
code also normalises images (CIFAR mean and deviation) and picks its checkpoint on test images: neither is done here.
Its variants keep every checkpoint of the second half of training, so that the test-picked row can be audited afterwards.
"""

from __future__ import annotations

from typing import Any

from classwise.attacks import PGD, FriendlyPGD
from classwise.averaging import Gated
from classwise.configuration import replace
from classwise.data import CropFlip, Split
from classwise.objectives import Trades
from classwise.policies import CalibratedRadius, CalibratedRegularisation, ClassPolicy, Combined
from classwise.policies.calibration import Counts
from classwise.radius import Radius
from classwise.recipes.cifar10 import cifar10_prn18_pgd_at, cifar10_prn18_trades
from classwise.registry import register
from classwise.training import TrainConfig

PAPER: dict[str, Any] = {"split": Split(fraction=0.02, at_least=0)}
"""Keys that the text states for all its methods: 2 % of each class are held out."""
CODE: dict[str, Any] = {
    "split": Split(fraction=0.02, at_least=0, choice="first"),
    "augmentation": CropFlip(mode="reflect"),
    "averaging": Gated(decay=0.88, start=0, threshold=0.24),
    "validation_attack": PGD(steps=10, loss="cross-entropy", start="uniform"),
    "keep_epochs": tuple(range(101, 201)),
}
"""Keys in which the published code differs for all methods: its defaults, of which its README changes the threshold to 0.2."""


@register("recipe", "cfa-at")
def cfa_at() -> TrainConfig:
    """Adversarial training with a calibrated radius (offset 0.5) and a gated average of the weights.

    Source: CFA sections 4 and 5.1; reported AutoAttack accuracy of the best checkpoint, average / worst class, mean of
    five runs: 50.1 / 24.4 (table 1). It was chosen on test images there, on validation images here: 5 % of each class as
    in the other recipes, so that a class counts 250 images at the gate and not 100.
    """
    return _cfa(cifar10_prn18_pgd_at(), _radius(0.5))


@register("recipe", "cfa-at-paper")
def cfa_at_paper() -> TrainConfig:
    """As printed: class-wise radii from the second epoch on."""
    return replace(cfa_at(), policy=_radius(0.5, begin=1), **PAPER)


@register("recipe", "cfa-at-published-code")
def cfa_at_published_code() -> TrainConfig:
    """As released: the attack runs in train mode, and accuracies are divided by N/K."""
    return replace(cfa_at(), adversary=PGD(steps=10, bn_mode="train"), policy=_radius(0.5, counts="balanced"), **CODE)


@register("recipe", "cfa-trades")
def cfa_trades() -> TrainConfig:
    """TRADES with a calibrated radius (offset 0.3), a calibrated regularisation (0.5) and a gated average.

    Source: as ``cfa-at``, with eq. 8 for the loss; reported AutoAttack accuracy of the best checkpoint: 50.1 / 26.5
    (table 1).
    """
    return _cfa(replace(cifar10_prn18_trades(), objective=Trades(beta=6, divided=True)), _both(0.3))


@register("recipe", "cfa-trades-paper")
def cfa_trades_paper() -> TrainConfig:
    """As printed: class-wise radii and regularisation from the second epoch on."""
    return replace(cfa_trades(), policy=_both(0.3, begin=1), **PAPER)


@register("recipe", "cfa-trades-published-code")
def cfa_trades_published_code() -> TrainConfig:
    """As released: offset 0.5 for every method, and accuracies are divided by N/K."""
    return replace(cfa_trades(), policy=_both(0.5, counts="balanced"), **CODE)


@register("recipe", "cfa-fat")
def cfa_fat() -> TrainConfig:
    """Friendly adversarial training with a calibrated radius (offset 0.7) and a gated average.

    The friendly attack is that of its own authors, with their schedule of budgets. Source: as ``cfa-at``; reported
    AutoAttack accuracy of the best checkpoint, with the attack of CFA's code: 49.6 / 20.9 (table 1).
    """
    return replace(
        _cfa(cifar10_prn18_pgd_at(), _radius(0.7)),
        adversary=FriendlyPGD(steps=10, budget=0, budget_epochs=(50, 90), jitter=Radius("0.001")),
    )


@register("recipe", "cfa-fat-paper")
def cfa_fat_paper() -> TrainConfig:
    """As printed: class-wise radii from the second epoch on. Of the friendly attack the text states nothing."""
    return replace(cfa_fat(), policy=_radius(0.7, begin=1), **PAPER)


@register("recipe", "cfa-fat-published-code")
def cfa_fat_published_code() -> TrainConfig:
    """As released: offset 0.5, budget 3 throughout, its own rule of stopping, the attack in train mode."""
    attack = FriendlyPGD(steps=10, budget=3, rule="cfa", bn_mode="train")
    return replace(cfa_fat(), adversary=attack, policy=_radius(0.5, counts="balanced"), **CODE)


@register("recipe", "cfa-plain-trades")
def cfa_plain_trades() -> TrainConfig:
    """The TRADES row of CFA's tables, without class-wise parts or an average: the same as cifar10-prn18-trades.

    Source: CFA section 5.1; reported AutoAttack accuracy of the best checkpoint: 48.3 / 21.7 (table 1).
    """
    return cifar10_prn18_trades()


@register("recipe", "cfa-plain-trades-paper")
def cfa_plain_trades_paper() -> TrainConfig:
    """As printed: the loss of TRADES, 2 % of each class held out."""
    return replace(cfa_plain_trades(), **PAPER)


@register("recipe", "cfa-plain-trades-published-code")
def cfa_plain_trades_published_code() -> TrainConfig:
    """As released: the loss is divided by 1 + beta, that is by 7."""
    without = {key: value for key, value in CODE.items() if key != "averaging"}
    return replace(cfa_plain_trades(), objective=Trades(beta=6, divided=True), **without)


def _cfa(base: TrainConfig, policy: ClassPolicy) -> TrainConfig:
    return replace(base, policy=policy, averaging=Gated(decay=0.85, start=50, threshold=0.2))


def _radius(offset: float, begin: int = 10, counts: Counts = "true") -> CalibratedRadius:
    return CalibratedRadius(offset=offset, begin=begin, counts=counts)


def _both(offset: float, begin: int = 10, counts: Counts = "true") -> Combined:
    return Combined(
        members=(
            _radius(offset, begin, counts),
            CalibratedRegularisation(offset=0.5, begin=begin, counts=counts),
        )
    )
