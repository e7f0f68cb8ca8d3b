"""Networks of RobustBench's model zoo."""

from __future__ import annotations

from typing import Literal

from torch import nn

from classwise.configuration import config
from classwise.integrations.base import check_classes, package
from classwise.models.builder import ModelBuilder
from classwise.registry import did_you_mean, register

INSTALL = "pip install git+https://github.com/RobustBench/robustbench.git"


@register("model", "robustbench")
@config
class RobustBench(ModelBuilder):
    """A network of the zoo. It normalises its input itself, so that images in [0, 1] are what it wants.

    Source: https://github.com/RobustBench/robustbench (README: model zoo, ``load_model``).
    Tried with robustbench 1.1.1, timm 1.0.31 in place of the 1.0.9 it asks for, and random weights; the download of the
    zoo's weights was not. The release on PyPI needs a package ``autoattack`` that PyPI does not have.
    """

    model: str
    """Name in the zoo, such as Wong2020Fast."""
    dataset: Literal["cifar10", "cifar100", "imagenet"] = "cifar10"
    """Part of the zoo: what the network was trained on."""
    threat: Literal["Linf", "L2", "corruptions"] = "Linf"
    """Part of the zoo: what the network was trained to withstand."""
    pretrained: bool = False
    """Whether the zoo's weights are loaded, which downloads them where ``folder`` lacks them; otherwise the network
    is a fresh one, for a checkpoint of one's own."""
    folder: str = "models"
    """Where the zoo's weights are kept, as ``DATASET/THREAT/MODEL.pt``."""

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`.

        Raises:
            ValueError: robustbench is missing or has no such network, or the network is for other data.
        """
        check_classes(self.model, {"cifar10": 10, "cifar100": 100, "imagenet": 1000}[self.dataset], classes)
        if shape[0] != 3:
            raise ValueError(f"the zoo's networks take 3 channels and the images have {shape[0]}: use another one")
        zoo = package("robustbench.model_zoo", INSTALL)
        enums = package("robustbench.model_zoo.enums", INSTALL)
        models = zoo.model_dicts[enums.BenchmarkDataset(self.dataset)][enums.ThreatModel(self.threat)]
        if self.model not in models:
            raise ValueError(
                f"RobustBench has no {self.dataset} {self.threat} network {self.model!r}"
                f"{did_you_mean(self.model, list(models))}"
            )
        if self.pretrained:
            load = package("robustbench.utils", INSTALL).load_model
            net = load(model_name=self.model, model_dir=self.folder, dataset=self.dataset, threat_model=self.threat)
        elif models[self.model]["gdrive_id"]:
            net = models[self.model]["model"]()
        else:  # those come from elsewhere, and making one would fetch its weights
            raise ValueError(f"the network {self.model!r} comes only with its weights: give pretrained=true")
        assert isinstance(net, nn.Module)
        return net
