"""The contract of repairs without training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from classwise.attacks import PGD
from classwise.averaging.base import Weights
from classwise.data import ClassData
from classwise.evaluation.collect import Evaluator
from classwise.metrics import ClassTable
from classwise.repair import Bench, Fit, Repair
from classwise.testing.demand import BreachError, Demand, demand, raised, require
from classwise.testing.drive import difference
from classwise.testing.finding import Finding
from classwise.testing.generators import MEND, seeded, undrawn
from classwise.testing.made import made
from classwise.testing.settings import examine_contract
from classwise.testing.toys import images, network
from classwise.testing.untouched import tensors_kept
from classwise.threat import linf

CLASSES = 3
_COLUMNS = ("clean", "robust")
_COPIES = "make new weights, {**weights, name: changed}; leave what is handed in as it was"


@dataclass
class Trial:
    """One fit of a repair: what it is handed, and what it found.

    Args:
        repair: The repair.
        bound: Whether the bench admits nothing but the table of the network as it was.
    """

    repair: Repair
    bound: bool = False
    attacks: int = field(default=0, init=False)

    @cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        """Images and labels of three classes."""
        x, y = images(48, CLASSES, seed=3)
        return x.float(), y

    @cached_property
    def bench(self) -> Bench:
        """Those as validation images, and a network to try weights on."""
        data = ClassData(*self.images, tuple(f"class {i}" for i in range(CLASSES)))
        attack = PGD(steps=2, relative_step=0.5, stop_when_fooled=True)
        evaluator = Evaluator((linf("0.05"),), (attack,), batch_size=48)
        return Bench(_network(), data, evaluator, self._advance, self._admits if self.bound else lambda _: True)

    @cached_property
    def weights(self) -> Weights:
        """The network as training left it."""
        return _weights(shift=-2.0)

    @cached_property
    def first(self) -> Weights:
        """The network before training, for a repair that says it looks at it."""
        return _weights(shift=0.5) if self.repair.needs_start else {}

    @cached_property
    def before(self) -> ClassTable:
        """The table of the network as training left it, measured apart."""
        return self.measured(self.weights)

    @cached_property
    def found(self) -> Fit:
        """What the repair found, with the global generators at a fixed seed."""
        with seeded(0):
            self.repair.refuse(self.bench.network, self.bench)
            return self.repair.fit(self.bench, self.weights, self.first)

    def measured(self, weights: Weights) -> ClassTable:
        """The table of some weights, measured apart."""
        apart = Trial(self.repair).bench
        return apart.table(weights)

    def _admits(self, table: ClassTable) -> bool:
        return not _table_difference(self.before, table)

    def _advance(self, units: int = 1, note: str = "") -> None:
        self.attacks += units


@dataclass(frozen=True)
class Subject:
    """A repair under examination."""

    repair: Repair

    @cached_property
    def trial(self) -> Trial:
        """A fit without a bound."""
        return Trial(self.repair)


@demand(
    "declarations",
    expected="needs_start is True or False, and passes() is a whole number, at least 0",
    mend="return the largest number of attacks on all validation images that fit makes, for an estimate of the time",
)
def declarations(subject: Subject) -> None:
    """Whether what the repair says of itself can be used."""
    repair = subject.repair
    require(isinstance(repair.needs_start, bool), f"needs_start is {repair.needs_start!r}", "set it to True or False")
    passes = undrawn("passes", repair.passes)
    whole = isinstance(passes, int) and not isinstance(passes, bool)
    require(whole and passes >= 0, f"passes() is {passes!r}")


@demand(
    "runs",
    expected="fit gives a Fit, also where first is {} because needs_start is not set",
    mend="return classwise.repair.Fit(weights, before, after, fitted, tried)",
    after=("declarations",),
)
def runs(subject: Subject) -> None:
    """Whether a search goes through."""
    try:
        found = subject.trial.found
    except Exception as error:
        needs = "set needs_start = True where fit reads first" if isinstance(error, KeyError) else ""
        raise BreachError(f"it raised {raised(error)}", needs) from error
    require(isinstance(found, Fit), f"it gave a {type(found).__name__}")


@demand(
    "whole",
    expected="the weights have every entry of the network, buffers included, with its shape and type, finite and constant",
    mend="begin with a copy of weights, {**weights, name: changed}, and change what is to be changed with .to(its dtype)",
    after=("runs",),
)
def whole(subject: Subject) -> None:
    """Whether the network could take what was found."""
    given, found = subject.trial.weights, subject.trial.found.weights
    missing, more = sorted(given.keys() - found.keys()), sorted(found.keys() - given.keys())
    require(not missing, f"{', '.join(missing)} is missing")
    require(not more, f"there is {', '.join(more)}, which the network has not")
    for name, value in found.items():
        like = given[name]
        fits = isinstance(value, Tensor) and value.shape == like.shape and value.dtype == like.dtype
        words = f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        require(fits, f"{name} is {words} instead of {tuple(like.shape)} of {like.dtype}")
        require(bool(value.isfinite().all()), f"{name} is not finite")
        require(not value.requires_grad, f"{name} requires a gradient", "detach() it")


@demand(
    "own-figures",
    expected="before is the table of the network as it was, after that of the weights that are returned, each attacked itself",
    mend="measure every candidate by bench.table(its weights), and return the table that belongs to the weights",
    after=("whole",),
)
def own_figures(subject: Subject) -> None:
    """Whether the tables are of the weights they are said to be of."""
    trial = subject.trial
    found = trial.found
    for name, table, weights in (("before", found.before, trial.weights), ("after", found.after, found.weights)):
        require(isinstance(table, ClassTable), f"{name} is a {type(table).__name__}")
        text = _table_difference(trial.measured(weights), table)
        require(not text, f"measured anew, {name} differs: {text}")


@demand(
    "never-worse",
    expected="what is returned scores at least what the network did as it was, and where it scores the same it is that network",
    mend="let the network as it was be a candidate that wins ties, and rank candidates by bench.score",
    after=("own-figures",),
)
def never_worse(subject: Subject) -> None:
    """Whether harm is handed out."""
    trial, found = subject.trial, subject.trial.found
    before, after = found.scores["before"], found.scores["after"]
    require(after >= before, f"the score fell from {before:.6g} to {after:.6g}")
    text = "" if after > before else difference(trial.weights, found.weights)
    require(not text, f"the score stayed at {before:.6g}, and yet the weights are others: {text}")


@demand(
    "heeds-the-bound",
    expected="where the bench admits nothing but the network as it was, that is what is returned",
    mend="rank candidates by bench.score(table), not by classwise.repair.bench.score(table)",
    after=("never-worse",),
)
def heeds_the_bound(subject: Subject) -> None:
    """Whether it returns what may not be handed out."""
    trial = Trial(subject.repair, bound=True)
    text = difference(trial.weights, trial.found.weights)
    require(not text or trial._admits(trial.found.after), f"it returned others, which are not admitted: {text}")


@demand(
    "record",
    expected="fitted maps names to lists of finite numbers, tried counts candidates, passes() is no fewer than the attacks made",
    mend="return lists of float, not tensors, and let passes() count every bench.table and every bench.logits with attacked",
    after=("runs",),
)
def record(subject: Subject) -> None:
    """Whether what was found can be kept with a run."""
    trial, found = subject.trial, subject.trial.found
    for name, values in found.fitted.items():
        plain = isinstance(values, list) and all(isinstance(each, float | int) for each in values)
        require(isinstance(name, str) and plain, f"fitted has {name!r}: {type(values).__name__}")
        require(all(math.isfinite(each) for each in values), f"fitted {name!r} is not finite")
    counted = isinstance(found.tried, int) and found.tried >= 1
    require(counted, f"tried is {found.tried!r}", "count the network as it was, too")
    passes = subject.repair.passes()
    seen = f"it attacked all images {trial.attacks} times, and passes() is {passes}"
    require(trial.attacks <= max(passes, 1), seen)  # to look at the network as it was is free


@demand(
    "keeps-its-inputs",
    expected="neither the weights that are handed in nor the images change",
    mend=_COPIES,
    after=("runs",),
)
def keeps_its_inputs(subject: Subject) -> None:
    """Whether it writes into what it is handed."""
    trial = Trial(subject.repair)
    handed = {
        **{f"weights[{name!r}]": value for name, value in trial.weights.items()},
        **{f"first[{name!r}]": value for name, value in trial.first.items()},
        **dict(zip(("the images", "the labels"), trial.images, strict=True)),
    }
    names = set(trial.weights)
    with tensors_kept("fit", handed, _COPIES):
        assert trial.found is not None
    require(set(trial.weights) == names, "fit added entries to weights", _COPIES)
    refusing = Trial(subject.repair).bench
    with tensors_kept("refuse", dict(refusing.network.state_dict()), "only look at the network"):
        subject.repair.refuse(refusing.network, refusing)


@demand(
    "repeatable",
    expected="the same network and images give the same result: no randomness, and no memory outside what is handed in",
    mend=MEND,
    after=("keeps-its-inputs", "whole", "record"),
)
def repeatable(subject: Subject) -> None:
    """Whether a fit made twice gives two results, as it would in a run that was killed."""
    first = subject.trial.found
    trial = Trial(subject.repair)
    bench, weights, start = trial.bench, trial.weights, trial.first
    again = undrawn("fit", lambda: subject.repair.fit(bench, weights, start))
    text = difference(first.weights, again.weights)
    require(not text, f"made twice it gave other weights: {text}")
    require(
        (first.fitted, first.tried) == (again.fitted, again.tried),
        f"made twice it told {dict(first.fitted)}, {first.tried} tried, and {dict(again.fitted)}, {again.tried} tried",
    )


DEMANDS: tuple[Demand[Subject], ...] = (
    declarations,
    runs,
    whole,
    own_figures,
    never_worse,
    heeds_the_bound,
    record,
    keeps_its_inputs,
    repeatable,
)
"""Demands on a repair, beyond those on every component."""


def check_repair(repair: Repair | type[Repair] | str) -> tuple[Finding, ...]:
    """Check a repair without training against its contract, on a small network and few images.

    Args:
        repair: A repair, or the class or registered name of one that can be made without arguments.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no repair, or cannot be made without arguments.
    """
    subject = made(repair, "repair")
    return examine_contract(subject, Subject(subject), DEMANDS)


def _network() -> nn.Module:
    return network(CLASSES).float()


def _weights(shift: float) -> Weights:
    """Weights of the toy network, by which the first class is answered more often or more rarely."""
    weights = {name: value.detach().clone() for name, value in _network().state_dict().items()}
    bias = weights[list(weights)[-1]]
    bias[0] += shift
    return weights


def _table_difference(one: ClassTable, other: ClassTable) -> str:
    """The first column in which two tables differ; empty where they are equal."""
    for column in ("n", *_COLUMNS):
        mine, theirs = getattr(one, column), getattr(other, column)
        if not np.array_equal(mine, theirs, equal_nan=column != "n"):
            return f"{column} is {theirs.tolist()} instead of {mine.tolist()}"
    return ""
