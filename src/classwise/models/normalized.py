"""Normalisation as the first layer of a model, so that attacks always act on [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    """A network behind the normalisation (x - mean) / std, for input in [0, 1].

    Args:
        net: A network that expects normalised input.
        mean: One value per channel.
        std: One positive value per channel.

    Raises:
        ValueError: Lengths differ, or a standard deviation is not positive; when called, the images have another number
            of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or any(not each > 0 for each in std):
            raise ValueError(f"mean {tuple(mean)} and std {tuple(std)} need one entry per channel, std above 0")
        if isinstance(net, Normalized):
            raise ValueError("this network is Normalized already: normalising twice would ruin its accuracy")
        self.net = net
        self.training = net.training
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, C, H, W) in [0, 1]."""
        if x.shape[1] != self.mean.shape[1]:  # would broadcast in silence where one of them is 1
            raise ValueError(
                f"images have {x.shape[1]} channels and the normalisation has {self.mean.shape[1]}: give one mean and std "
                "for each channel"
            )
        return self.net((x - self.mean) / self.std)  # type: ignore[no-any-return]
