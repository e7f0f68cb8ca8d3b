"""Threat models: what an attacker may do to an image.

All geometry of a norm ball lives here, with one radius per sample: ``radius`` has shape ``(N,)``. Images have shape
``(N, …)`` and values in [0, 1], which is also the box every perturbed image stays in, unless a threat model says
otherwise. The l_1 ball, whose corners need sorting, has a file of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch

from classwise import l1_ball
from classwise.configuration import config
from classwise.radius import Radius
from classwise.widest import widest

if TYPE_CHECKING:
    from torch import Tensor

    from classwise.randomness import Noise

Norm = Literal["linf", "l2", "l1"]


@config
class ThreatModel:
    """All images within a distance of the original, inside the box [0, 1].

    In l_inf each channel may have its own radius, and the box may be left out. With the channels' standard deviations
    as ``channels`` and without the box this is what a perturbation of standardised images (x - mean) / deviation by at
    most ``radius`` is in pixels.

    Source: the usual projected-gradient geometry; order of operations (project, then clip to the box) as in the
    published code of TRADES and of all later methods here. l_1: exact projection onto ball and box together, of Croce
    and Hein, "Mind the box", ICML 2021.
    """

    norm: Norm = "linf"
    """Distance: largest change of one pixel value ("linf"), Euclidean length ("l2") or sum of all changes ("l1")."""
    radius: Radius = Radius("8/255")
    """Largest distance, in units of the pixel range [0, 1]; written like 8/255."""
    channels: tuple[float, ...] = ()
    """Only in l_inf: factor of the radius, and of every step, for each channel of images (N, C, …), each above 0; with
    standard deviations the radius is one of standardised images. Empty: 1 for all."""
    box: bool = True
    """Whether perturbed images stay in the box [0, 1]; only in l_inf they need not."""

    def check(self) -> None:
        """Refuse a radius that only makes sense in pixels of 0..255, and forms of the ball that only l_inf has."""
        if self.norm != "linf" and not self.plain:
            raise ValueError(
                f"radii of channels and a ball without the box are for linf, not {self.norm}: leave them out"
            )
        if not all(0 < factor < float("inf") for factor in self.channels):
            raise ValueError(f"channels {list(self.channels)} must be above 0, such as deviations of pixels in [0, 1]")
        if self.norm == "linf" and self.radius * min(self.channels, default=1.0) > 1:
            raise ValueError(
                f"radius {self.radius} is larger than the whole pixel range [0, 1]: "
                f"if it is meant in steps of 1/255, write {self.radius}/255"
            )

    def __str__(self) -> str:
        factors = f" x ({', '.join(f'{factor:g}' for factor in self.channels)})" if self.channels else ""
        return f"{self.norm} {self.radius}{factors}{'' if self.box else ', no box'}"

    @property
    def plain(self) -> bool:
        """Whether all channels have the same radius and perturbed images stay in the box."""
        return self.box and not self.channels

    def require_plain(self, attack: str) -> None:
        """Refuse, for an attack with a geometry of its own, a ball that is not plain.

        Raises:
            ValueError: With the name of the attack and of attacks that know such balls.
        """
        if not self.plain:
            raise ValueError(
                f"{attack} knows one radius for all channels and perturbed images in the box, not {self}: "
                "name pgd-STEPS, cw-STEPS or apgd-…"
            )

    def project(self, x_adv: Tensor, x: Tensor, radius: Tensor) -> Tensor:
        """A point of the ball around ``x`` and of the box: ``x_adv`` projected onto the ball, then clipped to the box.

        Clipping to the box moves no coordinate away from ``x``, so the result is in the ball and in the box. In l_inf
        it is the nearest such point; in l_2 it need not be. In l_1 the nearest point of both at once is computed,
        because clipping would give away much of the radius. Without the box it is the projection onto the ball.
        """
        if self.norm == "l1":
            return l1_ball.nearest(x_adv, x, radius)
        return self.within_box(x + self.shrink(x_adv - x, radius))

    def shrink(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Project a perturbation onto the ball around zero, without any box."""
        if self.norm == "l1":
            return l1_ball.shrink(delta, radius)
        size = self.reach(radius, delta)
        if self.norm == "linf":
            return delta.clamp(-size, size)
        return delta * (size / self.length(delta).clamp_min(1e-30)).clamp_max(1)

    def within_box(self, x_adv: Tensor) -> Tensor:
        """Clipped to the box; as they are where perturbed images may leave it."""
        return x_adv.clamp(0, 1) if self.box else x_adv

    def reach(self, radius: Tensor, like: Tensor) -> Tensor:
        """Radii (N,), shaped to broadcast against images or perturbations (N, …); in l_inf how far each value may move."""
        size = per_sample(radius, like)
        return size * self._factors(like) if self.channels else size

    def ascent(self, gradient: Tensor, point: Tensor | None = None, l1_share: float = 0.01) -> Tensor:
        """Direction of steepest ascent of unit length in this norm; zero where the gradient is zero.

        Args:
            gradient: (N, …).
            point: Where the gradient was taken, (N, …); l_1 then moves coordinates that are not held by the box.
            l1_share: Share of coordinates that a step in l_1 moves, see :func:`classwise.l1_ball.sparse_ascent`.
        """
        if self.norm == "l1":
            return l1_ball.sparse_ascent(gradient, point, l1_share)
        if self.norm == "linf":
            return gradient.sign() * self._factors(gradient) if self.channels else gradient.sign()
        return gradient / (self.length(gradient) + 1e-10)

    def uniform_start(self, x: Tensor, radius: Tensor, noise: Noise) -> Tensor:
        """A random point of the ball, clipped to the box where there is one.

        l_inf: every coordinate uniform. l_2: a uniform direction at a distance uniform in [0, radius], as in the
        published evaluation code (not uniform in volume). l_1: uniform in the volume of the ball, then projected onto
        ball and box.
        """
        size = self.reach(radius, x)
        if self.norm == "l1":
            return self.project(x + size * l1_ball.uniform(x, noise), x, radius)
        if self.norm == "linf":
            delta = (2 * noise.uniform(x) - 1) * size
        else:
            direction = noise.normal(x)
            share = per_sample(noise.uniform(x.flatten(1)[:, :1])[:, 0], x)
            delta = direction / self.length(direction).clamp_min(1e-30) * size * share
        return self.within_box(x + delta)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Distance of each sample from its original, shape (N,), in the widest float of the device.

        Changes of a channel count in units of its factor, so that the ball is where the distance is at most the radius.
        """
        delta = widest(x_adv) - widest(x)
        delta = (delta / self._factors(delta) if self.channels else delta).flatten(1)
        if self.norm == "l1":
            return delta.abs().sum(1)
        return delta.abs().amax(1) if self.norm == "linf" else delta.norm(dim=1)

    def _factors(self, like: Tensor) -> Tensor:
        """The channels' factors, shaped to broadcast against images (N, C, …).

        Raises:
            ValueError: The images have another number of channels.
        """
        if like.dim() < 2 or like.shape[1] != len(self.channels):
            raise ValueError(
                f"the threat model {self} has {len(self.channels)} channels, images are of shape "
                f"{tuple(like.shape[1:])}: give one factor for each of their channels"
            )
        return _constants(self.channels, like.dtype, like.device).view(1, -1, *[1] * (like.dim() - 2))

    @staticmethod
    def length(delta: Tensor) -> Tensor:
        """Euclidean length per sample, shaped to broadcast against ``delta``."""
        return per_sample(delta.flatten(1).norm(dim=1), delta)


def linf(radius: float | str) -> ThreatModel:
    """Every pixel value may change by at most ``radius``; ``linf("8/255")``."""
    return ThreatModel(norm="linf", radius=Radius(radius))


def l2(radius: float | str) -> ThreatModel:
    """The Euclidean length of the change is at most ``radius``; ``l2(0.5)``."""
    return ThreatModel(norm="l2", radius=Radius(radius))


def l1(radius: float | str) -> ThreatModel:
    """The changes of all pixel values add up to at most ``radius``; ``l1(12)``."""
    return ThreatModel(norm="l1", radius=Radius(radius))


@lru_cache(maxsize=32)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: copies from the host at every step would make the device wait."""
    return torch.tensor(values, dtype=dtype).to(device)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (N,) values so that they broadcast over samples of any shape."""
    return values.view(-1, *[1] * (like.dim() - 1))
