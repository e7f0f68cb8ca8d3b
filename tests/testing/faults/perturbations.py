"""Weight perturbations with one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

import contextlib

import torch

from classwise import config, register
from classwise.perturbation import Perturbation


@register("perturbation", "fault-no-context")
@config
class NoContext(Perturbation):
    """No context.

    check: runs
    seen: it raised
    mend: @contextmanager
    """

    def __call__(self, model, gradient, epoch):
        return None


@register("perturbation", "fault-almost-the-same-weights")
@config
class AlmostTheSameWeights(Perturbation):
    """Almost the same weights.

    check: restores-weights
    seen: it changed 0.weight
    mend: from copies
    """

    @contextlib.contextmanager
    def __call__(self, model, gradient, epoch):
        weights = list(model.parameters())
        with torch.no_grad():
            for w in weights:
                w.mul_(1.1)
        try:
            yield
        finally:
            with torch.no_grad():
                for w in weights:
                    w.div_(1.1)


@register("perturbation", "fault-old-weights-copied-back")
@config
class OldWeightsCopiedBack(Perturbation):
    """Old weights copied back.

    check: keeps-the-step
    seen: in epoch 0 a step of 0.01 for every weight did not arrive
    mend: in place of copying back
    """

    @contextlib.contextmanager
    def __call__(self, model, gradient, epoch):
        weights = list(model.parameters())
        before = [w.detach().clone() for w in weights]
        with torch.no_grad():
            for w in weights:
                w.add_(0.1)
        try:
            yield
        finally:
            with torch.no_grad():
                for w, b in zip(weights, before, strict=True):
                    w.copy_(b)


@register("perturbation", "fault-no-finally")
@config
class NoFinally(Perturbation):
    """No finally.

    check: restores-after-an-error
    seen: after an error, it changed 0.weight
    mend: finally
    """

    @contextlib.contextmanager
    def __call__(self, model, gradient, epoch):
        weights = list(model.parameters())
        before = [w.detach().clone() for w in weights]
        with torch.no_grad():
            for w in weights:
                w.add_(0.1)
        moved = [w.detach().clone() for w in weights]
        yield
        with torch.no_grad():
            for w, b, m in zip(weights, before, moved, strict=True):
                w.sub_(m).add_(b)


@register("perturbation", "fault-an-error-swallowed")
@config
class AnErrorSwallowed(Perturbation):
    """An error swallowed.

    check: restores-after-an-error
    seen: was swallowed
    mend: let errors through
    """

    @contextlib.contextmanager
    def __call__(self, model, gradient, epoch):
        with contextlib.suppress(Exception):
            yield


@register("perturbation", "fault-other-parameters")
@config
class OtherParameters(Perturbation):
    """Other parameters.

    check: leaves-the-rest-alone
    seen: the network has other parameters afterwards
    mend: in place
    """

    @contextlib.contextmanager
    def __call__(self, model, gradient, epoch):
        yield
        model[0].weight = torch.nn.Parameter(model[0].weight.detach().clone())


@register("perturbation", "fault-gradients-of-frozen-weights")
@config
class GradientsOfFrozenWeights(Perturbation):
    """Gradients of frozen weights.

    check: leaves-the-rest-alone
    seen: where a bias is frozen it raised RuntimeError
    mend: those that require a gradient
    """

    @contextlib.contextmanager
    def __call__(self, model, gradient, epoch):
        weights = list(model.parameters())
        gradient(weights)
        yield


@register("perturbation", "fault-a-random-direction")
@config
class ARandomDirection(Perturbation):
    """A random direction.

    check: repeatable
    seen: drew from torch's global random generator
    """

    @contextlib.contextmanager
    def __call__(self, model, gradient, epoch):
        torch.rand(1)
        yield
