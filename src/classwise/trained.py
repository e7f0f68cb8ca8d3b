"""Trained networks found on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from classwise.configuration import from_plain
from classwise.data import Dataset
from classwise.models import ModelBuilder, load_foreign
from classwise.models.export import exported_builder, load_exported
from classwise.models.foreign import Weights
from classwise.models.named import network_named
from classwise.runs import RunDirectory, checkpoints
from classwise.runs.acted import inaction
from classwise.runs.repaired import described
from classwise.training.config import TrainConfig


@dataclass(frozen=True)
class Trained:
    """A network with its weights, and where they came from.

    Args:
        network: In eval mode, on the CPU.
        described: In words, for tables.
        builder: What built it.
        config: The run it belongs to, where it belongs to one.
    """

    network: nn.Module
    described: str
    builder: ModelBuilder
    config: TrainConfig | None = None


def find_model(
    path: str | Path,
    builder: ModelBuilder | None = None,
    classes: int = 0,
    shape: tuple[int, int, int] = (0, 0, 0),
    weights: Weights | None = None,
) -> Trained:
    """Load a network.

    Args:
        path: A run directory (its selected checkpoint), a checkpoint folder, a folder that ``classwise export`` wrote, a
            file of weights (``.safetensors``, or a torch file that holds tensors only), or the word for a network that
            brings its weights along, such as
            ``timm:resnet18,pretrained=true`` (see :func:`classwise.models.named.network_named`).
        builder: The architecture; needed for a file of weights.
        classes: Number of classes, for a file of weights.
        shape: Input shape, for a file of weights.
        weights: Which weights of a file that holds "raw" and "averaged" ones; default: the averaged.

    Raises:
        ValueError: Nothing is there, the architecture is not known, or the weights do not fit or are damaged.
    """
    path = Path(path)
    if not path.exists() and ":" in str(path):
        builder = network_named(str(path), where="model")
        return Trained(builder.build(classes, shape).eval(), str(path), builder)
    if not path.exists():
        raise ValueError(
            f"{str(path)!r} does not exist: give a run directory, a checkpoint folder or a file of weights"
        )
    if path.is_file():
        if builder is None:
            raise ValueError(
                f"{str(path)!r} holds weights but does not say of which network: name it, for an audit --network resnet20, "
                "for a repair --use model=resnet20 (in Python network=…)"
            )
        network = builder.build(classes, shape)
        load_foreign(network, path, weights=weights)
        return Trained(network.eval(), str(path), builder)
    if (path / "facts.json").is_file():
        exported = load_exported(path)
        return Trained(exported, f"{path.name} (exported)", exported_builder(path))
    directory = RunDirectory(path)
    if directory.exists:
        folder, averaged = selected(directory)
    else:
        folder, averaged = path, False
        directory = RunDirectory(path.parent.parent)
    config = directory.read_config(TrainConfig) if directory.exists else None
    network, builder = network_from(folder, averaged)
    which = described(directory, folder, "averaged weights" if averaged else "")
    still = inaction(config.policy.registered_name, directory.events.read("epoch")) if config is not None else ""
    return Trained(network, f"{directory.path.name} ({which}{still})", builder, config)


def run_facts(path: Path) -> dict[str, Any]:
    """Fields of a configuration that describe the problem a checkpoint was trained on, not the method.

    Args:
        path: A run directory or a checkpoint folder; a file of weights knows nothing, which gives {}.
    """
    owner = next((each for each in (path, path.parent.parent) if RunDirectory(each).exists), None)
    if owner is None or path.is_file():
        return {}
    config = RunDirectory(owner).read_config(TrainConfig)
    problem = ("data", "split", "model", "threat", "augmentation", "batch_size", "hardware")
    return {field: getattr(config, field) for field in problem}


def check_held_out(directory: RunDirectory, data: Dataset) -> None:
    """Refuse a collection of images that has changed since a run held its test images out of it.

    Raises:
        ValueError: It has; images that the run was trained on could be test images now.
    """
    path = directory.path / "splits.json"
    if data.held_out is None or not path.exists():
        return
    kept = json.loads(path.read_text(encoding="utf-8")).get("held_out")
    if kept is not None and (kept["sha256"], kept["index"]) != (data.held_out.sha256, list(data.held_out.index)):
        raise ValueError(
            f"{data.name!r} has changed since {str(directory.path)!r} was trained on it ({len(kept['index'])} test images were "
            f"held out then and {len(data.held_out.index)} now), so test images could be images it was trained on: put the files "
            "back as they were, or audit a folder of new images with --data"
        )


def selected(directory: RunDirectory) -> tuple[Path, bool]:
    """Folder of a run's selected checkpoint, and whether its averaged weights are meant.

    That is what its repair without training made of the weights that :func:`trained_best` names, where that was better.

    Raises:
        ValueError: The run has no selected checkpoint yet.
    """
    repaired = directory.checkpoints.repaired()
    return trained_best(directory) if repaired is None else (repaired, False)


def trained_best(directory: RunDirectory) -> tuple[Path, bool]:
    """Folder of the checkpoint that a run's selection kept, before any repair, and whether its averaged weights are meant.

    The averaged weights are the run's result where it keeps an average, the raw ones otherwise.

    Raises:
        ValueError: The run has no selected checkpoint yet.
    """
    for name in ("averaged", "best"):
        number = directory.checkpoints.pointed(name)
        if number is not None:
            return directory.checkpoints.path(number), name == "averaged"
    raise ValueError(
        f"the run in {str(directory.path)!r} has no selected checkpoint yet: train it for an epoch at least"
    )


def network_from(folder: Path, averaged: bool, given: nn.Module | None = None) -> tuple[nn.Module, ModelBuilder]:
    """The network of a checkpoint folder, in eval mode.

    Args:
        folder: The checkpoint.
        averaged: Whether its averaged weights are meant.
        given: A network to load into, where the run was started from a live one.

    Raises:
        ValueError: The checkpoint is damaged, or its weights are not those of the network.
    """
    found = checkpoints.load(folder)
    meta: dict[str, Any] = dict(found.meta)
    builder: ModelBuilder = from_plain(ModelBuilder, meta["model"], where=f"{folder}/meta.json: model")
    network = given if given is not None else builder.build(len(meta["class_names"]), tuple(meta["shape"]))
    if averaged and not found.averaged:
        raise ValueError(f"{str(folder)!r} holds no averaged weights: none had been admitted then; take the raw ones")
    try:
        network.load_state_dict(dict(found.averaged if averaged else found.model))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the weights in {str(folder)!r} do not fit the network ({reason}): use the code they were trained with"
        ) from error
    return network.eval(), builder
