"""The contract of class policies."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from classwise import registry
from classwise.policies import KNOBS, ClassPolicy, Combined, State
from classwise.policies.base import REDUCERS
from classwise.testing import device
from classwise.testing.demand import BreachError, Demand, demand, examine, raised, require
from classwise.testing.drive import EPOCHS, Call, Drive, difference, drive, plain_call
from classwise.testing.finding import Finding
from classwise.testing.generators import seeded, undrawn
from classwise.testing.made import made, required
from classwise.testing.settings import SETTINGS, copied, examine_contract
from classwise.testing.statistics import UnmeasuredError, World
from classwise.training.observe import check_names

GROUPS = (2, 3, 10, 43)

_FEWER, _SHORT = 90, 12  # epochs, where the length does not matter
_CLOSE = 1e-6  # sums in another order differ by rounding, also in float32


@dataclass(frozen=True)
class Subject:
    """A policy and the group counts it is tried with."""

    policy: ClassPolicy
    groups: tuple[int, ...]

    def world(self, groups: int, **settings: Any) -> World:
        """What is measured of so many groups."""
        return World(groups, labels=self.policy.wants_labels(), **settings)

    def drive(self, groups: int, call: Call = plain_call, **settings: Any) -> Drive:
        """A training with so many groups: 300 epochs for the first number, 90 for the others, to save time."""
        epochs = EPOCHS if groups == self.groups[0] else _FEWER
        return drive(self.policy, self.world(groups, **settings), call, epochs)

    @cached_property
    def drives(self) -> dict[int, Drive]:
        """The usual course of a training, by number of groups."""
        return {groups: self._usual(groups) for groups in self.groups}

    def _usual(self, groups: int) -> Drive:
        try:
            with seeded(0):
                return self.drive(groups)
        except BreachError:
            raise
        except Exception as error:
            raise BreachError(f"with {groups} groups it raised {raised(error)}") from error


@demand(
    "known-needs",
    expected="needs names statistics that the loop can measure: train_, batch_ or validation_ and a measure",
    mend="write needs as a tuple of such names",
)
def known_needs(subject: Subject) -> None:
    """Whether the loop can measure what is asked for."""
    named = subject.policy.needs
    require(not isinstance(named, str), f"needs is the text {named!r}", f"write a tuple: needs = ({named!r},)")
    needs = subject.policy.observes()
    require(isinstance(needs, frozenset), f"observes() gives a {type(needs).__name__}", "let it give a frozenset")
    try:
        check_names(needs)
    except ValueError as error:
        seen, _, mend = str(error).partition(": ")
        raise BreachError(seen, mend) from error


@demand(
    "declarations",
    expected="reducer and steers name what the loop knows, and refusal() answers any objective with a sentence or ''",
    mend="",
)
def declarations(subject: Subject) -> None:
    """Whether what the policy says of itself is something the loop understands."""
    policy = subject.policy
    reducer, steered = policy.reduction(), policy.steered()
    require(reducer in (None, *REDUCERS), f"the reducer is {reducer!r}", f"use one of {', '.join(REDUCERS)}, or None")
    require(
        not isinstance(policy.steers, str),
        f"steers is the text {policy.steers!r}",
        "write a tuple: steers = ('radius',)",
    )
    unknown = sorted(set(steered) - KNOBS.keys())
    require(not unknown, f"steers names {', '.join(unknown)}", f"name knobs among {', '.join(KNOBS)}")
    for name in registry.names("objective"):
        objective = registry.get("objective", name)
        answer = "" if required(objective) else policy.refusal(objective())
        require(isinstance(answer, str), f"refusal() gives {answer!r} for {name}", "return '' where nothing is wrong")


@demand(
    "reads-what-it-needs",
    expected="each hook reads only statistics that needs names, at the time they exist, and the epoch",
    mend="",
    after=("known-needs",),
)
def reads_what_it_needs(subject: Subject) -> None:
    """Whether the hooks get along with what was asked for."""
    try:
        _ = subject.drives
    except UnmeasuredError:
        raise
    except BreachError:
        return  # an error of another sort, which "runs" tells


@demand(
    "runs",
    expected="init, on_start, on_epoch, on_batch and knobs work for any number of groups through up to 300 epochs",
    mend="make hooks that work on vectors (G,) of any length; groups need not be the labels, unless label_groups "
    "says so; one with a field per group is tried with the number that fits: check_policy(policy, groups=(3,))",
    after=("reads-what-it-needs",),
)
def runs(subject: Subject) -> None:
    """Whether a whole training goes through."""
    _ = subject.drives


@demand(
    "state",
    expected="the state is a dictionary of tensors that take no part in gradients, which is what a checkpoint can keep",
    mend="return dictionaries with names as keys and tensors as values; turn numbers into torch.tensor(number)",
    after=("runs",),
)
def state_of_tensors(subject: Subject) -> None:
    """Whether a checkpoint can hold the state."""
    for done in subject.drives.values():
        for state in done.states:
            require(isinstance(state, dict), f"a hook gave a {type(state).__name__} as the state")
            for key, value in state.items():
                require(isinstance(key, str), f"the key {key!r} is no text")
                require(isinstance(value, Tensor), f"state[{key!r}] is of type {type(value).__name__}")
                require(not value.requires_grad, f"state[{key!r}] requires a gradient", "detach() it")


@demand(
    "knobs",
    expected="every knob is known and has one finite value of at least 0 per group, shape (G,); steps is at most 1",
    mend=f"let knobs(state) give tensors (G,) named among {', '.join(KNOBS)}; a class without samples needs a value too",
    after=("state",),
)
def knobs_fit(subject: Subject) -> None:
    """Whether the loop can use the knobs."""
    for groups, done in subject.drives.items():
        for epoch, knobs in enumerate(done.knobs):
            require(isinstance(knobs, dict), f"knobs gives a {type(knobs).__name__}")
            _require_knobs(knobs, groups, f"in epoch {epoch}")


@demand(
    "batch-weights",
    expected="on_batch gives None or one finite weight of at least 0 per group, shape (G,), a constant, and the state",
    mend="return (weights, state) with weights neutral at 1, or (None, state)",
    after=("state",),
)
def batch_weights_fit(subject: Subject) -> None:
    """Whether the loop can use the batch weights."""
    for groups, done in subject.drives.items():
        for epoch, _, weights in done.weights:
            if weights is not None:
                _require_vector("the vector of batch weights", weights, groups, f"in epoch {epoch}")
                require(
                    not weights.requires_grad,
                    "the vector of batch weights requires a gradient",
                    "detach() them: the loss is weighted by constants",
                )


@demand(
    "steers",
    expected="steers, where it names knobs, names all that are ever set, so that one that nothing heeds is refused early",
    mend="add it to steers (or to what steered() returns); an empty steers leaves open which knobs are set",
    after=("knobs",),
)
def steers_what_it_says(subject: Subject) -> None:
    """Whether a knob is set that was not announced."""
    announced = subject.policy.steered()
    moved = {
        name
        for done in subject.drives.values()
        for knobs in done.knobs
        for name, values in knobs.items()
        if bool((values != 1).any())
    }
    silent = [] if _leaves_open(subject.policy) else sorted(moved - announced)
    require(not silent, f"it sets {', '.join(silent)}, and steers names {', '.join(sorted(announced))}")


@demand(
    "keeps-its-inputs",
    expected="hooks return new dictionaries and tensors, and leave the state and the statistics as they were",
    mend="copy before changing: {**state, 'weight': new}, and no in-place operations (+=, mul_, state[...] = …)",
    after=("state",),
)
def keeps_its_inputs(subject: Subject) -> None:
    """Whether a hook writes into what it is handed."""

    def watched(hook: str, method: Callable[..., Any], *arguments: Any) -> Any:
        given = [dict(each) for each in arguments if isinstance(each, dict)]
        before = [{key: value.clone() for key, value in each.items()} for each in given]
        answer = plain_call(hook, method, *arguments)
        mappings = [each for each in arguments if isinstance(each, dict)]
        for which, was, same, now in zip(("state", "statistics"), before, given, mappings, strict=False):
            text = difference(was, dict(now)) or ("" if all(same[key] is now[key] for key in same) else "other tensors")
            require(not text, f"{hook} changed the {which} it was given: {text}")
        return answer

    with seeded(0):
        drive(subject.policy, subject.world(subject.groups[0]), watched, epochs=_SHORT)


@demand(
    "repeatable",
    expected="the same state and statistics give the same answer: no randomness and no memory outside the state",
    mend="keep everything that must be remembered in the state, which is saved with the run, and draw no random numbers",
    after=("keeps-its-inputs",),
)
def repeatable(subject: Subject) -> None:
    """Whether a hook called twice gives two answers, or draws random numbers."""

    def twice(hook: str, method: Callable[..., Any], *arguments: Any) -> Any:
        answer = undrawn(hook, lambda: method(*arguments))
        with seeded(1):
            text = difference(answer, method(*arguments))
        require(not text, f"{hook}, called twice with the same arguments, gave {text}")
        return answer

    groups = subject.groups[0]
    drive(subject.policy, subject.world(groups), twice, epochs=_SHORT)
    again = subject.drive(groups)
    text = difference(_seen(subject.drives[groups]), _seen(again))
    require(not text, f"a second training with the same statistics went another way: {text}")


@demand(
    "resumable",
    expected="a copy made from the configuration goes on from a saved state exactly as the original does",
    mend="keep everything that must be remembered in the state, none of it on the policy or its class",
    after=("repeatable",),
)
def resumable(subject: Subject) -> None:
    """Whether saving, loading and going on changes anything."""
    groups = subject.groups[-1]
    whole, world = subject.drives[groups], subject.world(groups)
    sound = all(finding.passed for finding in examine(subject.policy, SETTINGS))
    for begin in (1, 75):
        file = io.BytesIO()
        torch.save(whole.states[begin], file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        copy = copied(subject.policy) if sound else subject.policy
        rest = drive(copy, world, epochs=len(whole.states) - 1, begin=begin, state=state)
        text = difference(whole.knobs[begin:], rest.knobs) or difference(whole.states[begin:], rest.states)
        require(not text, f"resumed after {begin} epochs it went another way: {text}")


@demand(
    "permutes",
    expected="permuting the groups permutes the knobs and the batch weights, and does nothing else",
    mend="treat all groups alike: no index and no position may matter, and sums run over all groups",
    after=("repeatable", "knobs", "batch-weights"),
)
def permutes(subject: Subject) -> None:
    """Whether the order of the groups matters."""
    for groups in subject.groups:
        order = (
            torch.randperm(groups, generator=torch.Generator().manual_seed(4)) if groups > 2 else torch.tensor([1, 0])
        )
        mixed = subject.drive(groups, order=tuple(order.tolist()))
        for epoch, (one, other) in enumerate(zip(subject.drives[groups].knobs, mixed.knobs, strict=True)):
            text = difference({name: values[order] for name, values in one.items()}, other, _CLOSE)
            require(
                not text, f"in epoch {epoch}, with {groups} groups in another order, the knobs are not the same: {text}"
            )
        for one_batch, other_batch in zip(subject.drives[groups].weights, mixed.weights, strict=True):
            one_weights, other_weights = one_batch[2], other_batch[2]
            expected = one_weights if one_weights is None else one_weights[order]
            text = difference(expected, other_weights, _CLOSE)
            require(not text, f"with {groups} groups in another order the batch weights are not the same: {text}")


@demand(
    "groups-without-samples",
    expected="groups without samples (count 0; their means are 0, validation accuracies nan) leave every value defined",
    mend="look at train_count, batch_count or validation_count, and keep the old value of a group that has none",
    after=("knobs", "batch-weights"),
)
def defined_without_samples(subject: Subject) -> None:
    """Whether an absent group makes values undefined."""
    _require_defined(subject, "absent")


@demand(
    "extreme-accuracies",
    expected="values stay defined where no group has anything right, and where all have everything right",
    mend="add a smoothing to denominators, or decide what holds where a sum is 0",
    after=("knobs", "batch-weights"),
)
def defined_at_extremes(subject: Subject) -> None:
    """Whether the first or the last epochs of a training make values undefined."""
    _require_defined(subject, "hopeless")
    _require_defined(subject, "perfect")


@demand(
    "stays-on-the-device",
    expected="on_batch computes where the batch statistics are, and reads no value of theirs back",
    mend=f"{device.MEND}; int(stats['epoch']) is free",
    after=("batch-weights",),
)
def stays_on_the_device(subject: Subject) -> None:
    """Whether on_batch would mix devices, or wait for one."""
    groups = subject.groups[-1]
    needs, world = subject.policy.observes(), subject.world(groups)
    for epoch in (0, len(subject.drives[groups].states) - 2):
        stats, state = world.measure("on_batch", needs, epoch), subject.drives[groups].states[epoch]
        for name in stats.keys() - {"epoch"}:
            stats[name] = stats[name].to(device.DEVICE)
        device.stays("", lambda state=state, stats=stats: subject.policy.on_batch(state, stats))  # type: ignore[misc]


@demand(
    "notes",
    expected="notes(state) gives tensors of one value per group, shape (G,), and finished(state) True or False",
    mend="return a dictionary of vectors (G,) from notes, and bool(…) from finished",
    after=("state",),
)
def notes_fit(subject: Subject) -> None:
    """Whether the history can keep the notes."""
    for groups, done in subject.drives.items():
        for state in (done.states[0], done.states[-1]):
            notes, finished = subject.policy.notes(state), subject.policy.finished(state)
            require(isinstance(notes, dict), f"notes gives a {type(notes).__name__}")
            for name, values in notes.items():
                shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                require(shape == (groups,), f"the note {name!r} has shape {shape} for {groups} groups")
            require(isinstance(finished, bool), f"finished gives a {type(finished).__name__}")


DEMANDS: tuple[Demand[Subject], ...] = (
    known_needs,
    declarations,
    reads_what_it_needs,
    runs,
    state_of_tensors,
    knobs_fit,
    batch_weights_fit,
    steers_what_it_says,
    keeps_its_inputs,
    repeatable,
    resumable,
    permutes,
    defined_without_samples,
    defined_at_extremes,
    stays_on_the_device,
    notes_fit,
)
"""Demands on a policy, beyond those on every component."""


def check_policy(policy: ClassPolicy | type[ClassPolicy] | str, groups: Sequence[int] = GROUPS) -> tuple[Finding, ...]:
    """Check a class policy against its contract; nothing is trained.

    Its hooks are called as the loop calls them, through up to 300 epochs, with made-up statistics of exactly what it needs.

    Args:
        policy: A policy, or the class or registered name of one that can be made without arguments.
        groups: Numbers of groups to try; give the only one that fits where a field has a value for each group.

    Returns:
        One finding per check.

    Raises:
        ValueError: It is no policy, or cannot be made without arguments.
    """
    subject = made(policy, "policy")
    return examine_contract(subject, Subject(subject, tuple(groups)), DEMANDS)


def _leaves_open(policy: ClassPolicy) -> bool:
    """Whether a policy, or one of those it consists of, names no knobs beforehand."""
    return any(map(_leaves_open, policy.members)) if isinstance(policy, Combined) else not policy.steered()


def _require_defined(subject: Subject, course: Any) -> None:
    for groups in subject.groups:
        with seeded(0):
            done = subject.drive(groups, course=course)
        for epoch, knobs in enumerate(done.knobs):
            _require_knobs(knobs, groups, f"in epoch {epoch}")
        for epoch, _, weights in done.weights:
            if weights is not None:
                _require_vector("the vector of batch weights", weights, groups, f"in epoch {epoch}")


def _require_knobs(knobs: State, groups: int, when: str) -> None:
    for name, values in knobs.items():
        require(name in KNOBS, f"it sets {name!r}, which is no knob")
        _require_vector(f"the knob {name}", values, groups, when)
        require(not values.requires_grad, f"the knob {name} requires a gradient", "detach() it")
        if name == "steps":
            require(float(values.max()) <= 1, f"steps is {float(values.max()):.4g} {when}")


def _require_vector(what: str, values: Any, groups: int, when: str) -> None:
    require(isinstance(values, Tensor), f"{what} is of type {type(values).__name__}")
    shape = tuple(values.shape)
    require(shape == (groups,), f"with {groups} groups {when}, {what} has shape {shape} instead of ({groups},)")
    bad = ~(values.isfinite() & (values >= 0))
    if bool(bad.any()):
        which = int(bad.nonzero()[0, 0])
        raise BreachError(f"with {groups} groups {when}, {what} is {float(values[which]):.4g} for group {which}")


def _seen(done: Drive) -> list[Any]:
    return [done.knobs, [weights for _, _, weights in done.weights], done.states]
