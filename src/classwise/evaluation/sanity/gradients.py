"""Checks of the gradients that attacks follow: are they there, and are they those of the function?"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classwise.attacks.base import Attack, Classifier
from classwise.attacks.losses import logit_margin, widen
from classwise.evaluation.check import Check, Verdict
from classwise.evaluation.sanity.look import Probe
from classwise.evaluation.sanity.verdicts import found, not_judged
from classwise.models.modes import mode
from classwise.randomness import KeyedNoise
from classwise.threat import Norm, per_sample

LOST: dict[Norm, float] = {"linf": 1e-30, "l2": 1e-10, "l1": 1e-30}
"""Length of a gradient below which an attack in this norm does not see its direction.

In l_2 the length is added 1e-10 to before it divides; the others use signs and order of the entries, which float32 loses
near 1e-38.
"""
MANY = 0.1
"""Share of images whose gradients are lost from which a figure is not to be used: they count as robust unseen."""
SATURATING = ("cross-entropy", "matched", "kl", "targeted-cross-entropy")
"""Attack losses that go through a softmax."""
STEPS = (1e-5, 1e-3, 1e-2, 5e-2)
"""Euclidean lengths of the steps of the difference quotients: the first suffices in float64, the others serve models
that compute in less. A wrong gradient agrees at none of them."""
DIRECTIONS = 3
"""Random directions in which derivatives are compared, besides that of the gradient."""
WRONG = 0.2
"""Relative difference between gradient and difference quotients, median over the images, above which a gradient is wrong.

