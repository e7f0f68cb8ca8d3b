"""The contract of weight averages."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from classwise.averaging import Averaging
from classwise.averaging.base import Signal, Weights
from classwise.testing.demand import BreachError, Demand, demand, examine, raised, require
from classwise.testing.drive import difference
from classwise.testing.finding import Finding
from classwise.testing.generators import MEND, seeded, undrawn
from classwise.testing.made import made
from classwise.testing.settings import SETTINGS, copied, examine_contract
from classwise.testing.statistics import Course, World
from classwise.testing.toys import images, network
from classwise.testing.untouched import tensors_kept
from classwise.training.observe import VALIDATION, check_names

UPDATES = 120
_GROUPS = (2, 10)
_CLOSE = 1e-6


@dataclass(frozen=True)
class Subject:
    """An average under examination."""

    averaging: Averaging

    @cached_property
    def model(self) -> Weights:
        """State dictionary of a network with BatchNorm: float32 weights and statistics, an int64 counter."""
        return _state(0)

    def signal(self, update: int, groups: int = 10, course: Course = "usual") -> Signal:
        """What the loop hands to an update: no statistics where the unit is a step."""
        per_epoch = self.averaging.unit == "epoch"
        epoch = update if per_epoch else update // 10
        needs = self.averaging.needs if per_epoch else ()
        measured = World(groups, course=course).measure("update", needs, epoch)
        measured["step"] = torch.tensor(10 * update + 9 if per_epoch else update)
        return measured

    @cached_property
    def averages(self) -> list[Weights]:
        """The average before the first and after each of 120 updates, of weights that change."""
        with seeded(0):
            found = [self.averaging.begin(_state(0))]
            for update in range(UPDATES):
                groups = _GROUPS[update % len(_GROUPS)]
                found.append(self.averaging.update(found[-1], _state(update + 1), self.signal(update, groups)))
        return found


@demand(
    "declarations",
    expected="unit is 'epoch' or 'step', and needs names validation statistics, for 'epoch' only",
    mend="",
)
def declarations(subject: Subject) -> None:
    """Whether what the average says of itself is something the loop understands."""
    unit, needs = subject.averaging.unit, subject.averaging.needs
    require(unit in ("epoch", "step"), f"unit is {unit!r}", "set unit to 'epoch' or 'step'")
    require(not isinstance(needs, str), f"needs is the text {needs!r}", "write a tuple: needs = ('validation_robust',)")
    known = ", ".join(f"validation_{each}" for each in (*VALIDATION, "count"))
    other = [each for each in needs if not each.startswith("validation_")]
    require(not other, f"needs names {', '.join(other)}", f"a gate may look at {known}")
    try:
        check_names(needs)
    except ValueError as error:
        raise BreachError(str(error).partition(": ")[0], f"a gate may look at {known}") from error
    require(
        unit == "epoch" or not needs, "needs is not empty", "an average per step sees no statistics: set unit = 'epoch'"
    )


@demand(
    "runs",
    expected="begin and update give weights through 120 updates, and update reads only 'epoch', 'step' and what needs names",
    mend="return a dictionary of tensors, or {} as long as there is no average",
    after=("declarations",),
)
def runs(subject: Subject) -> None:
    """Whether a whole training goes through."""
    try:
        averages = subject.averages
    except BreachError:
        raise
    except Exception as error:
        raise BreachError(f"it raised {raised(error)}") from error
    for average in averages:
        require(isinstance(average, dict), f"it gave a {type(average).__name__}")


@demand(
    "whole",
    expected="an average is empty, or has every entry of the model, buffers included, with its shape and type, and constant",
    mend="go through model.items(): average what is floating point, and copy the rest, such as BatchNorm's counter",
    after=("runs",),
)
def whole(subject: Subject) -> None:
    """Whether a network could take the average as its weights."""
    for update, average in enumerate(subject.averages):
        if not average:
            continue
        missing, more = sorted(subject.model.keys() - average.keys()), sorted(average.keys() - subject.model.keys())
        require(not missing, f"after {update} updates {', '.join(missing)} is missing")
        require(not more, f"after {update} updates there is {', '.join(more)}, which the model has not")
        for name, value in average.items():
            like = subject.model[name]
            fits = isinstance(value, Tensor) and value.shape == like.shape and value.dtype == like.dtype
            words = f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            require(fits, f"after {update} updates {name} is {words} instead of {tuple(like.shape)} of {like.dtype}")
            require(not value.requires_grad, f"{name} requires a gradient", "detach() it")
            require(bool(value.isfinite().all()), f"after {update} updates {name} is not finite")


@demand(
    "stays-once-begun",
    expected="an average that has begun stays",
    mend="return the old average where an update is not admitted, {} only before the first",
    after=("whole",),
)
def stays_once_begun(subject: Subject) -> None:
    """Whether an average vanishes."""
    begun = [bool(average) for average in subject.averages]
    first = begun.index(True) if any(begun) else len(begun)
    require(
        all(begun[first:]),
        f"after {first + begun[first:].index(False) if False in begun[first:] else 0} updates it is {{}}",
    )


_NEW = "make new tensors: value.detach().clone() in place of value, average.lerp(…) in place of average.lerp_(…)"


@demand(
    "keeps-its-inputs",
    expected="neither the live weights nor the old average change, and the new average shares no memory with the live weights",
    mend=_NEW,
    after=("runs",),
)
def keeps_its_inputs(subject: Subject) -> None:
    """Whether it writes into what it is handed, or would follow the live weights."""
    live = _state(0)
    with tensors_kept("begin", _named("the live", live), _NEW):
        average = subject.averaging.begin(live)
    _require_apart(live, average, "begin")
    for update in range(6):
        live = _state(update + 1)
        with tensors_kept("update", _named("the live", live) | _named("the old average's", average), _NEW):
            keys = set(average), set(live)
            made_anew = subject.averaging.update(average, live, subject.signal(update))
        require(keys == (set(average), set(live)), "update added entries to a dictionary it was given")
        _require_apart(live, made_anew, "update")
        average = made_anew


@demand(
    "repeatable",
    expected="the same weights and signal give the same average: no randomness, and no memory outside the average",
    mend=MEND,
    after=("keeps-its-inputs",),
)
def repeatable(subject: Subject) -> None:
    """Whether an update made twice gives two averages."""
    for update in (0, 1, UPDATES - 1):
        old, live = subject.averages[update], _state(update + 1)

        def once(old: Weights = old, live: Weights = live, update: int = update) -> Weights:
            return subject.averaging.update(old, live, subject.signal(update, _GROUPS[update % 2]))

        first = undrawn("update", once)
        with seeded(1):
            text = difference(first, once()) or difference(first, subject.averages[update + 1])
        require(not text, f"update, made twice, gave {text}")


@demand(
    "resumable",
    expected="an average survives being saved, and a copy made from the configuration goes on with it as the original does",
    mend="keep everything that must be remembered in the average, none of it on the component",
    after=("repeatable", "whole"),
)
def resumable(subject: Subject) -> None:
    """Whether saving and loading changes anything."""
    file = io.BytesIO()
    torch.save(subject.averages[60], file)
    file.seek(0)
    average = torch.load(file, weights_only=True)
    sound = all(finding.passed for finding in examine(subject.averaging, SETTINGS))
    copy = copied(subject.averaging) if sound else subject.averaging
    for update in range(60, 63):
        average = copy.update(average, _state(update + 1), subject.signal(update, _GROUPS[update % 2]))
        text = difference(subject.averages[update + 1], average)
        require(not text, f"resumed after 60 updates it went another way: {text}")


@demand(
    "average-of-equals",
    expected="where the weights never change, the average is these weights",
    mend="let the shares of old and new add up to 1, and start from a copy of the weights, not from zeros",
    after=("whole",),
)
def average_of_equals(subject: Subject) -> None:
    """Whether the shares add up to one."""
    average, live = subject.averaging.begin(_state(3)), _state(3)
    for update in range(UPDATES):
        average = subject.averaging.update(average, live, subject.signal(update))
        if average:
            text = difference(live, average, _CLOSE)
            require(not text, f"after {update + 1} updates by the same weights the average is another: {text}")


@demand(
    "groups-without-samples",
    expected="classes without validation images (count 0, accuracies nan) do no harm",
    mend="leave them out: robust[count > 0]",
    after=("whole",),
)
def without_samples(subject: Subject) -> None:
    """Whether a gate copes with an absent class."""
    average = subject.averaging.begin(_state(0))
    for update in range(UPDATES):
        average = subject.averaging.update(average, _state(update + 1), subject.signal(update, course="absent"))
    if subject.averages[-1]:
        require(bool(average), "the gate never opened, and with all classes there it did")
    for name, value in average.items():
        require(bool(value.isfinite().all()), f"{name} is not finite")


DEMANDS: tuple[Demand[Subject], ...] = (
    declarations,
    runs,
    whole,
    stays_once_begun,
    keeps_its_inputs,
    repeatable,
    resumable,
    average_of_equals,
    without_samples,
)
"""Demands on an average, beyond those on every component."""


def check_averaging(averaging: Averaging | type[Averaging] | str) -> tuple[Finding, ...]:
    """Check a weight average against its contract; nothing is trained.

    Args:
        averaging: An average, or the class or registered name of one that can be made without arguments.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no average, or cannot be made without arguments.
    """
    subject = made(averaging, "averaging")
    return examine_contract(subject, Subject(subject), DEMANDS)


def _state(update: int) -> Weights:
    """Weights after some updates: the same network with other numbers, as its state dictionary (memory shared)."""
    net = network(4).float()
    generator = torch.Generator().manual_seed(update)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        net.train()(images(4, 4, seed=update)[0].float())
    return dict(net.state_dict())


def _named(whose: str, weights: Weights) -> dict[str, Tensor]:
    return {f"{whose} {name}": value for name, value in weights.items()}


def _require_apart(live: Weights, average: Weights, what: str) -> None:
    before = {name: value.clone() for name, value in average.items()}
    for value in live.values():
        value.add_(1)
    text = difference(before, dict(average))
    require(not text, f"the average that {what} gave moves with the live weights: {text}")
    for value in live.values():
        value.sub_(1)
