"""The order in which an epoch visits its samples."""

from __future__ import annotations

import torch
from torch import Tensor


def epoch_order(labels: Tensor, groups: Tensor, generator: torch.Generator, balanced: bool = False) -> Tensor:
    """Positions of the samples of one epoch, in the order of their batches; as many as there are samples.

    A balanced epoch draws every class equally often (up to one draw), and within a class each of its groups equally
    often, as group-balanced sampling does (Idrissi et al. 2022, "Simple data balancing achieves competitive
    worst-group-accuracy"). A small class repeats its samples and a large one leaves some out, others in each epoch; samples
    of the same class and group are drawn equally often, up to one draw.

    Args:
        labels: (N,), int64.
        groups: (N,), int64; where they are the labels, they change nothing.
        generator: CPU generator, whose saved state continues the orders.
        balanced: Whether classes are drawn equally often; if not, every sample is drawn once.

    Returns:
        (N,), int64, on the CPU.
    """
    if not balanced:
        return torch.randperm(len(labels), generator=generator)
    labels, groups = labels.cpu(), groups.cpu()
    drawn = []
    classes = torch.unique(labels).tolist()
    for label, quota in zip(classes, _shares(len(labels), len(classes), generator), strict=True):
        rows = (labels == label).nonzero()[:, 0]
        cells = torch.unique(groups[rows]).tolist()
        for group, part in zip(cells, _shares(quota, len(cells), generator), strict=True):
            drawn.append(_repeated(rows[groups[rows] == group], part, generator))
    order = torch.cat(drawn) if drawn else labels.new_empty(0)
    return order[torch.randperm(len(order), generator=generator)]


def _shares(total: int, parts: int, generator: torch.Generator) -> list[int]:
    """Divide a number into whole parts that differ by one at the most; chance decides which get one more."""
    shares = torch.full((parts,), total // max(parts, 1), dtype=torch.int64)
    shares[torch.randperm(parts, generator=generator)[: total - int(shares.sum())]] += 1
    return shares.tolist()


def _repeated(rows: Tensor, times: int, generator: torch.Generator) -> Tensor:
    """So many draws from some rows: whole passes, and a random part of one more."""
    whole, rest = divmod(times, len(rows))
    return torch.cat([rows.repeat(whole), rows[torch.randperm(len(rows), generator=generator)[:rest]]])
