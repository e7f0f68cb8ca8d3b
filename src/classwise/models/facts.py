"""What is known of the networks of the zoo: where each comes from, the images it is for, how many parameters it has."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from classwise.models.builder import ModelBuilder
from classwise.models.named import network_named

CLASSES, SHAPE = 10, (3, 32, 32)
"""Number of classes and shape of images for which parameters are stated."""


@dataclass(frozen=True)
class Facts:
    """One network of the zoo."""

    word: str
    """As written on a command line; see :func:`classwise.models.network_named`."""
    source: str
    """Who described it, in short; the paper is in the description of its component."""
    pixels: str
    """Usual side of its images."""
    parameters: int
    """Parameters for ``CLASSES`` classes and images of ``SHAPE``, the unused ones of a sub-block included."""
    published: str = ""
    """Number of parameters that others state for it, in millions, rounded as they round; empty: none that we know."""
    stated_by: str = ""
    """Who states that."""


RESNET = "He et al. 2016, CVPR"
PREACT = "He et al. 2016, ECCV"
WIDE = "Zagoruyko & Komodakis 2016"
PAPER = "the paper"
PUBLIC = "public code with this network"
PAPERS = "papers on robustness"

ZOO = (
    Facts("preact-resnet18", PREACT, "32", 11_172_170, "11.172170", PUBLIC),
    Facts("preact-resnet18,final_norm=false", PREACT, "32", 11_171_146, "11.17", PAPERS),
    Facts("preact-resnet34", PREACT, "32 to 64", 21_280_330),
    Facts("preact-resnet50", PREACT, "32 to 64", 23_513_162),
    Facts("resnet18", RESNET, "32 to 64", 11_173_962, "11.173962", PUBLIC),
    Facts("resnet34", RESNET, "32 to 64", 21_282_122, "21.282122", PUBLIC),
    Facts("resnet50", RESNET, "32 to 64", 23_520_842, "23.520842", PUBLIC),
    Facts("resnet-cifar,depth=20", RESNET, "32", 269_722, "0.27", PAPER),
    Facts("resnet-cifar,depth=32", RESNET, "32", 464_154, "0.46", PAPER),
    Facts("resnet-cifar,depth=56", RESNET, "32", 853_018, "0.85", PAPER),
    Facts("resnet-cifar,depth=110", RESNET, "32", 1_727_962, "1.7", PAPER),
    Facts("wide-resnet,depth=28", WIDE, "32", 36_479_194, "36.5", PAPER),
    Facts("wide-resnet,depth=32", WIDE, "32", 46_160_474),
    Facts("wide-resnet,depth=34", WIDE, "32", 46_160_474, "46.16", PAPERS),
    Facts("wide-resnet,depth=34,sub_block=true", WIDE, "32", 48_262_586, "48.262586", PUBLIC),
    Facts("wide-resnet,depth=34,widen=20", WIDE, "32", 184_531_674),
    Facts("convnext-tiny", "Liu et al. 2022", "32 to 64", 27_824_362),
    Facts("vit-tiny", "Touvron et al. 2021", "32 to 64", 5_362_378),
    Facts("vit-small", "Touvron et al. 2021", "32 to 64", 21_341_578),
    Facts("small-vit", "ours, after Dosovitskiy et al. 2021", "8 to 32", 207_946),
    Facts("cnn3", "ours, for Xu et al. 2020 (GTSRB)", "32", 113_738),
    Facts("cnn4", "ours, for Xu et al. 2020 (GTSRB)", "32", 398_666),
    Facts("trades-cnn", "Zhang et al. 2019 (MNIST)", "28", 427_978),
    Facts("small-cnn", "ours, for the digits", "8 to 32", 582_026),
    Facts("mlp", "textbook", "any", 855_050),
    Facts("linear", "textbook", "any", 30_730),
)
"""Every network that is made here, in the sizes in use."""


def facts_of(builder: ModelBuilder) -> Facts | None:
    """What is known of a network; None for a size that is not in the list."""
    return next((each for each in ZOO if network_named(each.word) == builder), None)


def count_parameters(builder: ModelBuilder, classes: int = CLASSES, shape: tuple[int, int, int] = SHAPE) -> int:
    """Parameters of a network, counted without taking memory for them.

    Args:
        builder: A network of the zoo.
        classes: Number of outputs.
        shape: Channels, height, width of its input.

    Raises:
        ValueError: The network is not for images of this shape.
    """
    with torch.device("meta"):
        network = builder.build(classes, shape)
    return sum(each.numel() for each in network.parameters())
