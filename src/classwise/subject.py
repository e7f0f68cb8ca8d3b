"""What an audit, a check or a certification is about: a model on its device, and the images it is tried on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from classwise.attacks.base import Classifier
from classwise.data import ClassData, Dataset
from classwise.models import ModelBuilder
from classwise.models.foreign import Weights
from classwise.run import Run
from classwise.runs import RunDirectory
from classwise.trained import check_held_out, find_model
from classwise.training import Hardware, Runtime, TrainConfig


@dataclass(frozen=True)
class Subject:
    """A model on its device, the images it is tried on, and what both are called."""

    model: Classifier
    device: torch.device
    images: ClassData
    described: str
    split: str
    config: TrainConfig | None


def find_subject(
    model: Classifier | Run | Path | str,
    data: ClassData | Dataset | None,
    network: ModelBuilder | None,
    device: str,
    split: str,
    weights: Weights | None,
) -> Subject:
    """Find what the verbs on trained models are about; see :func:`classwise.audit` for the arguments.

    Raises:
        ValueError: The model cannot be read, or no data are given and the model knows of none.
    """
    config: TrainConfig | None = None
    described, dataset, runtime = type(model).__name__, None, None
    if isinstance(model, Run):
        config, described, dataset = model.config, model.path.name, model.dataset
        model, runtime = model.model(), Runtime(Hardware(device=device))
    elif isinstance(model, Path | str):
        sample = data.train if isinstance(data, Dataset) else data
        classes, shape = (sample.num_classes, sample.shape) if sample is not None else (0, (0, 0, 0))
        path, found = Path(model), find_model(model, network, classes, shape, weights)
        config, described, model = found.config, found.described, found.network
        runtime = Runtime(Hardware(device=device))
        if config is not None and data is None:
            dataset = config.data.load()
            check_held_out(RunDirectory(path if RunDirectory(path).exists else path.parent.parent), dataset)
    split = split or ("given" if isinstance(data, ClassData) else "test")
    if data is None and dataset is None:
        raise ValueError("no data given: name a data set, or audit a run that knows its own")
    images = data if isinstance(data, ClassData) else (data or dataset).test  # type: ignore[union-attr]
    if runtime is None:
        return Subject(model, device_of(model), images, described, split, config)
    assert isinstance(model, nn.Module)
    return Subject(runtime.place(model).eval(), runtime.device, images, described, split, config)


def device_of(model: Classifier) -> torch.device:
    """Where a module's tensors are; the CPU for a function."""
    tensors = [*model.parameters(), *model.buffers()] if isinstance(model, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")
