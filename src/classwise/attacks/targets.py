"""Which classes targeted attacks aim at."""

from __future__ import annotations

from torch import Tensor


def ranked_target(logits: Tensor, y: Tensor, rank: Tensor) -> Tensor:
    """The class ranked so high among all but the label.

    Args:
        logits: (N, K) on the clean images.
        y: (N,) labels.
        rank: (N,) 0 for the runner-up, up to K - 2.

    Returns:
        (N,) classes, int64.
    """
    others = logits.scatter(1, y[:, None], float("-inf"))
    return others.argsort(dim=1, descending=True, stable=True).gather(1, rank[:, None])[:, 0]
