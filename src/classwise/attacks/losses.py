"""What an attack raises: per-sample losses on logits, all of shape (N,), in float32 or wider.

Larger is always closer to success: a wrong prediction, or for the targeted losses the target ahead of the label.
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

AttackLoss = Literal["cross-entropy", "kl", "margin", "dlr"]
TargetedLoss = Literal["cross-entropy", "margin", "dlr"]

_TINY = 1e-12
"""Added to the denominators of the logits ratios, as published, so that equal logits give 0 and not 0/0."""


def attack_loss(name: AttackLoss, logits: Tensor, y: Tensor, reference: Tensor | None) -> Tensor:
    """The loss that an attack ascends.

    Args:
        name: "cross-entropy"; "kl": divergence from the clean prediction (TRADES); "margin": the largest other
            logit minus that of the label (Carlini and Wagner 2017, without clamp); "dlr": see :func:`dlr`.
        logits: (N, K) logits of the perturbed images.
        y: (N,) labels.
        reference: (N, K) logits of the clean images, for "kl".
    """
    if name == "cross-entropy":
        return F.cross_entropy(logits, y, reduction="none")
    if name == "margin":
        return -logit_margin(logits, y)
    if name == "dlr":
        return dlr(logits, y)
    assert reference is not None
    return kl_from_clean(logits, reference)


def targeted_loss(name: TargetedLoss, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The loss that an attack towards one class ascends.

    Args:
        name: "cross-entropy": :func:`targeted_cross_entropy`; "margin": :func:`targeted_margin`; "dlr":
            :func:`targeted_dlr`.
        logits: (N, K) logits of the perturbed images.
        y: (N,) labels.
        target: (N,) class that each sample is driven to, not its label.
    """
    if name == "cross-entropy":
        return targeted_cross_entropy(logits, target)
    return targeted_margin(logits, y, target) if name == "margin" else targeted_dlr(logits, y, target)


def kl_from_clean(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(p(x) || p(x')) per sample: the clean prediction ``reference`` is the first argument (TRADES, eq. 3)."""
    log_p = reference.log_softmax(1)  # finite where p underflows to 0, and so is its gradient
    return (log_p.exp() * (log_p - logits.log_softmax(1))).sum(1)


def kl_from_uniform_over_others(logits: Tensor, y: Tensor) -> Tensor:
    """KL(U || q) per sample, (N,): how unevenly the wrong classes share what the label leaves them, in nats, at least 0.

    U is uniform over the K - 1 wrong classes and q is the prediction renormalised over them. Neither the logit of the
    label nor a number added to all logits changes it; with two classes there is one wrong class and the value is 0.

    Args:
        logits: (N, K), K at least 2.
        y: (N,) labels, int64.
    """
    others = logits.shape[1] - 1
    label = y[:, None]
    log_sum = logits.scatter(1, label, float("-inf")).logsumexp(1)
    return log_sum - logits.scatter(1, label, 0).sum(1) / others - math.log(others)


def logit_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Logit of the label minus the largest other logit, (N,): positive where the prediction is the label."""
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], float("-inf"))
    return own[:, 0] - others.amax(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio, (N,): ``-(z_y - max over i != y of z_i) / (z_(1) - z_(3))``.

    z_(1) >= z_(2) >= … are the logits in order. Adding a number to all logits, or multiplying them by a positive one,
    changes nothing; the value is positive where the prediction is wrong, and never above 1.
    Source: Croce and Hein 2020 (ICML), eq. 6.

    Args:
        logits: (N, K), K at least 3.
        y: (N,) labels, int64.

    Raises:
        ValueError: If there are fewer than three classes.
    """
    _require_classes(logits, 3, "the dlr loss")
    first, _, third = logits.topk(3, dim=1).values.unbind(1)
    return -logit_margin(logits, y) / (first - third + _TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Targeted difference of logits ratio, (N,): ``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)``.

    Invariant like :func:`dlr`; positive where the target is ahead of the label.
    Source: Croce and Hein 2020 (ICML), targeted version of eq. 6.

    Args:
        logits: (N, K), K at least 4.
        y: (N,) labels, int64.
        target: (N,) target classes, int64.

    Raises:
        ValueError: If there are fewer than four classes.
    """
    _require_classes(logits, 4, "the targeted dlr loss")
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return targeted_margin(logits, y, target) / (first - (third + fourth) / 2 + _TINY)


def targeted_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Log-probability of the target class, (N,), at most 0: minus the cross-entropy with the target as label."""
    return -F.cross_entropy(logits, target, reduction="none")


def targeted_margin(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Logit of the target minus that of the label, (N,): positive where the prediction cannot be the label."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]


def probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Largest other probability minus that of the label, (N,), in [-1, 1] (FAAL's bounded class score)."""
    return -logit_margin(logits.softmax(1), y)


def widen(logits: Tensor) -> Tensor:
    """Logits in at least float32, so that losses under autocast lose nothing more."""
    return logits.float() if logits.element_size() < 4 else logits


def _require_classes(logits: Tensor, least: int, what: str) -> None:
    if logits.shape[1] < least:
        raise ValueError(
            f"{what} needs logits of at least {least} classes, here are {logits.shape[1]}: use the margin loss"
        )
