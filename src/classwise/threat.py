"""Threat models: what an attacker may do to an image.

All geometry of a norm ball lives here, with one radius per sample: ``radius`` has shape ``(N,)``. Images have shape
``(N, …)`` and values in [0, 1], which is also the box every perturbed image stays in. The l_1 ball, whose corners need
sorting, has a file of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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

    Source: the usual projected-gradient geometry; order of operations (project, then clip to the box) as in the
    published code of TRADES and of all later methods here. l_1: exact projection onto ball and box together, of Croce
    and Hein, "Mind the box", ICML 2021.
    """

    norm: Norm = "linf"
    """Distance: largest change of one pixel value ("linf"), Euclidean length ("l2") or sum of all changes ("l1")."""
    radius: Radius = Radius("8/255")
    """Largest distance, in units of the pixel range [0, 1]; written like 8/255."""

    def check(self) -> None:
        """Refuse a radius that only makes sense in pixels of 0..255."""
        if self.norm == "linf" and self.radius > 1:
            raise ValueError(
                f"radius {self.radius} is larger than the whole pixel range [0, 1]: "
                f"if it is meant in steps of 1/255, write {self.radius}/255"
            )

    def __str__(self) -> str:
        return f"{self.norm} {self.radius}"

    def project(self, x_adv: Tensor, x: Tensor, radius: Tensor) -> Tensor:
        """A point of the ball around ``x`` and of the box: ``x_adv`` projected onto the ball, then clipped to the box.

        Clipping to the box moves no coordinate away from ``x``, so the result is in the ball and in the box. In l_inf
        it is the nearest such point; in l_2 it need not be. In l_1 the nearest point of both at once is computed,
        because clipping would give away much of the radius.
        """
        if self.norm == "l1":
            return l1_ball.nearest(x_adv, x, radius)
        return (x + self.shrink(x_adv - x, radius)).clamp(0, 1)

    def shrink(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Project a perturbation onto the ball around zero, without any box."""
        if self.norm == "l1":
            return l1_ball.shrink(delta, radius)
        size = per_sample(radius, delta)
        if self.norm == "linf":
            return delta.clamp(-size, size)
        return delta * (size / self.length(delta).clamp_min(1e-30)).clamp_max(1)

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
            return gradient.sign()
        return gradient / (self.length(gradient) + 1e-10)

    def uniform_start(self, x: Tensor, radius: Tensor, noise: Noise) -> Tensor:
        """A random point of the ball, clipped to the box.

        l_inf: every coordinate uniform. l_2: a uniform direction at a distance uniform in [0, radius], as in the
        published evaluation code (not uniform in volume). l_1: uniform in the volume of the ball, then projected onto
        ball and box.
        """
        size = per_sample(radius, x)
        if self.norm == "l1":
            return self.project(x + size * l1_ball.uniform(x, noise), x, radius)
        if self.norm == "linf":
            delta = (2 * noise.uniform(x) - 1) * size
        else:
            direction = noise.normal(x)
            share = per_sample(noise.uniform(x.flatten(1)[:, :1])[:, 0], x)
            delta = direction / self.length(direction).clamp_min(1e-30) * size * share
        return (x + delta).clamp(0, 1)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Distance of each sample from its original, shape (N,), in the widest float of the device."""
        delta = (widest(x_adv) - widest(x)).flatten(1)
        if self.norm == "l1":
            return delta.abs().sum(1)
        return delta.abs().amax(1) if self.norm == "linf" else delta.norm(dim=1)

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


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (N,) values so that they broadcast over samples of any shape."""
    return values.view(-1, *[1] * (like.dim() - 1))
