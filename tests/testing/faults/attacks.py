"""Attacks with one fault each; test_faults.py reads the docstrings: the check, what it sees, the mend."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from classwise import Attack, config, register
from classwise.attacks import PGD


def gradient(model, x, y):
    with torch.enable_grad():
        z = x.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(z), y, reduction="sum"), z)[0]


@register("attack", "fault-no-run")
@config
class NoRun(Attack):
    """No run.

    check: complete
    seen: NoRun has no run of its own
    mend: write def run(self, model, x, y, threat
    """


@register("attack", "fault-a-knob-of-losses")
@config
class AKnobOfLosses(Attack):
    """A knob of losses.

    check: declarations
    seen: heeds names weight
    mend: radius, step, steps
    """

    heeds = frozenset({"radius", "weight"})

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        return x + radius.view(-1, 1, 1, 1) * gradient(model, x, y).sign()


@register("attack", "fault-no-passes")
@config
class NoPasses(Attack):
    """No passes.

    check: declarations
    seen: forwards() gives 0
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * g.sign()

    def forwards(self):
        return 0


@register("attack", "fault-another-shape")
@config
class AnotherShape(Attack):
    """Another shape.

    check: runs
    seen: at linf 0.1 it raised RuntimeError
    mend: x's shape
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        return F.pad(x, (0, 1))


@register("attack", "fault-another-type")
@config
class AnotherType(Attack):
    """Another type.

    check: runs
    seen: and torch.float32
    mend: x's shape and dtype
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r.double() * g.sign()


@register("attack", "fault-images-and-more")
@config
class ImagesAndMore(Attack):
    """Images and more.

    check: runs
    seen: 'tuple' object has no attribute 'detach'
    mend: return perturbed images
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        return x, y


@register("attack", "fault-nothing")
@config
class Nothing(Attack):
    """Nothing.

    check: heeds
    seen: a tenth of the radius changes nothing
    mend: use it
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        return x


@register("attack", "fault-an-error")
@config
class AnError(Attack):
    """An error.

    check: runs
    seen: at linf 0.1 it raised KeyError: 'step' (attacks.py, line
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        return {}["step"]


@register("attack", "fault-every-norm-refused")
@config
class EveryNormRefused(Attack):
    """Every norm refused.

    check: runs
    seen: it refuses every norm
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        raise ValueError(f"{threat.norm}: not known")


@register("attack", "fault-outside")
@config
class Outside(Attack):
    """Outside.

    check: inside
    seen: went 0.1 too far
    mend: leave __call__ to the base class
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * g.sign()

    def __call__(self, model, x, y, **settings):
        x_adv = super().__call__(model, x, y, **settings)
        radius = settings.get("radius")
        far = 0 * x_adv if radius is None else (0.1 * (radius > 0)).view(-1, 1, 1, 1)
        return torch.where(x_adv + far > 1, x_adv - 0 * far, x_adv + far)


@register("attack", "fault-modules-only")
@config
class ModulesOnly(Attack):
    """Modules only.

    check: any-model
    seen: 'function' object has no attribute 'parameters' (attacks.py, line
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        next(iter(model.parameters()))
        return x + r * g.sign()


@register("attack", "fault-a-division-by-the-length")
@config
class ADivisionByTheLength(Attack):
    """A division by the length.

    check: any-model
    seen: whose gradient is 0 everywhere the result is not finite
    mend: nan_to_num
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


@register("attack", "fault-gradients-of-the-weights")
@config
class GradientsOfTheWeights(Attack):
    """Gradients of the weights.

    check: leaves-the-model-alone
    seen: it changed the gradient of the network's parameter
    mend: torch.autograd.grad
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        with torch.enable_grad():
            loss = model(x).sum()
            loss.backward() if loss.requires_grad else None
        return x + r * g.sign()


@register("attack", "fault-an-error-swallowed")
@config
class AnErrorSwallowed(Attack):
    """An error swallowed.

    check: leaves-the-model-alone
    seen: an error of the model was swallowed
    mend: let errors
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        try:
            model(x)
        except Exception:
            return x
        return x + radius.view(-1, 1, 1, 1)


@register("attack", "fault-a-random-start")
@config
class ARandomStart(Attack):
    """A random start.

    check: repeatable
    seen: drew from torch's global random generator
    mend: noise
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * g.sign() * torch.rand_like(x)


@register("attack", "fault-the-largest-gradient-of-the-batch")
@config
class TheLargestGradientOfTheBatch(Attack):
    """The largest gradient of the batch.

    check: per-sample
    seen: in a batch of 5 of the 12 samples, an image is another
    mend: no maximum
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * (0.5 * g / (g.abs().amax() + 1e-12) + 0.5 * g.sign())


@register("attack", "fault-a-step-that-was-not-announced")
@config
class AStepThatWasNotAnnounced(Attack):
    """A step that was not announced.

    check: heeds
    seen: a tenth of the step changes the images
    mend: add 'step' to heeds
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * step_scale.view(-1, 1, 1, 1) * g.sign()


@register("attack", "fault-a-step-for-nothing")
@config
class AStepForNothing(Attack):
    """A step for nothing.

    check: heeds
    seen: a tenth of the step changes nothing
    mend: take 'step' out of heeds
    """

    heeds = frozenset({"radius", "step"})

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * g.sign()


@register("attack", "fault-a-value-read-back")
@config
class AValueReadBack(Attack):
    """A value read back.

    check: stays-on-the-device
    seen: on a device of its own it raised
    mend: torch.where
    """

    def run(self, model, x, y, threat, radius, step_scale, steps_scale, noise, inner):
        g, r = gradient(model, x, y), radius.view(-1, 1, 1, 1)
        return x + r * g.sign() if bool(g.abs().amax() >= 0) else x


@register("attack", "fault-rows-overwritten")
@config
class RowsOverwritten(PGD):
    """Rows overwritten.

    check: rows
    seen: step changed rows.best
    mend: no in-place operations
    """

    def step(self, model, threat, rows, noise):
        rows.memory["point"].clamp_(0.2, 0.8)
        return super().step(model, threat, rows, noise)


@register("attack", "fault-rows-in-company")
@config
class RowsInCompany(PGD):
    """Rows in company.

    check: rows
    seen: among other rows, a row came out otherwise
    mend: dataclasses.replace(rows, …)
    """

    def step(self, model, threat, rows, noise):
        point = rows.memory["point"].lerp(rows.memory["point"].mean(0, keepdim=True), 0.1)
        return super().step(model, threat, replace(rows, memory={**rows.memory, "point": point}), noise)
