"""Layers around a foreign network: resizing inside the model, and logits out of a larger answer."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from classwise.models.normalized import Normalized

Interpolation = Literal["bilinear", "bicubic"]


class Resized(nn.Module):
    """A network behind a resize, so that attacks act on images at the data's own resolution.

    The whole image is resized and nothing is cropped: every pixel that an attack may change is seen. When images
    shrink, the filter is widened (antialiased). Bicubic values may overshoot [0, 1] a little, as they do in the
    packages that publish such networks; they are not clipped, because that would take their gradient away.

    Args:
        net: A network that expects images of one size.
        size: Height and width it expects, at least 1.
        interpolation: Between pixels.

    Raises:
        ValueError: The size is below 1.
    """

    def __init__(self, net: nn.Module, size: tuple[int, int], interpolation: Interpolation = "bilinear") -> None:
        super().__init__()
        if min(size) < 1:
            raise ValueError(f"size {size} of resized images must be at least 1 each way")
        self.net = net
        self.size = size
        self.interpolation = interpolation
        self.training = net.training

    def forward(self, x: Tensor) -> Tensor:
        """What the network says to images (N, C, H, W) of any size; those of its own size pass unchanged."""
        if tuple(x.shape[2:]) != self.size:
            x = F.interpolate(x, self.size, mode=self.interpolation, align_corners=False, antialias=True)
        return self.net(x)  # type: ignore[no-any-return]


class Logits(nn.Module):
    """A network that answers with an object, reduced to the tensor of logits in it.

    Args:
        net: A network called as ``net(pixel_values=x)`` whose answer has ``logits``, as Hugging Face's classifiers.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.training = net.training

    def forward(self, x: Tensor) -> Any:
        """Logits (N, classes) for images (N, C, H, W)."""
        return self.net(pixel_values=x).logits


def innermost(model: nn.Module) -> nn.Module:
    """The network inside :class:`Normalized`, :class:`Resized` and :class:`Logits`, which is what checkpoints hold."""
    while isinstance(model, Normalized | Resized | Logits):
        model = model.net
    return model
