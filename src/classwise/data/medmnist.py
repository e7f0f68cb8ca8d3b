"""MedMNIST (the flat subsets with one class per image, 28x28 pixels) in its official files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.fetch import ARCHIVES, Download, Published
from classwise.data.official import official_bytes, official_folder
from classwise.data.source import DataSource
from classwise.registry import did_you_mean, register

_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "pathmnist": (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal, benign"),
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "tissuemnist": (
        "Collecting Duct, Connecting Tubule",
        "Distal Convoluted Tubule",
        "Glomerular endothelial cells",
        "Interstitial endothelial cells",
        "Leukocytes",
        "Podocytes",
        "Proximal Tubule Segments",
        "Thick Ascending Limb",
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}
"""Classes of each subset in the order of their labels, as the authors' package lists them."""

OTHER_TASKS = {
    "chestmnist": "has several labels for one image",
    "retinamnist": "has grades, which stand in an order, and no classes",
}
"""Subsets that are no classification into classes that exclude each other."""

_MD5 = {
    "pathmnist": "a8b06965200029087d5bd730944a56c1",
    "dermamnist": "0744692d530f8e62ec473284d019b0c7",
    "octmnist": "c68d92d5b585d8d81f7112f81e2d0842",
    "pneumoniamnist": "28209eda62fecd6e6a2d98b1501bb15f",
    "breastmnist": "750601b1f35ba3300ea97c75c52ff8f6",
    "bloodmnist": "7053d0359d879ad8a5505303e11de1dc",
    "tissuemnist": "ebe78ee8b05294063de985d821c1c34b",
    "organamnist": "68e3f8846a6bd62f0c9bf841c0d9eacc",
    "organcmnist": "b9ceb9546e10131b32923c5bbeaea2b1",
    "organsmnist": "9ab87b696fb54e2a387ebe992d6ed5f1",
}

for _subset, _md5 in _MD5.items():
    ARCHIVES[_subset] = Published(
        folder="medmnist",
        downloads=(Download(f"https://zenodo.org/records/10519652/files/{_subset}.npz?download=1", md5=_md5),),
    )


@register("data", "medmnist")
@config
class MedMNIST(DataSource):
    """Medical images of ten kinds, 28x28 pixels, in colour or grey, 2 to 11 classes, most of them unbalanced.

    Images come as uint8 (N, 3 or 1, 28, 28). The authors' training and validation images, in this order, are those for
    training; ``index`` counts them, and the split of a run holds out its own validation images, as everywhere.

    Source: Yang et al. 2023, "MedMNIST v2 – a large-scale lightweight benchmark for 2D and 3D biomedical image
    classification"; version 3.0 of the files (https://zenodo.org/records/10519652): train_, val_ and test_ images
    (N, 28, 28) or (N, 28, 28, 3) and labels (N, 1).
    """

    folder: str = ""
    """Folder of the official .npz file, or its parent "medmnist". Empty: where `classwise data fetch SUBSET` put it."""
    subset: str = "pathmnist"
    """pathmnist, dermamnist, octmnist, pneumoniamnist, breastmnist, bloodmnist, tissuemnist, organamnist, organcmnist or
    organsmnist."""

    def check(self) -> None:
        """Refuse subsets that are unknown or no classification."""
        if self.subset in OTHER_TASKS:
            raise ValueError(f"subset {self.subset!r} {OTHER_TASKS[self.subset]}: use one of {', '.join(CLASS_NAMES)}")
        if self.subset not in CLASS_NAMES:
            raise ValueError(
                f"unknown subset {self.subset!r} of MedMNIST{did_you_mean(self.subset, list(CLASS_NAMES))}"
            )

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: The file is missing or is not the published one.
        """
        path = official_folder(self.subset, f"{self.subset} of MedMNIST", self.folder) / f"{self.subset}.npz"
        return Dataset(
            self.subset,
            train=_read(path, self.subset, ("train", "val")),
            test=lambda: _read(path, self.subset, ("test",)),
            source=self,
        )


def _read(path: Path, subset: str, parts: tuple[str, ...]) -> ClassData:
    content = official_bytes(subset, path)
    pairs = []
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for part in parts:
                pairs.append((arrays[f"{part}_images"], arrays[f"{part}_labels"]))
    except Exception as error:  # a damaged file raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{str(path)!r} is no file of MedMNIST ({reason}): use the official file") from error
    images = torch.cat([_images(each, str(path)) for each, _ in pairs])
    labels = torch.cat([_labels(each, str(path)) for _, each in pairs])
    return ClassData(images, labels, CLASS_NAMES[subset], name=subset)


def _images(pixels: np.ndarray, where: str) -> Tensor:
    grey = pixels.ndim == 3
    if pixels.dtype != np.uint8 or not (grey or (pixels.ndim == 4 and pixels.shape[3] == 3)):
        raise ValueError(
            f"{where!r} holds images of type {pixels.dtype} and shape {pixels.shape}: use the official file"
        )
    given = torch.from_numpy(pixels)
    return given[:, None] if grey else given.permute(0, 3, 1, 2).contiguous()


def _labels(given: np.ndarray, where: str) -> Tensor:
    if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != 1:
        raise ValueError(f"{where!r} holds labels of type {given.dtype} and shape {given.shape}: use the official file")
    return torch.from_numpy(given[:, 0].astype(np.int64))
