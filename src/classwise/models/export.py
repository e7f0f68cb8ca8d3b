"""A network written for other programs: weights with the facts that rebuild it, or ONNX."""

from __future__ import annotations

import copy
import hashlib
import importlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classwise.configuration import from_plain, to_plain
from classwise.models.builder import ModelBuilder
from classwise.models.foreign.constants import normalisation_of
from classwise.runs.atomic import write_bytes

WEIGHTS, ONNX, FACTS = "model.safetensors", "model.onnx", "facts.json"
FORMAT = 1
_ONNX_PACKAGES = ("onnx", "onnxscript")


def network_facts(
    network: nn.Module, builder: ModelBuilder, classes: tuple[str, ...], shape: tuple[int, int, int]
) -> dict[str, Any]:
    """What a stranger has to know of a network to run it, in plain values.

    Args:
        network: With its weights.
        builder: What built it.
        classes: Names of its outputs.
        shape: Channels, height, width of its input.
    """
    inside = normalisation_of(network)
    return {
        "architecture": to_plain(builder),
        "parameters": sum(each.numel() for each in network.parameters()),
        "classes": list(classes),
        "input": {"channels": shape[0], "height": shape[1], "width": shape[2], "type": "float32", "range": [0, 1]},
        "normalisation": None
        if inside is None
        else {"inside the network": True, "mean": list(inside.mean), "std": list(inside.std)},
    }


def write_weights(network: nn.Module, path: Path) -> str:
    """Write parameters and persistent buffers as safetensors; returns the SHA-256 of the file."""
    import safetensors.torch

    # Each tensor is copied, since the format knows neither strides nor shared memory.
    state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    return _written(path, safetensors.torch.save(state, metadata={"format": "pt"}))


def write_onnx(network: nn.Module, shape: tuple[int, int, int], path: Path, notes: Mapping[str, str]) -> str:
    """Write the classifier as ONNX: ``images`` (N, C, H, W) float32 in [0, 1] to ``logits`` (N, classes), any N.

    Args:
        network: On the CPU. It is written in eval mode and stays as it is.
        shape: Channels, height, width of an image.
        path: The file.
        notes: Kept in the file as metadata.

    Returns:
        SHA-256 of the file.

    Raises:
        ValueError: The packages onnx and onnxscript are not installed, or the network has a part without ONNX form.
    """
    for name in _ONNX_PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"an ONNX file needs the package {name}, which cannot be imported ({error}): "
                f"pip install {' '.join(_ONNX_PACKAGES)}"
            ) from error
    plain = copy.deepcopy(network).eval()
    two = torch.zeros(2, *shape)  # of one image the exporter would make a constant of the batch size
    try:
        with _quiet():
            program = torch.onnx.export(
                plain,
                (two,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except Exception as error:  # the exporter fails with its own kinds, and some parts raise anything
        raise ValueError(f"this network has no ONNX form ({_reason(error)}): export it as safetensors") from error
    assert program is not None
    proto: Any = program.model_proto
    for part in [proto.graph, *proto.functions]:  # traces name the files and folders of this machine
        for each in [part, *part.node, *part.value_info]:
            del each.metadata_props[:]
    for key, value in notes.items():
        proto.metadata_props.add(key=key, value=value)
    return _written(path, proto.SerializeToString())


def load_exported(folder: Path | str, network: nn.Module | None = None) -> nn.Module:
    """Rebuild the network of a folder that an export wrote as safetensors or for Hugging Face.

    Args:
        folder: It holds ``facts.json`` and ``model.safetensors``.
        network: Receives the weights, where the exported one was handed over in Python; default: a new one.

    Returns:
        The network in eval mode, on the CPU, for images in [0, 1].

    Raises:
        ValueError: The folder holds no such export, a file is damaged, or the weights are not those of the network.
    """
    from safetensors.torch import load

    folder = Path(folder)
    facts = read_facts(folder)
    stated = facts["files"].get(WEIGHTS)
    if stated is None:
        raise ValueError(f"{str(folder)!r} holds no {WEIGHTS}, only {', '.join(facts['files'])}: export as safetensors")
    content = (folder / WEIGHTS).read_bytes() if (folder / WEIGHTS).is_file() else b""
    if hashlib.sha256(content).hexdigest() != stated:
        raise ValueError(f"{str(folder / WEIGHTS)!r} is damaged (its SHA-256 differs from {FACTS}): export again")
    if network is None:
        builder = exported_builder(folder)
        size = facts["input"]
        network = builder.build(len(facts["classes"]), (size["channels"], size["height"], size["width"]))
    try:
        network.load_state_dict(load(content))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the weights in {str(folder)!r} do not fit the network ({reason}): use the code they were trained with"
        ) from error
    return network.eval()


def exported_builder(folder: Path) -> ModelBuilder:
    """What builds the network of an export; raises as :func:`read_facts`, and where its class is not at hand."""
    facts = read_facts(folder)
    made: ModelBuilder = from_plain(ModelBuilder, facts["architecture"], where=f"{folder}/{FACTS}: architecture")
    return made


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of an export.

    Raises:
        ValueError: There are none, or they are damaged or of a later version.
    """
    path = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = facts["format"] <= FORMAT
        whole = all(key in facts for key in ("files", "weights", "architecture", "classes", "input"))
    except FileNotFoundError:
        raise ValueError(
            f"{str(folder)!r} holds no export: it has no {FACTS}; give the folder of `classwise export`"
        ) from None
    except (ValueError, KeyError, TypeError):
        known, whole = True, False
    if not known:
        raise ValueError(f"{str(path)!r} was written by a later version of classwise: update classwise to read it")
    if not whole:
        raise ValueError(f"{str(path)!r} is damaged: export again")
    return facts


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence for the exporter: its own deprecations, packages this network does not need, programs printed on failure."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """What is at the bottom of an error of the exporter, in one line and without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
    return (text.splitlines() or [type(error).__name__])[0]


def _written(path: Path, content: bytes) -> str:
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()
