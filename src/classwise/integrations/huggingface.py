"""Image classifiers of Hugging Face's transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from classwise.configuration import config
from classwise.integrations.base import Adapter, check_classes, package
from classwise.models.wrapped import Logits
from classwise.registry import register

INSTALL = "pip install transformers"
PREPROCESSING = "preprocessor_config.json"


@register("model", "huggingface")
@config
class HuggingFace(Adapter):
    """An image classifier with the preprocessing that its repository states; it answers with its logits alone.

    Images are resized to the size in its configuration, or else in its preprocessing. Code that a repository brings
    along is never run.

    Source: https://huggingface.co/docs/transformers/model_doc/auto (``AutoModelForImageClassification``).
    Tried with transformers 5.23.0: a local folder with and without its weights; downloads were not.
    """

    checkpoint: str
    """A folder that ``save_pretrained`` wrote, or a name on the hub. With ``pretrained`` its weights are loaded, from
    the hub where need be; without, only its configuration is used, and only if it is at hand."""

    def build(self, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """See :class:`ModelBuilder`. The file of weights in a folder is loaded by ``pretrained`` and in no other way.

        Raises:
            ValueError: transformers is missing, the checkpoint is not there, is for other classes or channels, or says
                nothing of its preprocessing that can be used.
        """
        transformers = package("transformers", INSTALL)
        offline = not self.pretrained or Path(self.checkpoint).is_dir()
        try:
            facts = transformers.AutoConfig.from_pretrained(self.checkpoint, local_files_only=offline)
            if self.pretrained:
                check_classes(self.checkpoint, facts.num_labels, classes)
            facts.num_labels = classes
            make = transformers.AutoModelForImageClassification
            if self.pretrained:
                net = make.from_pretrained(self.checkpoint, config=facts, local_files_only=offline)
            else:
                net = make.from_config(facts)
        except OSError as error:
            raise ValueError(
                f"there is no checkpoint {self.checkpoint!r} to be had ({_first_line(error)}): give a folder that "
                "save_pretrained wrote, or pretrained=true to download from the hub"
            ) from error
        wanted = getattr(facts, "num_channels", shape[0])
        if wanted != shape[0]:
            raise ValueError(
                f"{self.checkpoint!r} takes {wanted} channels and the images have {shape[0]}: use another one"
            )
        stated = self._preprocessing(offline)
        if not stated and not self.mean:
            raise ValueError(f"{self.checkpoint!r} has no {PREPROCESSING}: give mean and std")
        normalises = bool(stated.get("do_normalize", True)) and not self.mean
        if normalises and abs(stated.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
            raise ValueError(
                f"{self.checkpoint!r} does not scale its images to [0, 1] before it normalises them: "
                "give mean and std for images in [0, 1]"
            )
        return self.prepared(
            Logits(net),
            stated["image_mean"] if normalises else (),
            stated["image_std"] if normalises else (),
            shape[0],
            _size(getattr(facts, "image_size", None)) or _size(stated.get("crop_size")) or _size(stated.get("size")),
            {2: "bilinear", 3: "bicubic"}.get(stated.get("resample", 2), "bilinear"),  # PIL's numbers
        )

    def _preprocessing(self, offline: bool) -> dict[str, Any]:
        """What the repository says of its preprocessing; read as data, because its own class needs torchvision."""
        path = Path(self.checkpoint) / PREPROCESSING
        if not Path(self.checkpoint).is_dir():
            try:
                hub = package("huggingface_hub", INSTALL)
                path = Path(hub.hf_hub_download(self.checkpoint, PREPROCESSING, local_files_only=offline))
            except (OSError, ValueError):  # not there, or not at hand
                return {}
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _size(stated: Any) -> tuple[int, int] | None:
    """Height and width from any of the forms in which configurations state them."""
    if isinstance(stated, Mapping):
        stated = [stated["height"], stated["width"]] if "height" in stated else stated.get("shortest_edge")
    if isinstance(stated, int):
        stated = [stated, stated]
    return (int(stated[0]), int(stated[1])) if stated else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
