"""Threat models: what an attacker may do to an image.

All geometry of a norm ball lives here, with one radius per sample: ``radius`` has shape ``(N,)``. Images have shape
``(N, …)`` and values in [0, 1], which is also the box every perturbed image stays in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from classwise.configuration import config
from classwise.radius import Radius
from classwise.widest import widest

if TYPE_CHECKING:
    from torch import Tensor

    from classwise.randomness import Noise

Norm = Literal["linf", "l2"]


@config
class ThreatModel:
    """All images within a distance of the original, inside the box [0, 1].

    Source: the usual projected-gradient geometry; order of operations (project, then clip to the box) as in the
    published code of TRADES and of all later methods here.
    """

    norm: Norm = "linf"
    """Distance: largest change of one pixel value ("linf") or Euclidean length ("l2")."""
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
        """The point of the ball around ``x`` nearest to ``x_adv``, then clipped to the box.

        Clipping to the box moves no coordinate away from ``x``, so the result is in the ball and in the box.
        """
        return (x + self.shrink(x_adv - x, radius)).clamp(0, 1)

    def shrink(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Project a perturbation onto the ball around zero."""
        size = per_sample(radius, delta)
        if self.norm == "linf":
            return delta.clamp(-size, size)
        return delta * (size / self.length(delta).clamp_min(1e-30)).clamp_max(1)

    def ascent(self, gradient: Tensor) -> Tensor:
        """Direction of steepest ascent of unit length in this norm; zero where the gradient is zero."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / (self.length(gradient) + 1e-10)

    def uniform_start(self, x: Tensor, radius: Tensor, noise: Noise) -> Tensor:
        """A random point of the ball, clipped to the box.

        l_inf: every coordinate uniform. l_2: a uniform direction at a distance uniform in [0, radius], as in the
        published evaluation code (not uniform in volume).
        """
        size = per_sample(radius, x)
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


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (N,) values so that they broadcast over samples of any shape."""
    return values.view(-1, *[1] * (like.dim() - 1))
