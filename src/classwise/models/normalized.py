"""Normalisation as the first layer of a model, so that attacks always act on [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

MEANS = ("mean", "means", "mu", "new_mean")
DEVIATIONS = ("std", "stds", "sd", "sds", "sigma", "new_std")
"""What other people's layers and networks call the mean and the standard deviation that they normalise their input by."""


class Normalized(nn.Module):
    """A network behind the normalisation (x - mean) / std, for input in [0, 1].

    Args:
        net: A network that expects normalised input.
        mean: One value per channel.
        std: One positive value per channel.

    Raises:
        ValueError: Lengths differ, or a standard deviation is not positive, or the network normalises already; when
            called, the images have another number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or any(not each > 0 for each in std):
            raise ValueError(f"mean {tuple(mean)} and std {tuple(std)} need one entry per channel, std above 0")
        inside = normalising_part(net, len(mean))
        if inside is not None:
            what = f"the part {inside!r} of this network" if inside else "this network"
            kind = type(net.get_submodule(inside)).__name__
            raise ValueError(
                f"{what} ({kind}) normalises its input already, and normalising twice would ruin its accuracy: "
                "leave one of the two out"
            )
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


def normalising_part(net: nn.Module, channels: int) -> str | None:
    """The first part of a network that normalises images, as far as its attributes tell.

    That is :class:`Normalized`, or anything that holds a mean and a standard deviation under one of the usual names with
    one entry per channel, such as ``torchvision.transforms.Normalize`` or the layers of RobustBench and of the Madry lab.

    Args:
        net: The network.
        channels: Channels of its images.

    Returns:
        Dotted name, "" for the network itself, None where no part is found to.
    """
    for name, part in net.named_modules():
        held = {**vars(part), **part._parameters, **part._buffers}
        stated = any(_per_channel(held.get(each), channels) for each in MEANS)
        stated = stated and any(_per_channel(held.get(each), channels) for each in DEVIATIONS)
        if stated or isinstance(part, Normalized):
            return str(name)
    return None


def _per_channel(value: Any, channels: int) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == channels
    return isinstance(value, list | tuple) and len(value) == channels
