"""Small models, each with one fault that makes its robust accuracy look better than it is.

They are documentation as well: docs/believable.md names them, and ``test_defended.py`` shows which check each one trips.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Wrapped(nn.Module):
    """A network with something around it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()


class Quantised(Wrapped):
    """Rounds the input to sixteen grey levels: the derivative of rounding is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net((15 * x).round() / 15)


class Detached(Wrapped):
    """Cuts the input off from the gradient altogether."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.detach())


class RootAtZero(Wrapped):
    """Takes the root of the squared input, which is the input: at black the derivative is infinity times 0."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.square().sqrt())


class Saturated(Wrapped):
    """Logits so large that the softmax is exactly one and zero."""

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * self.net(x)


class Probabilities(Wrapped):
    """Gives probabilities where logits are asked for."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)


class LogProbabilities(Wrapped):
    """Gives logarithms of probabilities, which is no fault."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).log_softmax(1)


class Dropout(Wrapped):
    """Drops pixels at inference too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.dropout(x, 0.1, training=True))


class DetachedBranch(nn.Module):
    """Adds the logits of two networks, one of which is hidden from the gradient."""

    def __init__(self, net: nn.Module, hidden: nn.Module) -> None:
        super().__init__()
        self.net, self.hidden = net, hidden
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.hidden(x.detach())


class StraightThrough(Wrapped):
    """Rounds, and passes gradients back as if it did not."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + ((15 * x).round() / 15 - x).detach())


class TrainsItself(Wrapped):
    """Calls train() in its forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        self.train()
        return self.net(x)


class FeedsStatistics(Wrapped):
    """Normalises by the statistics of the batch and keeps them, in eval mode too."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("variance", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.batch_norm(x, self.mean, self.variance, training=True))


class Scaled(Wrapped):
    """Multiplies the input and adds to it: a normalisation, or its reverse."""

    def __init__(self, net: nn.Module, scale: float, shift: float = 0.0) -> None:
        super().__init__(net)
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.scale * x + self.shift)


class Rippled(Wrapped):
    """Lays small, steep ripples over the input: exact gradients, which say nothing about the next step."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.02 * (500 * x).sin())


class GuardsTheFarField(Wrapped):
    """Hides the gradient of images that are far from all images it knows."""

    def __init__(self, net: nn.Module, known: Tensor, distance: float) -> None:
        super().__init__(net)
        self.known, self.distance = known.flatten(1), distance

    def forward(self, x: Tensor) -> Tensor:
        known = self.known.to(x.dtype)
        far = torch.cdist(x.detach().flatten(1), known, p=float("inf")).amin(1) > self.distance
        return self.net(torch.where(far.view(-1, 1, 1, 1), x.detach(), x))
