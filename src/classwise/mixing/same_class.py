"""Mixing of each image with another of its own class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.feed import Feed
from classwise.data.loader import Batch
from classwise.mixing.base import Mixing
from classwise.randomness import Noise
from classwise.registry import register
from classwise.threat import per_sample


@register("mixing", "same-class-mixup", "domain-mixup", "mixup")
@config
class SameClassMixup(Mixing):
    """Replaces each image x_i by lam x_i + (1 - lam) x_j, with x_j another image of the same label; labels stay.

    The partner j is drawn uniformly from the other images of the class, afresh for every image of every step; an image
    without a partner stays as it is. Partners from the training set are augmented on their own. With ``stage`` "after"
    the clean images and the perturbed ones are mixed alike, so that a perturbed image still lies in the ball around its
    clean one where both partners had the same radius.

    Source: Zhong and Tandon, "Learning fair robustness via domain mixup", eq. 9; no published code. "before" is the text of
    its theory (an attack on mixed images), "after" that of its conclusion (mixed adversarial images).
    Departures: the paper does not say its lam; 0.5 is ours, and a Beta law is the other usual choice. It attacks images after
    standardising them, we attack pixels. Its theorems give the risk on mixed images, while validation and audits here are on
    images as they are.
    Costs: with partners from the class a second read and augmentation of a batch per step, and four integers per training
    image; next to nothing with partners from the batch. No synchronisation.
    """

    lam: float = 0.5
    """Share of the image itself, in [0, 1]; 1 is no mixing. Not used where ``alpha`` is above 0."""
    alpha: float = 0.0
    """Above 0: the share of each image is drawn from Beta(alpha, alpha); 0: it is ``lam``."""
    partners: Literal["class", "batch"] = "class"
    """Where partners come from: the whole training set, or the batch (this process's rows of it)."""
    stage: Literal["before", "after"] = "before"
    """Whether images are mixed before they are attacked, or clean and perturbed images after it."""

    def check(self) -> None:
        """Refuse shares outside [0, 1], a Beta law that does not exist, and partners that were not attacked."""
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lam {self.lam} must lie in [0, 1]")
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha {self.alpha} must be above 0, or 0 for the fixed share lam")
        if self.stage == "after" and self.partners == "class":
            raise ValueError(
                'stage "after" mixes perturbed images, which only the batch has: set partners to "batch", or mix before'
            )

    def refusal(self, attacked: bool) -> str:
        """See :class:`Mixing`."""
        if self.stage == "after" and not attacked:
            return 'there are no perturbed images to mix: set the stage to "before"'
        return ""

    def before(self, batch: Batch, source: Feed, noise: Noise) -> Batch:
        """See :class:`Mixing`."""
        if self.stage == "after":
            return batch
        if self.partners == "batch":
            partner, share = self._pair_in_batch(batch, noise)
            return batch.with_images(_mixed(batch.x, batch.x[partner], share))
        lookup = _lookup(source)
        partner, share = self._pair(lookup.classes, lookup.rows(batch.index), self._draw(batch, noise))
        return batch.with_images(_mixed(batch.x, source.take(partner, noise), share))

    def after(self, batch: Batch, x_adv: Tensor, noise: Noise) -> tuple[Batch, Tensor]:
        """See :class:`Mixing`."""
        if self.stage == "before":
            return batch, x_adv
        partner, share = self._pair_in_batch(batch, noise)
        return batch.with_images(_mixed(batch.x, batch.x[partner], share)), _mixed(x_adv, x_adv[partner], share)

    def _draw(self, batch: Batch, noise: Noise) -> Tensor:
        """What chooses the partner of each image, and its share where that is random, (N, 1 or 3)."""
        return noise.uniform(batch.x.new_empty(len(batch.x), 3 if self.alpha else 1))

    def _pair_in_batch(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(batch.y), device=batch.y.device)
        return self._pair(ByClass.of(batch.y), rows, self._draw(batch, noise))

    def _pair(self, classes: ByClass, rows: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the partners (N,), and the share of the image itself (N,), 1 where it has no partner."""
        fixed = torch.full_like(draw[:, 0], self.lam)
        share = symmetric_beta(draw[:, 1], draw[:, 2], self.alpha) if self.alpha else fixed
        return classes.partner(rows, draw[:, 0]), torch.where(classes.size[rows] > 1, share, 1)


@dataclass(frozen=True)
class ByClass:
    """Samples ordered by class, so that each class is one stretch of the order.

    Args:
        order: Rows (N,) in that order.
        first: Where the class of each row begins in it, (N,).
        size: Samples of the class of each row, (N,).
        place: Place of each row within its class, (N,), from 0.
    """

    order: Tensor
    first: Tensor
    size: Tensor
    place: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> ByClass:
        """The order of some labels (N,), on their device, without a synchronisation."""
        labels = labels.contiguous()
        ordered, order = labels.sort(stable=True)
        first = torch.searchsorted(ordered, labels)
        size = torch.searchsorted(ordered, labels, right=True) - first
        return cls(order, first, size, order.argsort() - first)

    def partner(self, rows: Tensor, uniform: Tensor) -> Tensor:
        """For each row another one of its class, or the row itself where there is none.

        Args:
            rows: Rows (N,).
            uniform: What chooses among the others, (N,) in [0, 1).
        """
        others, place = self.size[rows] - 1, self.place[rows]
        chosen = torch.minimum((uniform * others).long(), others - 1)  # the product may round up
        chosen = torch.where(chosen >= place, chosen + 1, chosen)  # skip the row itself
        return self.order[self.first[rows] + torch.where(others > 0, chosen, place)]


@dataclass(frozen=True)
class _Lookup:
    """Classes of a training set, and which row a sample's index means."""

    classes: ByClass
    index: Tensor
    row: Tensor

    def rows(self, index: Tensor) -> Tensor:
        return self.row[torch.searchsorted(self.index, index.contiguous())]


_lookups: WeakKeyDictionary[Feed, _Lookup] = WeakKeyDictionary()


def _lookup(source: Feed) -> _Lookup:
    """Made once per training set and kept as long as that is."""
    if source not in _lookups:
        _lookups[source] = _Lookup(ByClass.of(source.labels), *source.index.sort())
    return _lookups[source]


def _mixed(own: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """A share of an image itself and the rest of the other; lerp is exact at a share of 1 and never leaves their range."""
    return torch.lerp(other, own, per_sample(share, own))


def symmetric_beta(first: Tensor, second: Tensor, alpha: float) -> Tensor:
    """Values of the distribution Beta(alpha, alpha), made from two independent uniform values in [0, 1) each.

    With R^2 = U1^(-1 / alpha) - 1 and c = cos(2 pi U2), t = sqrt(2 alpha) R c has Student's law with 2 alpha degrees of
    freedom, and (1 + t / sqrt(2 alpha + t^2)) / 2 that of Beta(alpha, alpha).

    Source: Bailey 1994, "Polar generation of random variates with the t-distribution" (the full angle instead of his
    rejection).
    """
    log_power = first.log() / alpha
    power, rest = log_power.exp(), -torch.expm1(log_power)
    cosine = (2 * math.pi * second).cos()
    value = (1 + cosine * rest.sqrt() / (power + cosine**2 * rest).sqrt()) / 2
    return value.clamp(0, 1)  # rounding can lead a little beyond
