"""Weight averages with one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import random

import torch

from classwise import Averaging, config, register
from classwise.averaging.ema import blend


@register("averaging", "fault-training-statistics")
@config
class TrainingStatistics(Averaging):
    """Training statistics.

    check: declarations
    seen: needs names train_robust
    mend: validation_robust
    """

    needs = ("train_robust",)

    def update(self, average, model, signal):
        return {}


@register("averaging", "fault-statistics-per-step")
@config
class StatisticsPerStep(Averaging):
    """Statistics per step.

    check: declarations
    seen: needs is not empty
    mend: set unit = 'epoch'
    """

    unit = "step"
    needs = ("validation_robust",)

    def update(self, average, model, signal):
        return {}


@register("averaging", "fault-another-unit")
@config
class AnotherUnit(Averaging):
    """Another unit.

    check: declarations
    seen: unit is 'batch'
    mend: 'epoch' or 'step'
    """

    unit = "batch"

    def update(self, average, model, signal):
        return {}


@register("averaging", "fault-not-asked-for")
@config
class NotAskedFor(Averaging):
    """Not asked for.

    check: runs
    seen: update reads 'validation_clean'
    mend: add 'validation_clean' to needs
    """

    def update(self, average, model, signal):
        signal["validation_clean"]
        return blend(average, model, 0.9, False)


@register("averaging", "fault-no-buffers")
@config
class NoBuffers(Averaging):
    """No buffers.

    check: whole
    seen: 1.num_batches_tracked, 1.running_mean, 1.running_var is missing
    mend: model.items()
    """

    def update(self, average, model, signal):
        made = (
            blend(average, model, 0.9, False) if not average else {k: average[k].lerp(model[k], 0.1) for k in average}
        )
        return {k: v for k, v in made.items() if not ("running" in k or "tracked" in k)}


@register("averaging", "fault-half-a-counter")
@config
class HalfACounter(Averaging):
    """Half a counter.

    check: whole
    seen: 1.num_batches_tracked is () of torch.float32 instead of () of torch.int64
    mend: copy the rest
    """

    def update(self, average, model, signal):
        return {k: v.float().clone() for k, v in model.items()}


@register("averaging", "fault-given-up")
@config
class GivenUp(Averaging):
    """Given up.

    check: stays-once-begun
    seen: after 4 updates it is {}
    mend: the old average
    """

    def update(self, average, model, signal):
        return {} if int(signal["epoch"]) % 4 == 3 else blend({}, model, 0.9, False)


@register("averaging", "fault-the-live-weights-themselves")
@config
class TheLiveWeightsThemselves(Averaging):
    """The live weights themselves.

    check: keeps-its-inputs
    seen: moves with the live weights
    mend: clone()
    """

    def update(self, average, model, signal):
        return dict(model)


@register("averaging", "fault-the-old-average-overwritten")
@config
class TheOldAverageOverwritten(Averaging):
    """The old average overwritten.

    check: keeps-its-inputs
    seen: update changed the old average's
    mend: lerp_
    """

    def update(self, average, model, signal):
        return (
            {k: average[k].lerp_(v, 0.1) if v.is_floating_point() else v.clone() for k, v in model.items()}
            if average
            else blend({}, model, 0.9, False)
        )


@register("averaging", "fault-a-random-share")
@config
class ARandomShare(Averaging):
    """A random share.

    check: repeatable
    seen: drew from Python's global random generator
    """

    def update(self, average, model, signal):
        return blend(average, model, random.random(), False)


@register("averaging", "fault-memory-on-the-object")
@config
class MemoryOnTheObject(Averaging):
    """Memory on the object.

    check: resumable
    seen: resumed after 60 updates
    mend: in the average
    """

    def update(self, average, model, signal):
        seen = vars(self).setdefault("seen", set())
        epoch = int(signal["epoch"])
        seen.add(epoch)
        return blend(average, model, 0.9 if epoch - 1 in seen else 0.5, False)


@register("averaging", "fault-a-start-at-0")
@config
class AStartAt0(Averaging):
    """A start at 0.

    check: average-of-equals
    seen: after 1 updates by the same weights the average is another
    mend: not from zeros
    """

    def update(self, average, model, signal):
        old = average or {k: torch.zeros_like(v) for k, v in model.items()}
        return {k: old[k].lerp(v, 0.1) if v.is_floating_point() else v.clone() for k, v in model.items()}


@register("averaging", "fault-a-gate-that-waits-for-nobody")
@config
class AGateThatWaitsForNobody(Averaging):
    """A gate that waits for nobody.

    check: groups-without-samples
    seen: the gate never opened
    mend: robust[count > 0]
    """

    needs = ("validation_robust",)

    def update(self, average, model, signal):
        opened = bool(signal["validation_robust"].mean() > 0.1)
        return blend(average, model, 0.9, False) if opened else average
