"""Repairs with one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import random

import torch

from classwise import config, register
from classwise.repair import Fit, Repair

FORGOTTEN = {"calls": 0}


def two(self):
    """Attacks of a repair that looks at no more than two networks."""
    return 2


def as_it_was(self, bench, weights, first):
    """Returns the network as it was."""
    table = bench.table(weights)
    return Fit(weights, table, table, {"nothing": [0.0]}, 1)


def shifted(weights, shift):
    """Weights by which the first class is answered more often."""
    name = list(weights)[-1]
    bias = weights[name].clone()
    bias[0] += shift
    return {**weights, name: bias}


@register("repair", "fault-half-a-pass")
@config
class HalfAPass(Repair):
    """Half a pass.

    check: declarations
    seen: passes() is 0.5
    mend: the largest number of attacks
    """

    fit = as_it_was

    def passes(self):
        return 0.5


@register("repair", "fault-a-first-that-is-not-there")
@config
class AFirstThatIsNotThere(Repair):
    """A first that is not there.

    check: runs
    seen: it raised KeyError
    mend: set needs_start = True
    """

    passes = two

    def fit(self, bench, weights, first):
        return as_it_was(self, bench, {name: first[name] for name in weights}, first)


@register("repair", "fault-only-the-change")
@config
class OnlyTheChange(Repair):
    """Only the change.

    check: whole
    seen: is missing
    mend: {**weights, name: changed}
    """

    passes = two

    def fit(self, bench, weights, first):
        table = bench.table(weights)
        return Fit({"4.bias": weights["4.bias"]}, table, table, {}, 1)


@register("repair", "fault-figures-of-another")
@config
class FiguresOfAnother(Repair):
    """Figures of another.

    check: own-figures
    seen: measured anew, after differs
    """

    passes = two

    def fit(self, bench, weights, first):
        before, after = bench.table(weights), bench.table(shifted(weights, 2.0))
        return Fit(weights, before, after, {}, 2)


@register("repair", "fault-harm")
@config
class Harm(Repair):
    """Harm.

    check: never-worse
    seen: the score fell from
    mend: wins ties
    """

    passes = two

    def fit(self, bench, weights, first):
        worse = shifted(weights, -20.0)
        return Fit(worse, bench.table(weights), bench.table(worse), {}, 2)


@register("repair", "fault-unbounded")
@config
class Unbounded(Repair):
    """Unbounded.

    check: heeds-the-bound
    seen: it returned others, which are not admitted
    mend: rank candidates by bench.score(table)
    """

    passes = two

    def fit(self, bench, weights, first):
        better = shifted(weights, 2.0)
        return Fit(better, bench.table(weights), bench.table(better), {}, 2)


@register("repair", "fault-a-tensor")
@config
class ATensor(Repair):
    """A tensor.

    check: record
    seen: fitted has 'bias': Tensor
    mend: lists of float, not tensors
    """

    passes = two

    def fit(self, bench, weights, first):
        table = bench.table(weights)
        return Fit(weights, table, table, {"bias": torch.zeros(3)}, 1)


@register("repair", "fault-more-attacks")
@config
class MoreAttacks(Repair):
    """More attacks.

    check: record
    seen: it attacked all images 3 times, and passes() is 2
    """

    passes = two

    def fit(self, bench, weights, first):
        bench.table(weights)
        bench.table(weights)
        return as_it_was(self, bench, weights, first)


@register("repair", "fault-in-place")
@config
class InPlace(Repair):
    """In place.

    check: keeps-its-inputs
    seen: changed weights['4.bias']
    """

    passes = two

    def fit(self, bench, weights, first):
        weights["4.bias"] += 1e-6
        return as_it_was(self, bench, weights, first)


@register("repair", "fault-draws")
@config
class Draws(Repair):
    """Draws.

    check: repeatable
    seen: drew from Python's global random generator
    """

    passes = two

    def fit(self, bench, weights, first):
        random.random()
        return as_it_was(self, bench, weights, first)


@register("repair", "fault-remembers")
@config
class Remembers(Repair):
    """Remembers.

    check: repeatable
    seen: made twice it told
    """

    passes = two

    def fit(self, bench, weights, first):
        found = as_it_was(self, bench, weights, first)
        FORGOTTEN["calls"] += 1
        return Fit(found.weights, found.before, found.after, {"calls": [float(FORGOTTEN["calls"])]}, 1)
