"""Three sizes of an experiment: on a small set in minutes, shortened on the full data, and as the paper has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from classwise.averaging import Gated
from classwise.configuration import Component, replace
from classwise.data import Digits, NoAugmentation, Split
from classwise.evaluation.certify import EVERY
from classwise.models import SmallCNN
from classwise.policies import KLDRO, ClassPolicy, Combined, Uniform
from classwise.radius import Radius
from classwise.recipes.digits import RADIUS
from classwise.threat import ThreatModel
from classwise.training import Hardware, TrainConfig

Budget = Literal["small", "short", "paper"]

BEGINS = ("begin", "start", "warmup")
"""Fields of components that hold the epoch in which something begins."""
EPOCHS = ("drops", "decay_epochs", "budget_epochs", "stage_epochs")
"""Fields of components that hold a rising list of epochs."""
RATES = ("rate", "rate_clean", "rate_boundary")
"""Fields of class policies that hold how far an epoch moves what they accumulate over epochs."""
DIGITS_SCALE = float(Radius(RADIUS)) / (8 / 255)
"""How much farther l_inf attacks may go on the digits than the papers' do on photographs."""
RATE = 0.04
"""Largest learning rate on the digits."""
GREY = 0.5
"""At this l_inf radius every image may become the same grey: radii grow no farther."""


@dataclass(frozen=True)
class Size:
    """A size of experiments.

    Args:
        name: Its name.
        change: The configuration of a training in this size.
        told: What is changed, for the heading of a table.
        per_class: Test images of each class that are attacked, the first ones; 0: all.
        attacks: Suites that others stand in for.
        scale: Factor of l_inf radii.
        every: Every how many-th test image of each class is certified.
        votes: Noisy copies of an image that a certificate is made of.
    """

    name: Budget
    change: Callable[[TrainConfig], TrainConfig]
    told: str
    per_class: int = 0
    attacks: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    every: int = EVERY
    votes: int = 100_000

    def suite(self, attacks: str) -> str:
        """The attacks that are run where the paper runs these."""
        return self.attacks.get(attacks, attacks)

    def faced(self, threat: ThreatModel) -> ThreatModel:
        """The threat that stands for one of the paper."""
        if threat.norm != "linf" or self.scale == 1:
            return threat
        return replace(threat, radius=_radii(threat.radius, _growth(threat, self.scale)), channels=_one_channel(threat))


def small(config: TrainConfig) -> TrainConfig:
    """On the digits with a small network, at most 20 epochs; l_inf radii keep their ratios, up to :data:`GREY`. Pure.

    Attack, objective, policy, optimiser and the form of the schedule stay. 80 images of each class are trained on, 40
    held out.

    Batches of 16, a rate of at most :data:`RATE` and half the threshold are for the gated average of CFA, seed 0: with them
    it has an average in 10 of 20 epochs on TRADES and on FAT. With batches of 64 or 32 and the paper's rate and threshold
    (0.1, 20 %) the weakest class on TRADES let no epoch in, or the last 7; at rate 0.1 those on AT and FAT let none in, and
    FAT lost all accuracy at 0.06.
    """
    threat, scaled = config.threat, config
    if threat.norm == "linf":
        scaled = _radii(config, _growth(threat, DIGITS_SCALE))
        scaled = replace(scaled, threat=replace(scaled.threat, channels=_one_channel(threat)))
    gated = config.averaging
    if isinstance(gated, Gated):
        gated = replace(gated, threshold=gated.threshold / 2)
    return at_epochs(
        replace(
            scaled,
            data=Digits(),
            split=Split(at_least=40, choice=config.split.choice),
            model=SmallCNN(),
            augmentation=NoAugmentation(),
            batch_size=16,
            optimizer=replace(config.optimizer, lr=min(config.optimizer.lr, RATE)),
            averaging=gated,
            hardware=Hardware(precision="fp32", threads=1),
        ),
        20,
    )


def short(config: TrainConfig) -> TrainConfig:
    """The paper's data and network, at most 30 epochs. Pure."""
    return at_epochs(config, 30)


def paper(config: TrainConfig) -> TrainConfig:
    """As it stands. Pure."""
    return config


SIZES: dict[Budget, Size] = {
    "small": Size(
        "small",
        small,
        "digits, a small CNN, at most 20 epochs (class policies move as much faster as they are fewer), batches of 16, "
        "learning rates up to 0.04, half of CFA's threshold, quick for standard",
        attacks={"standard": "quick"},
        scale=DIGITS_SCALE,
        every=4,
        votes=1000,
    ),
    "short": Size(
        "short",
        short,
        "at most 30 epochs (class policies move as much faster as they are fewer), the first 100 test images of each class",
        per_class=100,
        every=100,
        votes=10_000,
    ),
    "paper": Size("paper", paper, "as the paper has it"),
}


