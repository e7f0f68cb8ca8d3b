"""Image classifiers of torchvision."""

from __future__ import annotations

from torch import nn

from classwise.configuration import config
from classwise.integrations.base import Adapter, check_classes, package
from classwise.registry import did_you_mean, register


@register("model", "torchvision")
@config
class Torchvision(Adapter):
    """A network of ``torchvision.models`` with the data's classes, for three channels, and its own normalisation.

    Images are resized to the crop of its weights' preprocessing where these weights are used, where the network takes
    no other size, or where the images are smaller than it can take; otherwise they stay as they are. Weights and
    preprocessing are its defaults (``weights="DEFAULT"``).

    Source: https://docs.pytorch.org/vision/stable/models.html.
    Tried with torchvision 0.29.2 (whose compiled operators, which classifiers do not use, were missing) and random
    weights; the download of pretrained ones was not.
    """

    architecture: str
    """Name in torchvision, such as resnet18."""

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: torchvision is missing, does not know the network, or its weights are for other classes.
        """
        models = package("torchvision", "pip install torchvision").models
        name, known = self.architecture, models.list_models(module=models)
        if name not in known:
            raise ValueError(f"torchvision has no classifier {name!r}{did_you_mean(name, known)}")
        if shape[0] != 3:
            raise ValueError(f"torchvision's networks take 3 channels and the images have {shape[0]}: use another one")
        weights = models.get_model_weights(name).DEFAULT
        if self.pretrained:
            check_classes(name, len(weights.meta["categories"]), classes)
        net = models.get_model(name, weights=weights if self.pretrained else None, num_classes=classes)
        wants = weights.transforms()
        small = min(shape[1:]) < min(weights.meta["min_size"])
        (side,) = wants.crop_size
        size = (side, side) if self.pretrained or small or hasattr(net, "image_size") else None
        return self.prepared(net, wants.mean, wants.std, 3, size, wants.interpolation.value)
