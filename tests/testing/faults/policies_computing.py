"""Policies that compute something wrong; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import random

import numpy as np
import torch

from classwise import ClassPolicy, config, mean_one, register

FORGOTTEN = {"calls": 0}


@register("policy", "fault-made-for-ten-groups")
@config
class MadeForTenGroups(ClassPolicy):
    """Made for ten groups.

    check: runs
    seen: with 2 groups it raised RuntimeError
    mend: vectors (G,) of any length
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"weight": torch.ones(10) + robust}


@register("policy", "fault-groups-taken-for-labels")
@config
class GroupsTakenForLabels(ClassPolicy):
    """Groups taken for labels.

    check: runs
    seen: policies_computing.py, line
    mend: unless label_groups says so
    """

    needs = ("train_probabilities",)

    def on_epoch(self, state, stats):
        p = stats["train_probabilities"]
        return {"weight": (p + p.T).sum(1)}


@register("policy", "fault-weights-without-a-state")
@config
class WeightsWithoutAState(ClassPolicy):
    """Weights without a state.

    check: runs
    seen: not enough values to unpack
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return [1 + margin.abs()]


@register("policy", "fault-the-old-state-is-changed")
@config
class TheOldStateIsChanged(ClassPolicy):
    """The old state is changed.

    check: keeps-its-inputs
    seen: on_epoch changed the state it was given: 'weight'
    mend: {**state
    """

    def init(self, groups):
        return {"weight": torch.ones(groups)}

    def on_epoch(self, state, stats):
        state["weight"].mul_(1.01)
        return dict(state)


@register("policy", "fault-the-old-dictionary-is-changed")
@config
class TheOldDictionaryIsChanged(ClassPolicy):
    """The old dictionary is changed.

    check: keeps-its-inputs
    seen: on_epoch changed the state it was given
    mend: {**state
    """

    def init(self, groups):
        return {"weight": torch.ones(groups)}

    def on_epoch(self, state, stats):
        state["weight"] = state["weight"] * 1.01
        return state


@register("policy", "fault-the-statistics-are-changed")
@config
class TheStatisticsAreChanged(ClassPolicy):
    """The statistics are changed.

    check: keeps-its-inputs
    seen: on_epoch changed the statistics it was given: 'train_robust'
    mend: in-place
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"weight": robust.add_(0.1)}


@register("policy", "fault-random-weights")
@config
class RandomWeights(ClassPolicy):
    """Random weights.

    check: repeatable
    seen: on_epoch drew from torch's global random generator
    mend: draw from what is handed in
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"weight": 1 + torch.rand_like(robust)}


@register("policy", "fault-random-weights-of-numpy")
@config
class RandomWeightsOfNumpy(ClassPolicy):
    """Random weights of numpy.

    check: repeatable
    seen: on_batch drew from numpy's global random generator
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return 1 + np.random.rand() + 0 * margin, state  # noqa: NPY002


@register("policy", "fault-random-weights-of-python")
@config
class RandomWeightsOfPython(ClassPolicy):
    """Random weights of Python.

    check: repeatable
    seen: drew from Python's global random generator
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return 1 + random.random() + 0 * margin, state


@register("policy", "fault-a-counter")
@config
class ACounter(ClassPolicy):
    """A counter.

    check: repeatable
    seen: called twice with the same arguments
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        FORGOTTEN["calls"] += 1
        return {"weight": FORGOTTEN["calls"] + 0 * robust}


@register("policy", "fault-memory-on-the-object")
@config
class MemoryOnTheObject(ClassPolicy):
    """Memory on the object.

    check: resumable
    seen: resumed after 1 epochs
    mend: in the state
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        if not hasattr(self, "first"):
            object.__setattr__(self, "first", robust.mean())
        return {"weight": self.first + 0 * robust}


@register("policy", "fault-one-group-is-dearer-than-others")
@config
class OneGroupIsDearerThanOthers(ClassPolicy):
    """One group is dearer than others.

    check: permutes
    seen: in epoch 1, with 2 groups in another order, the knobs are not the same: 'weight'
    mend: treat all groups alike
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"weight": 1 + (torch.arange(len(robust)) == 0) + 0 * robust}


@register("policy", "fault-groups-in-a-row")
@config
class GroupsInARow(ClassPolicy):
    """Groups in a row.

    check: permutes
    seen: the batch weights are not the same
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return 1 + margin.abs().cumsum(0), state


@register("policy", "fault-nothing-for-nobody")
@config
class NothingForNobody(ClassPolicy):
    """Nothing for nobody.

    check: groups-without-samples
    seen: the knob radius is nan
    mend: validation_count
    """

    needs = ("validation_robust",)

    def on_epoch(self, state, stats):
        return {"radius": 0.5 + stats["validation_robust"]}


@register("policy", "fault-a-division-by-the-count")
@config
class ADivisionByTheCount(ClassPolicy):
    """A division by the count.

    check: groups-without-samples
    seen: is inf
    mend: keep the old value
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        return {"weight": 1 / stats["train_count"]}


@register("policy", "fault-a-division-by-the-mean")
@config
class ADivisionByTheMean(ClassPolicy):
    """A division by the mean.

    check: extreme-accuracies
    seen: in epoch 1, the knob weight is nan
    mend: smoothing
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"weight": mean_one(robust)}


@register("policy", "fault-a-loss-of-control")
@config
class ALossOfControl(ClassPolicy):
    """A loss of control.

    check: extreme-accuracies
    seen: in epoch
    """

    needs = ("train_label_loss",)

    def init(self, groups):
        return {"weight": torch.ones(groups)}

    def on_epoch(self, state, stats):
        return {"weight": (state["weight"] * stats["train_label_loss"].exp().clamp_min(6) / 6)}


@register("policy", "fault-a-value-read-back")
@config
class AValueReadBack(ClassPolicy):
    """A value read back.

    check: stays-on-the-device
    seen: Tensor.item() cannot be called
    mend: torch.where
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return torch.full_like(margin, 1 + float(margin.max()) ** 2), state


@register("policy", "fault-two-devices")
@config
class TwoDevices(ClassPolicy):
    """Two devices.

    check: stays-on-the-device
    seen: is not on the expected device
    mend: make tensors with device=
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return margin.abs() + torch.ones(len(margin)), state


@register("policy", "fault-a-mask")
@config
class AMask(ClassPolicy):
    """A mask.

    check: stays-on-the-device
    seen: policies_computing.py, line
    mend: indexing by a mask
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return margin.abs() + margin[stats["batch_count"] > 0].abs().amax(), state
