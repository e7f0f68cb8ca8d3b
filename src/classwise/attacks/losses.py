"""What an attack raises: per-sample losses on logits, all of shape (N,), in float32 or wider."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

AttackLoss = Literal["cross-entropy", "kl", "margin"]


def attack_loss(name: AttackLoss, logits: Tensor, y: Tensor, reference: Tensor | None) -> Tensor:
    """The loss that an attack ascends.

    Args:
        name: "cross-entropy"; "kl": divergence from the clean prediction (TRADES); "margin": the largest other
            logit minus that of the label (Carlini and Wagner 2017, without clamp).
        logits: (N, K) logits of the perturbed images.
        y: (N,) labels.
        reference: (N, K) logits of the clean images, for "kl".
    """
    if name == "cross-entropy":
        return F.cross_entropy(logits, y, reduction="none")
    if name == "margin":
        return -logit_margin(logits, y)
    assert reference is not None
    return kl_from_clean(logits, reference)


def kl_from_clean(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(p(x) || p(x')) per sample: the clean prediction ``reference`` is the first argument (TRADES, eq. 3)."""
    return F.kl_div(logits.log_softmax(1), reference.softmax(1), reduction="none").sum(1)


def logit_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Logit of the label minus the largest other logit, (N,): positive where the prediction is the label."""
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], float("-inf"))
    return own[:, 0] - others.amax(1)


def probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Largest other probability minus that of the label, (N,), in [-1, 1] (FAAL's bounded class score)."""
    return -logit_margin(logits.softmax(1), y)


def widen(logits: Tensor) -> Tensor:
    """Logits in at least float32, so that losses under autocast lose nothing more."""
    return logits.float() if logits.element_size() < 4 else logits