Measured: honest networks (digits, ResNet-20) at most 7e-5 in float64, ResNet-20 0.03 in float32; two digits networks of
which one is detached 0.6.
"""
INSIDE = 0.02
"""How far images are moved into the box first, so that kinks at exact black or white do not count."""


def zero_gradients(at: Probe, norm: Norm, attacks: Sequence[Attack]) -> Check:
    """Whether the input gradients of cross-entropy and margin are there, over the images that are classified correctly.

    Args:
        at: The model and a few dozen images.
        norm: In which attacks use gradients.
        attacks: Of the audit; one whose loss needs no softmax makes a saturated softmax less harmful.
    """
    entropy, margin = _loss_gradients(at)
    images = len(margin)
    if not images:
        return not_judged("zero-gradients", "none of the images looked at is classified correctly")
    undefined = ~(margin.isfinite() & entropy.isfinite())
    if int(undefined.sum()):
        return found(
            "zero-gradients",
            "fail" if float(undefined.float().mean()) >= MANY else "warn",
            f"The input gradient is not a number at {int(undefined.sum())} of {images} images, as of a square root at 0: "
            "attacks take such entries for zero and do not move there, and what they leave counts as robust; keep the "
            "step away from the point where it has no gradient, for example by a small constant under the root.",
        )
    flat = margin <= LOST[norm]
    saturated = ~flat & (entropy <= LOST[norm])
    if int(flat.sum()):
        verdict: Verdict = "fail" if float(flat.float().mean()) >= MANY else "warn"
        return found(
            "zero-gradients",
            verdict,
            f"The input gradient of the logits is zero at {int(flat.sum())} of {images} images: an attack by gradients "
            "does not move there, and what it leaves counts as robust; replace the rounding or detaching step by one that "
            "has a gradient while attacking, or rely on black-box attacks and say so.",
        )
    if int(saturated.sum()):
        only = all(getattr(attack, "loss", "") in SATURATING for attack in attacks)
        many = float(saturated.float().mean()) >= MANY
        return found(
            "zero-gradients",
            "fail" if many and only else "warn",
            f"The gradient of the cross-entropy vanishes (below {LOST[norm]:.0e}) at {int(saturated.sum())} of {images} "
            "images where that of the logits' margin does not: the softmax is saturated, and attacks that raise the "
            "cross-entropy stand still; add an attack whose loss ignores the scale of the logits, such as cw-20 or "
            "suite standard"
            + (", and believe no figure without one." if only else "; this audit has one, which counts here."),
        )
    return found(
        "zero-gradients",
        "pass",
        f"Cross-entropy and margin have a gradient at all {images} images; the smallest of the cross-entropy has length "
        f"{float(entropy.amin()):.1g}.",
    )


def wrong_gradients(at: Probe, seed: int) -> Check:
    """Whether gradients agree with difference quotients of the same function.

    The function is the margin between the label and its strongest rival, in float64 where a copy of the model can
    compute in it.

    Args:
        at: The model and a few images.
        seed: Of the directions.
    """
    error, described = _disagreement(at, seed)
    figures = (
        f"Gradients differ from difference quotients by {100 * error:.2g} % (median of {len(at.x)} images, {described})"
    )
    if error <= WRONG:
        return found("wrong-gradients", "pass", f"{figures}.")
    return found(
        "wrong-gradients",
        "fail",
        f"{figures}: what the model passes back is not the gradient of what it computes, so attacks climb in a wrong "
        "direction and robust accuracy is too high; look for detach(), no_grad() or a backward pass of its own in the "
        "model (one that stands in for a rounding step on purpose shows here too).",
    )


def _loss_gradients(at: Probe) -> tuple[Tensor, Tensor]:
    """Lengths (n,) of the input gradients of cross-entropy and of the margin at the images classified correctly."""
    entropies, margins = [], []
    for x, y in zip(torch.split(at.x, at.at_once), torch.split(at.y, at.at_once), strict=True):
        point = x.clone().requires_grad_()
        with mode(at.model, training=False), torch.enable_grad():
            logits = widen(at.model(point))
            entropy = _gradient(F.cross_entropy(logits, y, reduction="sum"), point)
            margin = _gradient(logit_margin(logits, y).sum(), point)
        right = logits.argmax(1) == y
        entropies.append(_length(entropy)[right])
        margins.append(_length(margin)[right])
    return torch.cat(entropies), torch.cat(margins)


def _length(gradient: Tensor) -> Tensor:
    """Largest entry times the length of the rest, so that squares of small numbers do not vanish."""
    flat = gradient.flatten(1)
    largest = flat.abs().amax(1)
    length: Tensor = largest * (flat / largest.clamp_min(1e-38)[:, None]).norm(dim=1)
    return length


def _gradient(value: Tensor, point: Tensor) -> Tensor:
    """Gradient of a number, zero where it does not depend on the point."""
    if not value.requires_grad:
        return torch.zeros_like(point)
    (gradient,) = torch.autograd.grad(value, point, retain_graph=True, allow_unused=True)
    return torch.zeros_like(point) if gradient is None else gradient.detach()


def _disagreement(at: Probe, seed: int) -> tuple[float, str]:
    """Relative difference between gradient and difference quotients at the best step, and in which precision."""
    wide = _in_float64(at)
    model, x, described = (wide, at.x.double(), "float64") if wide is not None else (at.model, at.x, "float32")
    noise = KeyedNoise(seed, at.index)
    x = INSIDE + (1 - 2 * INSIDE) * x + INSIDE * (noise.uniform(x) - 0.5)
    gradient, rival = _margin_gradient(model, x, at)
    steepest = gradient / per_sample(gradient.flatten(1).norm(dim=1).clamp_min(1e-30), x)
    signs = [(noise.uniform(x) < 0.5).to(x.dtype) * 2 - 1 for _ in range(DIRECTIONS)]
    directions = [steepest, *(each / each[0].numel() ** 0.5 for each in signs)]
    best = float("inf")
    for step in STEPS:
        errors = [
            _error((gradient * each).flatten(1).sum(1), _quotient(model, x, at, rival, step * each, step))
            for each in directions
        ]
        along, across = errors[0], torch.stack(errors[1:]).mean(0)
        best = min(best, float(torch.maximum(along, across).median()))
        if best <= WRONG / 4:
            break
    return best, described


def _error(predicted: Tensor, measured: Tensor) -> Tensor:
    return (predicted - measured).abs() / torch.maximum(predicted.abs(), measured.abs()).clamp_min(1e-30)


def _in_float64(at: Probe) -> Classifier | None:
    """A copy of the model that computes in float64, if there can be one."""
    if not isinstance(at.model, nn.Module):
        return None
    try:
        copied = copy.deepcopy(at.model).requires_grad_(False).double().eval()
        with torch.no_grad():
            answer = copied(at.x[:1].double())
    except Exception:  # a stranger's module: copying or converting it may raise anything, and float32 will do
        return None
    return copied if answer.dtype == torch.float64 else None


def _margin_gradient(model: Classifier, x: Tensor, at: Probe) -> tuple[Tensor, Tensor]:
    """Gradient of the margin over the strongest rival at some points, and that rival (N,)."""
    gradients, rivals = [], []
    for part, y in zip(torch.split(x, at.at_once), torch.split(at.y, at.at_once), strict=True):
        point = part.clone().requires_grad_()
        with mode(model, training=False), torch.enable_grad():
            logits = widen(model(point))
            rival = logits.detach().scatter(1, y[:, None], float("-inf")).argmax(1)
            gradients.append(_gradient(_margin(logits, y, rival).sum(), point))
        rivals.append(rival)
    return torch.cat(gradients), torch.cat(rivals)


def _quotient(model: Classifier, x: Tensor, at: Probe, rival: Tensor, move: Tensor, step: float) -> Tensor:
    """Central difference quotients (N,) of the margin over fixed rivals."""
    ends = Probe(model, x, at.y, at.index, at.at_once)
    rise = _margin(ends.logits(x + move), at.y, rival) - _margin(ends.logits(x - move), at.y, rival)
    return rise / (2 * step)


def _margin(logits: Tensor, y: Tensor, rival: Tensor) -> Tensor:
    return (logits.gather(1, y[:, None]) - logits.gather(1, rival[:, None]))[:, 0]
