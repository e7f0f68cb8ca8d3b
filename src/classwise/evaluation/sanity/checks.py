"""All checks together: the cheap ones after every audit, the others on request."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from classwise.attacks.base import Classifier
from classwise.data.dataset import ClassData
from classwise.evaluation.admission import check_mode, check_model
from classwise.evaluation.check import Check
from classwise.evaluation.collect import Collected
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.plan import AuditPlan
from classwise.evaluation.sanity import counted, strength
from classwise.evaluation.sanity.gradients import wrong_gradients, zero_gradients
from classwise.evaluation.sanity.input_range import input_range
from classwise.evaluation.sanity.look import look, probe, spread
from classwise.evaluation.sanity.outputs import changed_model, probabilities, randomised
from classwise.evaluation.sanity.trials import FEW_STEPS, MANY_STEPS, OTHER_LOSS, Trials, gradient_attacks
from classwise.evaluation.sanity.verdicts import CAUSES, explained, in_order, not_judged
from classwise.models.given import weights_digest
from classwise.models.modes import mode
from classwise.progress import Progress

LOOKED_AT = 64
"""Images of the cheap checks."""
DIFFERENTIATED = 16
"""Of these, how many are used where derivatives are compared."""
ATTACKED = 100
"""Images of the small attacks."""

Found = dict[str, Check]


def cheap_checks(
    model: Classifier, data: ClassData, plan: AuditPlan, collected: Collected, device: torch.device, weights: str = ""
) -> tuple[Check, ...]:
    """What can be checked at the end of any audit for the price of some forward passes of a few dozen images.

    Args:
        model: In eval mode, on its device.
        data: The images that were audited, all that ``collected`` holds.
        plan: The audit.
        collected: What it found.
        device: Where the model is.
        weights: :func:`classwise.models.given.weights_digest` from before the audit; "": only the passes made here are
            watched.

    Returns:
        One check each, in a fixed order; none where there are no images.
    """
    if not len(data):
        return ()
    checks = _of_model(model, data, plan, device, min(collected.images_at_once, LOOKED_AT), weights, collected.outcomes)
    checks |= {check.name: check for check in outcome_checks(collected.outcomes, plan)}
    checks["outside-the-ball"] = counted.outside_the_ball(collected.excess)
    return in_order({name: explained(name, checks) or check for name, check in checks.items()})


def outcome_checks(outcomes: Outcomes, plan: AuditPlan) -> tuple[Check, ...]:
    """The checks that need no model, such as for an audit put together from parts.

    Args:
        outcomes: Of at least one sample.
        plan: The audit.
    """
    checks = [_few_samples(outcomes, plan)]
    checks += [each for each in (strength.black_box_in_suite(outcomes, plan.attacks),) if each is not None]
    checks += [each for each in (strength.radii_in_audit(outcomes, plan.threats),) if each is not None]
    return in_order({check.name: check for check in checks})


def full_checks(
    model: Classifier, data: ClassData, plan: AuditPlan, device: torch.device, progress: Progress | None = None
) -> tuple[Check, ...]:
    """All checks, with small attacks at the audit's first radius on up to 100 images, as many of each class.

    The audit's own attacks are run too. No audit is needed before, and a model may be checked that an audit refuses
    because it gives probabilities.

    Args:
        model: In eval mode, on its device.
        data: The images the audit is about.
        plan: The audit.
        device: Where the model is.
        progress: Where progress is shown.

    Raises:
        ValueError: The model is in train mode, cannot be run on these images, or its output is not (N, classes) finite
            numbers.
    """
    check_mode(model)
    weights = _digest(model)
    with mode(model, training=False):  # puts back what a model does to its own modes
        check_model(_not_refused(model), data, device)
    few = data.subset(spread(data, ATTACKED))
    trials = Trials(model, few, plan, device, progress)
    checks = _of_model(model, few, plan, device, min(plan.batch_size, LOOKED_AT), weights)
    sizes = np.bincount(data.groups.cpu().numpy(), minlength=data.num_groups)
    checks["few-samples"] = counted.few_samples(data.group_names, sizes, ())
    checks |= _attacked(trials, checks)
    if isinstance(model, nn.Module) and checks["changed-model"].verdict == "pass":
        checks["changed-model"] = changed_model((), weights, _digest(model))
    return in_order(checks)


def _of_model(
    model: Classifier,
    data: ClassData,
    plan: AuditPlan,
    device: torch.device,
    at_once: int,
    weights: str,
    outcomes: Outcomes | None = None,
) -> Found:
    """The checks that run the model on a few images; of the last one only where outcomes are known."""
    before = weights or _digest(model)
    at = probe(model, data, LOOKED_AT, at_once, device)
    seen = look(at)
    checks: Found = {}

    def add(name: str, judge: Callable[[], Check]) -> None:
        try:
            checks[name] = explained(name, checks) or judge()
        except RuntimeError as error:  # a stranger's model may refuse what a check asks of it, such as a gradient
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            checks[name] = not_judged(name, f"the model does not allow it ({reason})")

    add("probabilities", lambda: probabilities(seen.logits))
    add("changed-model", lambda: changed_model(seen.in_train_mode, before, _digest(model)))
    add("randomised", lambda: randomised(seen.logits, seen.again))
    add("input-range", lambda: input_range(at, seen))
    add("zero-gradients", lambda: zero_gradients(at, plan.threats[0].norm, plan.attacks))
    few = probe(model, data, DIFFERENTIATED, at_once, device)
    add("wrong-gradients", lambda: wrong_gradients(few, plan.seed))
    if outcomes is not None:
        add(
            "clean-accuracy",
            lambda: counted.clean_accuracy(outcomes, spread(data, LOOKED_AT), seen.logits, data.labels),
        )
    return checks


def _attacked(trials: Trials, checks: Found) -> Found:
    """The checks that attack, unless what was found already explains what they would find."""
    threat = trials.plan.threats[0]
    cause = next((name for name in CAUSES["black-box"] if checks[name].verdict == "fail"), None)
    if cause is not None or not threat.radius > 0:
        reason = f"after what {cause} found, no attack was run" if cause else "the radius is 0"
        names = ("outside-the-ball", "clean-accuracy", "black-box", "more-steps", "larger-radius")
        return {name: not_judged(name, reason) for name in names}
    own = trials.run(*gradient_attacks(trials.plan.attacks))
    few, many, other = (trials.run(each).outcomes.robust_correct(0) for each in (FEW_STEPS, MANY_STEPS, OTHER_LOSS))
    added: Found = {
        "outside-the-ball": counted.outside_the_ball(own.excess),
        "clean-accuracy": trials.clean_accuracy(own),
    }
    added["black-box"] = trials.black_box(own.outcomes.robust_correct(0) & few & many & other)
    added["more-steps"] = explained("more-steps", added) or trials.more_steps(few, many)
    added["larger-radius"] = explained("larger-radius", added) or trials.larger_radius()
    return added


def _not_refused(model: Classifier) -> Classifier:
    """The model, with its outputs moved so that probabilities, which are judged here, are admitted."""
    if not callable(model):
        return model

    def moved(x: Tensor) -> Tensor:
        answer = model(x)
        return answer - 1 if isinstance(answer, Tensor) else answer

    return moved


def _few_samples(outcomes: Outcomes, plan: AuditPlan) -> Check:
    if plan.shard:
        return not_judged("few-samples", f"these are the images of part {plan.shard} of an audit, not all of them")
    tables = [outcomes.table(r, plan.class_names) for r in range(len(plan.threats))]
    columns = [column for table in tables for column in (table.clean, table.robust)]
    counts = [np.rint(np.nan_to_num(column) * tables[0].n).astype(np.int64) for column in columns]
    return counted.few_samples(plan.class_names, tables[0].n, counts)


def _digest(model: Classifier) -> str:
    return weights_digest(model) if isinstance(model, nn.Module) else ""
