"""The best change per class for all perturbed images that are known: exact, and cheap beside an attack.

A sample counts as robust where it is right at every known point of it: the image itself, and whatever attacks on earlier
candidates found. Moving the number of one class, a sample is right in an interval that follows from its logits, so the
accuracy of each group is known between any two ends of such intervals. One class after the other goes to where the score is
highest, until none moves. Nothing here is attacked: what comes out is a proposal.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TEMPERATURES = (0.05, 0.01, 0.001)
"""Of the soft minimum over the groups, in accuracy; a hard one stands still where two groups are weakest."""
SWEEPS = 20
"""Rounds over the classes at one temperature, at most."""
_GAIN = 1e-9
Rivals = tuple[Tensor, Tensor, Tensor, Tensor]
Floats = npt.NDArray[np.float64]


class Change(Protocol):
    """How a number per class changes logits."""

    def act(self, logits: Tensor, values: Tensor) -> Tensor:
        """Logits (..., K) after a change by ``values`` (K,); 0 leaves them as they are."""

    def above(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """The open interval of values for which a changed logit is above a limit; lower ≥ upper end: nowhere."""

    def below(self, logit: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """The same for below."""


class KnownPoints:
    """Logits of the unchanged network at every known point.

    Args:
        change: What a number per class does.
        labels: (N,).
        groups: (N,), what accuracies are of.
        logits: (N, K) at the images, float64.
    """

    def __init__(self, change: Change, labels: Tensor, groups: Tensor, logits: Tensor) -> None:
        self.change, self.labels = change, labels
        _, self.groups = torch.unique(groups, return_inverse=True)  # groups without a sample have no accuracy
        self.sizes = torch.bincount(self.groups)
        self.logits = logits[None]
        self._last: tuple[Tensor, Rivals] | None = None

    def add(self, logits: Tensor) -> None:
        """Add a point of every sample, by the unchanged network's logits (N, K) there."""
        self.logits, self._last = torch.cat([self.logits, logits[None]]), None

    def margins(self) -> Tensor:
        """(P, N) logit of the label minus the largest other one at every point, unchanged."""
        own, rival, _, _ = self._rivals(self.logits)
        return own - rival

    def robust(self, values: Tensor) -> Tensor:
        """(N,) whether each sample is right at all its points after a change."""
        changed = self.change.act(self.logits, values)
        own, rival, _, _ = self._rivals(changed)
        return (own > rival).all(0)

    def proposal(self, start: Tensor, reach: float) -> Tensor:
        """The values (K,) at which no class can be moved for a higher score; their mean is 0.

        Args:
            start: Where the search begins.
            reach: How far each value may go from there, before the mean is taken off.
        """
        values = start.clone()
        right = self.robust(values).double()
        classes = range(self.logits.shape[-1])
        share = [float(right[self.labels == c].mean()) if bool((self.labels == c).any()) else 1.0 for c in classes]
        order = sorted(classes, key=share.__getitem__)
        for temperature in TEMPERATURES:
            for _ in range(SWEEPS):
                before = values.clone()
                for c in order:
                    values[c] = self._best(values, c, temperature, float(start[c]), reach)
                if float((values - before).abs().max()) < _GAIN:
                    break
        return values - values.mean()

    def _best(self, values: Tensor, c: int, temperature: float, middle: float, reach: float) -> float:
        """Where the score is highest when class c alone moves; where it is if nothing is gained."""
        now = float(values[c])
        low, high = self._intervals(values, c)
        ends = torch.cat([low, high])
        ends = torch.unique(ends[(ends - middle).abs() <= reach])
        if len(ends) < 2:
            return now
        places = np.sort(np.append(((ends[1:] + ends[:-1]) / 2).numpy(), now))
        share = self._share(low, high, places)
        least = share.min(0)
        soft = least - temperature * np.log(np.exp(-(share - least) / temperature).sum(0))
        scores = share.mean(0) + soft
        if scores.max() <= scores[np.searchsorted(places, now)] + _GAIN:
            return now
        ties = places[scores >= scores.max() - _GAIN]
        return float(ties[np.abs(ties - now).argmin()])

    def _share(self, low: Tensor, high: Tensor, places: Floats) -> Floats:
        """(G, M) share of each group's samples whose open interval holds a place, places (M,) ascending."""
        some, length = (low < high).numpy(), len(places) + 1
        row = self.groups.numpy()[some] * length
        size = len(self.sizes) * length
        begin = np.searchsorted(places, low.numpy()[some], "right")
        end = np.searchsorted(places, high.numpy()[some], "left")
        steps = np.bincount(row + begin, minlength=size) - np.bincount(row + end, minlength=size)
        share: Floats = steps.reshape(-1, length)[:, :-1].cumsum(1) / self.sizes.numpy()[:, None]
        return share

    def _intervals(self, values: Tensor, c: int) -> tuple[Tensor, Tensor]:
        """(N,) ends of the open interval of class c's value in which each sample is right at all its points."""
        if self._last is None or not torch.equal(self._last[0], values):  # most classes stay where they are
            self._last = values.clone(), self._rivals(self.change.act(self.logits, values))
        own, rival, second, which = self._last[1]
        logit = self.logits[..., c]
        others = torch.where(which == c, second, rival)
        low, high = self.change.below(logit, own)
        lost = own <= others
        low, high = low.masked_fill(lost, torch.inf), high.masked_fill(lost, -torch.inf)
        up_low, up_high = self.change.above(logit, rival)
        mine = (self.labels == c).expand_as(low)
        return torch.where(mine, up_low, low).amax(0), torch.where(mine, up_high, high).amin(0)

    def _rivals(self, changed: Tensor) -> Rivals:
        """(P, N) logit of the label, the largest and second largest other one, and which the largest is of."""
        at = self.labels.expand(changed.shape[:-1])[..., None]
        own = changed.gather(-1, at)[..., 0]
        rest = changed.scatter(-1, at, -torch.inf)
        top = rest.topk(min(2, rest.shape[-1]), -1)
        return own, top.values[..., 0], top.values[..., -1], top.indices[..., 0]
