"""CIFAR-100 in its official files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.fetch import ARCHIVES, Download, Published
from classwise.data.official import official_bytes, official_folder
from classwise.data.pickles import read_pickle
from classwise.data.source import DataSource
from classwise.registry import register

_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

_COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""

FINE_NAMES = tuple(_FINE.split())
"""The 100 classes in the order of their labels, as in the file "meta"."""

COARSE_NAMES = tuple(_COARSE.split())
"""The 20 superclasses in the order of their labels, as in the file "meta"."""

ARCHIVES["cifar100"] = Published(
    folder="cifar-100-python",
    downloads=(
        Download(
            url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            members={
                "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
                "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            },
        ),
    ),
)


@register("data", "cifar100")
@config
class CIFAR100(DataSource):
    """Photographs of 100 classes in 20 superclasses, 32x32 pixels in colour: 500 of each class for training, 100 for testing.

    Images come as uint8 (N, 3, 32, 32) in the official order, which ``index`` counts.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images"; the "python version" of the author's
    archive (https://www.cs.toronto.edu/~kriz/cifar.html): pickles with rows of 1,024 red, green and blue bytes each, and
    the lists fine_labels and coarse_labels.
    """

    folder: str = ""
    """The official files: cifar-100-python or its parent. Empty: where `classwise data fetch` put them."""
    labels: Literal["fine", "coarse"] = "fine"
    """What is learnt: the 100 classes, or the 20 superclasses."""
    groups: Literal["", "coarse"] = ""
    """What class-wise statistics and policies look at: "coarse" means the superclasses; empty: the labels."""

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or is not the published one.
        """
        folder = official_folder("cifar100", "CIFAR-100", self.folder)
        return Dataset(
            "cifar100", train=self._read(folder / "train"), test=lambda: self._read(folder / "test"), source=self
        )

    def _read(self, path: Path) -> ClassData:
        content = read_pickle(official_bytes("cifar100", path), str(path))
        images = torch.from_numpy(np.array(content[b"data"])).reshape(-1, 3, 32, 32)
        coarse = torch.tensor(content[b"coarse_labels"], dtype=torch.int64)
        fine = torch.tensor(content[b"fine_labels"], dtype=torch.int64)
        labels, names = (fine, FINE_NAMES) if self.labels == "fine" else (coarse, COARSE_NAMES)
        groups: dict[str, Tensor | tuple[str, ...]] = {}
        if self.groups:
            groups = {"groups": coarse, "group_names": COARSE_NAMES}
        return ClassData(images, labels, names, name="cifar100", **groups)  # type: ignore[arg-type]
