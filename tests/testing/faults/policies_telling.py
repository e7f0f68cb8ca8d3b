"""Policies that say or give something wrong; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import torch

from classwise import ClassPolicy, config, register


@register("policy", "fault-misspelt")
@config
class Misspelt(ClassPolicy):
    """Misspelt.

    check: known-needs
    seen: unknown statistic 'train_robst'
    mend: write train_, batch_ or validation_
    """

    needs = ("train_robst",)


@register("policy", "fault-not-measured-on-validation-images")
@config
class NotMeasuredOnValidationImages(ClassPolicy):
    """Not measured on validation images.

    check: known-needs
    seen: validation_margin
    mend: validation: clean
    """

    needs = ("validation_margin",)


@register("policy", "fault-a-missing-comma")
@config
class AMissingComma(ClassPolicy):
    """A missing comma.

    check: known-needs
    seen: the text 'train_robust'
    mend: needs = ('train_robust',)
    """

    needs = "train_robust"


@register("policy", "fault-no-such-reducer")
@config
class NoSuchReducer(ClassPolicy):
    """No such reducer.

    check: declarations
    seen: the reducer is 'max'
    mend: weight-sum
    """

    reducer = "max"


@register("policy", "fault-no-such-knob")
@config
class NoSuchKnob(ClassPolicy):
    """No such knob.

    check: declarations
    seen: steers names radii
    mend: radius, step, weight
    """

    steers = ("radii",)


@register("policy", "fault-no-answer")
@config
class NoAnswer(ClassPolicy):
    """No answer.

    check: declarations
    seen: refusal() gives None
    mend: return ''
    """

    def refusal(self, objective):
        return None


@register("policy", "fault-not-asked-for")
@config
class NotAskedFor(ClassPolicy):
    """Not asked for.

    check: reads-what-it-needs
    seen: on_epoch reads 'train_clean'
    mend: add 'train_clean' to needs
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        return {"weight": 1 + stats["train_clean"]}


@register("policy", "fault-asked-for-at-another-time")
@config
class AskedForAtAnotherTime(ClassPolicy):
    """Asked for at another time.

    check: reads-what-it-needs
    seen: on_epoch reads 'batch_margin'
    mend: on_epoch sees statistics of train_ and validation_ only
    """

    needs = ("batch_margin",)

    def on_epoch(self, state, stats):
        return {"weight": 2 + stats["batch_margin"]}


@register("policy", "fault-before-anything-is-trained")
@config
class BeforeAnythingIsTrained(ClassPolicy):
    """Before anything is trained.

    check: reads-what-it-needs
    seen: on_start reads 'train_robust'
    mend: on_start sees statistics of validation_ only
    """

    needs = ("train_robust",)

    def on_start(self, state, stats):
        return {"weight": 1 + stats["train_robust"]}


@register("policy", "fault-numbers-in-the-state")
@config
class NumbersInTheState(ClassPolicy):
    """Numbers in the state.

    check: state
    seen: state['calls'] is of type int
    mend: torch.tensor(number)
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        return {"calls": 3}


@register("policy", "fault-a-gradient-in-the-state")
@config
class AGradientInTheState(ClassPolicy):
    """A gradient in the state.

    check: state
    seen: state['a'] requires a gradient
    mend: detach()
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        return {"a": torch.ones(2, requires_grad=True)}


@register("policy", "fault-one-value-for-all")
@config
class OneValueForAll(ClassPolicy):
    """One value for all.

    check: knobs
    seen: with 2 groups in epoch 1, the knob weight has shape (1,) instead of (2,)
    mend: tensors (G,)
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"weight": robust.mean()[None]}


@register("policy", "fault-an-unknown-knob")
@config
class AnUnknownKnob(ClassPolicy):
    """An unknown knob.

    check: knobs
    seen: 'epsilon', which is no knob
    mend: radius
    """

    def knobs(self, state):
        return {"epsilon": torch.ones(2)}


@register("policy", "fault-a-negative-knob")
@config
class ANegativeKnob(ClassPolicy):
    """A negative knob.

    check: knobs
    seen: the knob label is -
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"label": robust - 1}


@register("policy", "fault-more-steps-than-there-are")
@config
class MoreStepsThanThereAre(ClassPolicy):
    """More steps than there are.

    check: knobs
    seen: steps is 1.
    """

    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"steps": 1 + robust}


@register("policy", "fault-batch-weights-of-another-shape")
@config
class BatchWeightsOfAnotherShape(ClassPolicy):
    """Batch weights of another shape.

    check: batch-weights
    seen: the vector of batch weights has shape ()
    mend: (weights, state)
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return margin.abs().mean(), state


@register("policy", "fault-batch-weights-with-a-gradient")
@config
class BatchWeightsWithAGradient(ClassPolicy):
    """Batch weights with a gradient.

    check: batch-weights
    seen: requires a gradient
    mend: constants
    """

    needs = ("batch_margin", "batch_count")

    def on_batch(self, state, stats):
        margin = stats["batch_margin"]
        return torch.ones_like(margin).requires_grad_(), state


@register("policy", "fault-a-knob-that-was-not-announced")
@config
class AKnobThatWasNotAnnounced(ClassPolicy):
    """A knob that was not announced.

    check: steers
    seen: it sets weight, and steers names radius
    mend: add it to steers
    """

    steers = ("radius",)
    needs = ("train_robust", "train_count")

    def on_epoch(self, state, stats):
        robust = stats["train_robust"]
        return {"radius": 1 + robust, "weight": 2 - robust}


@register("policy", "fault-notes-of-another-shape")
@config
class NotesOfAnotherShape(ClassPolicy):
    """Notes of another shape.

    check: notes
    seen: the note 'violation' has shape (1,) for 2 groups
    mend: vectors (G,)
    """

    def notes(self, state):
        return {"violation": torch.ones(1)}


@register("policy", "fault-an-end-that-is-a-tensor")
@config
class AnEndThatIsATensor(ClassPolicy):
    """An end that is a tensor.

    check: notes
    seen: finished gives a Tensor
    mend: bool(
    """

    def finished(self, state):
        return torch.tensor(True)