def at_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The same training in at most so many epochs.

    Every epoch that the configuration names moves in proportion. What begins late begins in the middle at the latest, so
    that every mechanism acts in at least half of the epochs; lists of epochs keep their order. The rates of class policies
    that accumulate something from epoch to epoch grow as the epochs become fewer, so that their sum over training stays
    about what it was: at the paper's rates the weights of FRL would hardly leave 1 in a sixth of its epochs.
    """
    epochs = min(epochs, config.epochs)
    share = epochs / config.epochs
    axes = {key: _moved(value, share, epochs) for key, value in vars(config).items() if isinstance(value, Component)}
    kept = tuple(sorted({max(1, round(each * share)) for each in config.keep_epochs}))
    every = max(1, round(config.keep_every * share)) if config.keep_every else 0
    return replace(config, epochs=epochs, keep_epochs=kept, keep_every=every, **axes)


def begins(config: TrainConfig) -> dict[str, int]:
    """The first epoch (counted from 0) in which each mechanism of a training can act, by its registered name.

    Mechanisms are the class policies, the average and the perturbation of the weights. A policy that follows what an epoch
    measured acts in the one after it; whether its condition is met then is for the run to say (``Run.acted``).
    """
    found = {}
    for policy in _members(config.policy):
        first = _begin(policy)
        if isinstance(policy, KLDRO) and not policy.tau:
            acting = [epoch for epoch, tau in zip(policy.stage_epochs, policy.stage_taus, strict=True) if tau]
            first = min(acting, default=config.epochs)
        by_batch = all(each.startswith("batch_") for each in policy.observes())
        found[policy.registered_name] = first if by_batch or policy.looks_first() else max(first, 1)
    for axis in (config.averaging, config.perturbation):
        if axis.registered_name != "none":
            found[axis.registered_name] = _begin(axis)
    return found


def _members(policy: ClassPolicy) -> list[ClassPolicy]:
    if isinstance(policy, Combined):
        return [each for member in policy.members for each in _members(member)]
    return [] if isinstance(policy, Uniform) else [policy]


def _begin(component: Component) -> int:
    fields = vars(component)
    return next((fields[name] for name in BEGINS if _is_number(fields.get(name))), 0)


def _is_number(value: object) -> bool:
    """Whether it is an integer; attacks have a start that is a word, averages a warm-up that is on or off."""
    return isinstance(value, int) and not isinstance(value, bool)


def _moved(value: Any, share: float, epochs: int) -> Any:
    """A component, or a tuple of them, with the epochs it names moved, and the rates of a policy adapted."""
    if isinstance(value, tuple):
        return tuple(_moved(each, share, epochs) for each in value)
    if not isinstance(value, Component):
        return value
    changes: dict[str, Any] = {}
    for name, each in vars(value).items():
        if name in BEGINS and _is_number(each) and each:
            changes[name] = max(1, min(round(each * share), epochs // 2))
        elif name in EPOCHS:
            latest = epochs // 2 if name == "stage_epochs" else epochs
            changes[name] = _rising(each, share, latest)
        elif name in RATES and isinstance(value, ClassPolicy) and share < 1:
            changes[name] = float(f"{each / share:.6g}")
        elif isinstance(each, Component) or (isinstance(each, tuple) and any(isinstance(x, Component) for x in each)):
            changes[name] = _moved(each, share, epochs)
    return replace(value, **changes) if changes else value


def _rising(numbers: tuple[int, ...], share: float, latest_first: int) -> tuple[int, ...]:
    """A rising list of epochs in proportion: still rising, from 1 on, the first no later than said."""
    moved: list[int] = []
    for number in numbers:
        place = max(round(number * share), moved[-1] + 1 if moved else 1)
        moved.append(place if moved else min(place, max(1, latest_first)))
    return tuple(moved)


def _growth(threat: ThreatModel, scale: float) -> float:
    """The factor of l_inf radii: as said, or less where the threat's would go beyond :data:`GREY`."""
    reach = threat.radius * max(threat.channels, default=1.0)
    return min(scale, GREY / reach) if reach else scale


def _one_channel(threat: ThreatModel) -> tuple[float, ...]:
    """Factors of channels for images that have one: their mean."""
    return (float(f"{fmean(threat.channels):.6g}"),) if threat.channels else ()


def _radii(value: Any, scale: float) -> Any:
    """The same with every radius in it multiplied."""
    if isinstance(value, Radius):
        return Radius(f"{value * scale:.6g}")
    if isinstance(value, tuple):
        return tuple(_radii(each, scale) for each in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changes = {key: _radii(each, scale) for key, each in vars(value).items()}
    return replace(value, **{key: each for key, each in changes.items() if each != getattr(value, key)})
