"""A plug-in for tests: small separable images and networks on them, each with a flaw on request."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from classwise import ClassData, Dataset, config, register
from classwise.data import DataSource
from classwise.models import ModelBuilder

NAMES = ("ant", "bee", "cat")


@register("data", "toy")
@config
class Toy(DataSource):
    """Three classes of images of 4x4 pixels."""

    flaw: Literal["", "range", "negative", "nan", "labels", "untrained", "untested"] = ""
    """What is wrong with them."""
    size: int = 4
    """Height and width."""

    classes = 3

    def load(self) -> Dataset:
        train, test = self._images(14, seed=1), self._images(6, seed=2)
        if self.flaw in ("untrained", "untested"):
            part = train if self.flaw == "untrained" else test
            keep = (part.labels != 1).nonzero()[:, 0]
            train, test = (train.subset(keep), test) if self.flaw == "untrained" else (train, test.subset(keep))
        return Dataset("toy", train=train, test=lambda: test, source=self)

    def _images(self, per_class: int, seed: int) -> ClassData:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(3).repeat(per_class)
        images = 0.2 * torch.rand(len(labels), 1, self.size, self.size, generator=generator)
        images[torch.arange(len(labels)), 0, labels] += 0.8  # row c is bright in class c
        if self.flaw == "range":
            images = 255 * images
        if self.flaw == "negative":
            images = 2 * images - 1
        if self.flaw == "nan":
            images[4, 0, 0, 0] = float("nan")
        return ClassData(images, labels + (self.flaw == "labels"), NAMES, name="toy")


@register("data", "toy-large")
@config
class LargeToy(Toy):
    """The same with 6x6 pixels."""

    size: int = 6


class Stubborn(nn.Linear):
    """Stays in train mode whatever it is told."""

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(True)


class Unfinished(nn.Linear):
    """Gives features and not logits."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(x)}


@register("model", "flawed")
@config
class Flawed(ModelBuilder):
    """A linear network with a flaw."""

    flaw: Literal["softmax", "stubborn", "nan", "classes", "dict"] = "softmax"
    """What is wrong with it."""

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        pixels = shape[0] * shape[1] * shape[2]
        head = {"stubborn": Stubborn, "dict": Unfinished}.get(self.flaw, nn.Linear)
        layers = [nn.Flatten(), head(pixels, classes + (self.flaw == "classes"))]
        if self.flaw == "softmax":
            layers.append(nn.Softmax(1))
        if self.flaw == "nan":
            nn.init.constant_(layers[1].bias, float("nan"))
        return nn.Sequential(*layers)
