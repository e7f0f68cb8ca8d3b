"""What the adapters share: finding their package, and its preprocessing put inside the network."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from classwise.configuration import config
from classwise.models.builder import ModelBuilder
from classwise.models.normalized import Normalized
from classwise.models.wrapped import Resized


@config
class Adapter(ModelBuilder):
    """Base class of networks of another package whose preprocessing becomes part of the network.

    Attacks then act on images in [0, 1] at the data's own resolution.
    """

    pretrained: bool = False
    """Whether the package's weights are loaded, which may download them; nothing is ever downloaded otherwise."""
    mean: tuple[float, ...] = ()
    """Mean of the normalisation, one per channel; none: the one that the package states for this network."""
    std: tuple[float, ...] = ()
    """Standard deviation of the normalisation, one per channel; none: the one that the package states."""

    def check(self) -> None:
        """Refuse a mean without a standard deviation."""
        if bool(self.mean) != bool(self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} belong together: give both or neither")

    def prepared(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        channels: int,
        size: tuple[int, int] | None = None,
        interpolation: str = "bilinear",
    ) -> nn.Module:
        """The network for images in [0, 1]: normalisation, then resizing, which give the same in either order.

        Args:
            net: A network that wants its images prepared.
            mean: What its package subtracts, unless this configuration says otherwise; empty: nothing.
            std: What its package divides by.
            channels: Channels of an image.
            size: Height and width it wants; None: whatever the images have.
            interpolation: Of the resize; anything but "bicubic" is taken as "bilinear".

        Raises:
            ValueError: The normalisation has another number of channels than the images.
        """
        mean, std = (self.mean, self.std) if self.mean else (mean, std)
        if mean and len(mean) != channels:
            raise ValueError(
                f"the normalisation has {len(mean)} channels and the images have {channels}: "
                "give mean and std with one entry per channel"
            )
        if size is not None:
            net = Resized(net, size, "bicubic" if interpolation == "bicubic" else "bilinear")
        return Normalized(net, mean, std) if mean else net


def package(name: str, install: str, what: str = "network") -> Any:
    """Import a package that this project does not depend on.

    Args:
        name: Its import name, such as ``timm``.
        install: What installs it.
        what: What needs it, for the message.

    Raises:
        ValueError: It is not installed, or cannot be imported beside this torch.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # a build for another torch fails with nearly anything
        top = name.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name in (top, name):
            raise ValueError(f"this {what} needs the package {top}, which is not installed: {install}") from error
        raise ValueError(
            f"the package {top} is installed but cannot be imported ({type(error).__name__}: {error}): "
            f"install a version that matches torch {torch.__version__}, or again with {install}"
        ) from error


def check_classes(name: str, known: int, classes: int) -> None:
    """Refuse pretrained weights for another number of classes; a package would start a new head at random.

    Raises:
        ValueError: The numbers differ.
    """
    if known != classes:
        raise ValueError(
            f"the pretrained weights of {name!r} tell {known} classes apart and the data has {classes}: "
            "use data with their classes, or weights of your own without pretrained"
        )
