"""Trainings, rows and columns of CFA's tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from classwise.averaging import Averaging, EpochEMA, Gated, NoAveraging
from classwise.configuration import replace
from classwise.data import TinyImageNet
from classwise.data.cifar10 import CLASS_NAMES
from classwise.experiments.base import Column, Row, Training
from classwise.experiments.courses import Followed, Weights
from classwise.experiments.measures import Audited, Quantity
from classwise.models import ResNet18
from classwise.objectives import Trades
from classwise.policies import CalibratedRadius, CalibratedRegularisation, ClassPolicy, Combined, Uniform
from classwise.recipes import cfa, cifar10, frl
from classwise.selection import BestSum
from classwise.threat import linf
from classwise.training import TrainConfig

Method = Literal["AT", "TRADES", "FAT"]
METHODS: tuple[Method, ...] = ("AT", "TRADES", "FAT")
EMA = EpochEMA(decay=0.85, start=50)
FAWA = Gated(decay=0.85, start=50, threshold=0.2)
NO_AVERAGE = NoAveraging()
BASES: dict[Method, float] = {"AT": 0.5, "TRADES": 0.3, "FAT": 0.7}
"""The base budget lambda1 of CCM for each method."""
TINY_THRESHOLD = 0.01
"""FAWA's threshold on Tiny-ImageNet, which is not said. 0.2 is far above what the worst fifth of its classes reaches; with 10
validation images of each class, 0.03 is as well (see ``TINY_GATE``)."""
KEPT: dict[str, Weights] = {"live weights": "raw", "average of weights": "averaged"}
"""Blocks of rows, and the weights that they follow."""


def _plain(method: Method) -> TrainConfig:
    """A base method as the paper's settings have it, without class-wise parts or an average."""
    if method == "AT":
        return replace(cifar10.cifar10_prn18_pgd_at(), **cfa.PAPER)
    if method == "TRADES":
        return cfa.cfa_plain_trades_paper()
    return replace(cfa.cfa_fat_paper(), policy=Uniform(), averaging=NO_AVERAGE)


def trained(
    method: Method,
    parts: Literal["", "CCM", "CCR", "CCM + CCR"] = "",
    average: Literal["", "EMA", "FAWA"] = "",
    base: float = 0.0,
) -> Training:
    """A method with calibrated parts and an average.

    Args:
        method: What is calibrated.
        parts: Which parts.
        average: Which average.
        base: Base budget of the last of the parts; 0: as in section 5.1.
    """
    averages: dict[str, Averaging] = {"": NO_AVERAGE, "EMA": EMA, "FAWA": FAWA}
    config = replace(_plain(method), averaging=averages[average])
    radius = CalibratedRadius(offset=base if base and parts == "CCM" else BASES[method], begin=1)
    regularisation = CalibratedRegularisation(offset=base or 0.5, begin=1)
    policies: dict[str, ClassPolicy] = {
        "": Uniform(),
        "CCM": radius,
        "CCR": regularisation,
        "CCM + CCR": Combined(members=(radius, regularisation)),
    }
    config = replace(config, policy=policies[parts])
    if "CCR" in parts:
        config = replace(config, objective=Trades(beta=6, divided=True))
    usual = BASES[method] if parts == "CCM" else 0.5
    words = ["cfa", method, *parts.split(" + "), *([f"base-{base}"] if base and base != usual else []), average]
    if not parts and not average:
        words.append("plain")
    return Training("-".join(word.lower() for word in words if word), config)


def with_averages() -> dict[str, Training]:
    """Each method plain, with EMA and with CFA, by the names of tables 1 and 4."""
    found: dict[str, Training] = {}
    for method in METHODS:
        found[method] = trained(method)
        found[f"{method} + EMA"] = trained(method, average="EMA")
        found[f"{method} + CFA"] = trained(method, "CCM + CCR" if method == "TRADES" else "CCM", "FAWA")
    return found


def frl_rows() -> dict[str, Training]:
    """FRL on TRADES, without and with an average."""
    config, start = frl.frl_rmrw_published_code(), trained("TRADES")
    return {
        "FRL": Training("cfa-frl", config, start),
        "FRL + EMA": Training("cfa-frl-ema", replace(config, averaging=replace(EMA, start=0)), start),
    }


def on_tiny_imagenet(training: Training) -> Training:
    """The same on Tiny-ImageNet with ResNet-18, where the worst fifth of the classes stands for the worst class."""
    config = replace(training.config, data=TinyImageNet(), model=ResNet18(), selection=BestSum(added="worst-fifth"))
    if isinstance(config.averaging, Gated):
        gated = replace(config.averaging, gate="worst-fifth", threshold=TINY_THRESHOLD)
        config = replace(config, averaging=gated)
    return Training(training.name.replace("cfa-", "cfa-tiny-imagenet-"), config)


def best_and_last(trainings: Mapping[str, Training]) -> tuple[Row, ...]:
    """A row for the selected checkpoint of each training, and one for the last, of the average where there is one."""
    return tuple(
        Row(f"{title} / {name}", training, checkpoint)
        for title, checkpoint in (("best", "selected"), ("last", "final"))
        for name, training in trainings.items()
    )


def by_radius() -> tuple[Row, ...]:
    """Adversarial training with radii 2/255 to 16/255, always validated at 8/255."""
    plain, rows = trained("AT"), []
    for pixels in range(2, 17, 2):
        config = replace(plain.config, threat=linf(f"{pixels}/255"), validation_radius="8/255")
        training = plain if pixels == 8 else Training(f"{plain.name}-radius-{pixels}", config)
        rows.append(Row(f"{pixels}/255", training, printed=False))
    return tuple(rows)


def by_beta() -> tuple[Row, ...]:
    """TRADES with beta 1 to 8."""
    plain, rows = trained("TRADES"), []
    for beta in range(1, 9):
        config = replace(plain.config, objective=Trades(beta=beta))
        training = plain if beta == 6 else Training(f"{plain.name}-beta-{beta}", config)
        rows.append(Row(f"beta {beta}", training, printed=False))
    return tuple(rows)


def accuracies(
    of: Iterable[Quantity],
    lowest: Literal["worst", "worst-fifth"],
    title: str,
    attack: Literal["AA", "PGD-10"] = "AA",
    printed: bool = True,
) -> tuple[Column, ...]:
    """Average and lowest accuracy, of each quantity."""
    attacks = {"AA": "standard", "PGD-10": "pgd-10"}[attack]
    columns = []
    for each in of:
        name = f"{'clean' if each == 'clean' else attack} accuracy"
        columns.append(Column(f"{name}, average", Audited(each, "average", attacks), printed=printed))
        columns.append(Column(f"{name}, {title}", Audited(each, lowest, attacks), printed=printed))
    return tuple(columns)


def followed(of: Literal["clean", "robust"], begin: float, end: float) -> tuple[Column, ...]:
    """A column for each class of CIFAR-10: validation accuracy, its mean over some epochs."""
    return tuple(
        Column(f"{of} accuracy, {name}", Followed(of, "class", group=number, begin=begin, end=end), printed=False)
        for number, name in enumerate(CLASS_NAMES)
    )
