"""Objectives with one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import torch
import torch.nn.functional as F

from classwise import Objective, config, register
from classwise.objectives import Outputs

FORGOTTEN = {"calls": 0}


def cross_entropy(logits, y):
    return F.cross_entropy(logits.double(), y, reduction="none")


@register("objective", "fault-no-call")
@config
class NoCall(Objective):
    """No call.

    check: complete
    seen: NoCall has no __call__
    mend: write def __call__(self, model, x, x_adv, y, info)
    """


@register("objective", "fault-another-term")
@config
class AnotherTerm(Objective):
    """Another term.

    check: declarations
    seen: term_names is ('loss',)
    mend: 'label'
    """

    term_names = ("loss",)

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"loss": loss}, adversarial=logits)


@register("objective", "fault-an-unknown-knob")
@config
class AnUnknownKnob(Objective):
    """An unknown knob.

    check: declarations
    seen: heeds names heat
    mend: temperature
    """

    heeds = frozenset({"heat"})

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-no-inner-problem")
@config
class NoInnerProblem(Objective):
    """No inner problem.

    check: declarations
    seen: inner is 'kl'
    mend: Inner(loss=
    """

    inner = "kl"

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-loss-and-no-outputs")
@config
class ALossAndNoOutputs(Objective):
    """A loss and no outputs.

    check: runs
    seen: it gave a Tensor
    mend: return Outputs
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        return cross_entropy(logits, y)


@register("objective", "fault-a-knob-that-was-not-announced")
@config
class AKnobThatWasNotAnnounced(Objective):
    """A knob that was not announced.

    check: runs
    seen: it reads the knob 'temperature'
    mend: heeds = frozenset({'temperature'})
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss * info.knobs["temperature"]
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-teacher-that-was-not-asked-for")
@config
class ATeacherThatWasNotAskedFor(Objective):
    """A teacher that was not asked for.

    check: runs
    seen: with 2 classes, a batch of 12 and the network in train mode it raised
    mend: set taught = True
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss + info.teacher.sum(1)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-made-for-ten-classes")
@config
class MadeForTenClasses(Objective):
    """Made for ten classes.

    check: runs
    seen: with 2 classes
    mend: any N and K
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss + logits[:, 9]
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-mean")
@config
class AMean(Objective):
    """A mean.

    check: terms
    seen: the term 'label' has shape ()
    mend: reduction='none'
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss.mean()
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-logarithm-of-0")
@config
class ALogarithmOf0(Objective):
    """A logarithm of 0.

    check: terms
    seen: is not finite
    mend: log_softmax
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss + (y * 0.0).log()
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-spread-of-one-sample")
@config
class ASpreadOfOneSample(Objective):
    """A spread of one sample.

    check: terms
    seen: a batch of 1 and the network in train mode the penalty is nan
    mend: such as 0
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss}, adversarial=logits, penalty=((loss - loss.mean()) ** 2).sum() / (len(y) - 1))


@register("objective", "fault-logits-that-were-not-announced")
@config
class LogitsThatWereNotAnnounced(Objective):
    """Logits that were not announced.

    check: announced
    seen: Outputs has clean logits, computes says ['adversarial']
    mend: set computes
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss}, clean=logits)


@register("objective", "fault-a-term-that-was-not-announced")
@config
class ATermThatWasNotAnnounced(Objective):
    """A term that was not announced.

    check: announced
    seen: the terms are label, robust, announced are label
    mend: set term_names = ('label', 'robust')
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss, "robust": loss}, adversarial=logits)


@register("objective", "fault-an-attack-for-nothing")
@config
class AnAttackForNothing(Objective):
    """An attack for nothing.

    check: announced
    seen: other perturbed images change nothing
    mend: set attacked = False
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-no-attack-where-one-is-needed")
@config
class NoAttackWhereOneIsNeeded(Objective):
    """No attack where one is needed.

    check: announced
    seen: it uses the perturbed images
    mend: leave attacked at True
    """

    attacked = False

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-no-gradient")
@config
class NoGradient(Objective):
    """No gradient.

    check: differentiable
    seen: 'label' has no gradient
    mend: without detach()
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss.detach()
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-an-infinite-gradient")
@config
class AnInfiniteGradient(Objective):
    """An infinite gradient.

    check: differentiable
    seen: the gradient of 'label' is not finite
    mend: roots
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss + (0 * logits.double()[:, 0]).sqrt()
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-knob-for-nothing")
@config
class AKnobForNothing(Objective):
    """A knob for nothing.

    check: heeds
    seen: another temperature changes nothing
    mend: info.knobs[name]
    """

    heeds = frozenset({"temperature"})

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-reference-that-nobody-uses")
@config
class AReferenceThatNobodyUses(Objective):
    """A reference that nobody uses.

    check: reference
    seen: the inner loss is 'cross-entropy'
    mend: Inner(loss='kl'
    """

    taught = True

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss + 0 * info.teacher.sum(1)
        return Outputs({"label": loss}, adversarial=logits)

    def reference(self, info):
        return info.teacher


@register("objective", "fault-other-images")
@config
class OtherImages(Objective):
    """Other images.

    check: keeps-its-inputs
    seen: it changed x
    mend: in-place
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        x.mul_(0.5)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-backward-pass")
@config
class ABackwardPass(Objective):
    """A backward pass.

    check: keeps-its-inputs
    seen: changed the gradient of the network's parameter
    mend: torch.autograd.grad
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss.sum().backward(retain_graph=True)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-another-mode")
@config
class AnotherMode(Objective):
    """Another mode.

    check: keeps-its-inputs
    seen: in another mode
    mend: mode(model, training=False)
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        model.eval() if isinstance(model, torch.nn.Module) else None
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-dropout")
@config
class Dropout(Objective):
    """Dropout.

    check: repeatable
    seen: drew from torch's global random generator
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = F.dropout(loss, 0.5)
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-counter")
@config
class ACounter(Objective):
    """A counter.

    check: repeatable
    seen: computed twice it gave
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        FORGOTTEN["calls"] += 1
        loss = loss * FORGOTTEN["calls"]
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-the-mean-of-the-batch")
@config
class TheMeanOfTheBatch(Objective):
    """The mean of the batch.

    check: per-sample
    seen: without the other half of the batch the term 'label' is not the same
    mend: a penalty
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss - loss.mean()
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-the-first-of-the-batch")
@config
class TheFirstOfTheBatch(Objective):
    """The first of the batch.

    check: per-sample
    seen: in another order the term 'label' is not the same
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss * (1 + (torch.arange(len(y), device=y.device) == 0))
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-few-digits")
@config
class FewDigits(Objective):
    """Few digits.

    check: half-precision
    seen: the term 'label' is bfloat16
    mend: widen
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = F.cross_entropy(logits, y, reduction="none")
        return Outputs({"label": loss}, adversarial=logits)


@register("objective", "fault-a-value-read-back")
@config
class AValueReadBack(Objective):
    """A value read back.

    check: stays-on-the-device
    seen: Tensor.item() cannot be called
    mend: torch.where
    """

    def __call__(self, model, x, x_adv, y, info=None):
        logits = model(x_adv)
        loss = cross_entropy(logits, y)
        loss = loss if bool((loss > 0).any()) else 2 * loss
        return Outputs({"label": loss}, adversarial=logits)
