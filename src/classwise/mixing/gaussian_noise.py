"""Gaussian noise on the images of a training step."""

from __future__ import annotations

from classwise.configuration import config
from classwise.data.feed import Feed
from classwise.data.loader import Batch
from classwise.mixing.base import Mixing
from classwise.radius import Radius
from classwise.randomness import Noise
from classwise.registry import register


@register("mixing", "gaussian-noise", "smoothing")
@config
class GaussianNoise(Mixing):
    """Adds N(0, sigma^2) to every pixel value before anything else sees the image; the sum is not clipped.

    With the objective "natural" this trains base classifiers for randomised smoothing. Attacks project into the box
    [0, 1] and would clip the noise: refused with objectives that attack.

    Source: Cohen, Rosenfeld, Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019, and its
    published code (locuslab/smoothing 78a4d94), where the noise is added to images in [0, 1] and not clipped either.
    Departures: none.
    Costs: one draw per pixel.
    """

    sigma: Radius = Radius("0.25")
    """Standard deviation of the noise, in units of the pixel range."""

    def check(self) -> None:
        """Refuse noise without width."""
        if not self.sigma > 0:
            raise ValueError("sigma must be above 0: give the standard deviation of the noise, or use mixing none")

    def refusal(self, attacked: bool) -> str:
        """See :class:`Mixing`."""
        return "attacks project into the box and would clip the noise: use the objective natural" if attacked else ""

    def before(self, batch: Batch, source: Feed, noise: Noise) -> Batch:
        """The batch with noise added to its images."""
        return batch.with_images(batch.x + float(self.sigma) * noise.normal(batch.x))
