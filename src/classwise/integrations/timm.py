"""Image classifiers of timm (PyTorch Image Models)."""

from __future__ import annotations

from torch import nn

from classwise.configuration import config
from classwise.integrations.base import Adapter, check_classes, package
from classwise.registry import register


@register("model", "timm")
@config
class Timm(Adapter):
    """A network of timm with the data's classes and channels, and timm's own normalisation.

    Images are resized to the size that timm states where its weights are used or the network takes no other size;
    otherwise they stay as they are. For further arguments of ``timm.create_model`` use the network ``import``.

    Source: https://huggingface.co/docs/timm/reference/models and .../reference/data (``resolve_model_data_config``).
    Tried with timm 1.0.31 and random weights; the download of pretrained ones was not.
    """

    architecture: str
    """Name in timm, such as resnet18 or resnet18.a1_in1k; see ``timm.list_models()``."""

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: timm is missing, does not know the network, or its weights are for other classes or channels.
        """
        timm = package("timm", "pip install timm")
        name, channels = self.architecture, shape[0]
        if not timm.is_model(name):
            raise ValueError(f"timm {timm.__version__} has no network {name!r}: timm.list_models() names all it has")
        facts = timm.get_pretrained_cfg(name)
        if self.pretrained:
            check_classes(name, facts.num_classes, classes)
        net = timm.create_model(name, pretrained=self.pretrained, num_classes=classes, in_chans=channels)
        wants = timm.data.resolve_model_data_config(net)
        size = wants["input_size"][1:] if self.pretrained or facts.fixed_input_size else None
        return self.prepared(net, wants["mean"], wants["std"], channels, size, wants["interpolation"])
