"""Checkpoints: immutable folders, written whole or not at all, checked when read.

``checkpoints/<epoch>/`` holds ``model.safetensors``, ``averaged.safetensors`` where there is an average, ``state.pt``
and ``meta.json`` with the SHA-256 of each and of itself. Pointer files beside the folders name one of them. What a repair
without training made of an epoch's weights is in ``checkpoints/<epoch>-repaired/``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from classwise.runs.atomic import cannot_write, sync_folder, write_text

POINTERS = ("last", "best", "averaged", "start")
FORMAT = 1
REPAIRED = "-repaired"


@dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds.

    Args:
        model: Weights and buffers of the network.
        averaged: The same of the average; {} where there is none.
        state: Everything else that training needs to go on: plain values and tensors.
        meta: Epoch, class names, scores: plain values.
    """

    model: Mapping[str, Tensor]
    averaged: Mapping[str, Tensor]
    state: Mapping[str, Any]
    meta: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint folder.

    Raises:
        ValueError: The disk is full or cannot be written; nothing of the new checkpoint remains.
    """
    files = {"model.safetensors": _tensor_bytes(checkpoint.model)}
    if checkpoint.averaged:
        files["averaged.safetensors"] = _tensor_bytes(checkpoint.averaged)
    if checkpoint.state:
        buffer = io.BytesIO()
        torch.save(dict(checkpoint.state), buffer)
        files["state.pt"] = buffer.getvalue()
    meta = {
        "format": FORMAT,
        **checkpoint.meta,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    meta["seal"] = _seal(meta)
    files["meta.json"] = (json.dumps(meta, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in files.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(temporary)
        shutil.rmtree(folder, ignore_errors=True)  # left over from a run that died after this checkpoint
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise cannot_write(folder, error) from error


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint folder, onto the CPU, and check every byte of it.

    Raises:
        ValueError: A file is missing, or differs from what was written.
    """
    meta = read_meta(folder)
    contents = {}
    for name, digest in meta["sha256"].items():
        path = folder / Path(name).name
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(
                f"checkpoint file {str(path)!r} is damaged (its SHA-256 differs from the one written with it): "
                "use another checkpoint, or restore the file"
            )
        contents[name] = content
    averaged = contents.get("averaged.safetensors")
    state = contents.get("state.pt")
    return Checkpoint(
        model=safetensors.torch.load(contents["model.safetensors"]),
        averaged=safetensors.torch.load(averaged) if averaged else {},
        state=torch.load(io.BytesIO(state), map_location="cpu", weights_only=True) if state else {},
        meta=meta,
    )


def read_meta(folder: Path) -> dict[str, Any]:
    """The facts of a checkpoint.

    Raises:
        ValueError: The folder is no checkpoint, was written by a later version, or differs from what was written.
    """
    path = folder / "meta.json"
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known, whole = meta["format"] <= FORMAT, meta.pop("seal") == _seal(meta)
    except FileNotFoundError:
        raise ValueError(
            f"{str(folder)!r} is no checkpoint: it has no meta.json; give a run directory, or a folder in its checkpoints"
        ) from None
    except (ValueError, KeyError, TypeError, OSError):
        known, whole = True, False
    if not known:
        raise ValueError(f"{str(folder)!r} was written by a later version of classwise: update classwise to read it")
    if not whole:
        raise ValueError(f"{str(path)!r} is damaged: use another checkpoint, or restore the file")
    return meta


class Shelf:
    """The ``checkpoints`` folder of a run: numbered checkpoints and pointers to them.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, epochs: int) -> Path:
        """Folder of the checkpoint after so many epochs."""
        return self.folder / str(epochs)

    def repaired_path(self, epochs: int) -> Path:
        """Folder of what a repair without training made of the weights after so many epochs."""
        return self.folder / f"{epochs}{REPAIRED}"

    def repaired(self) -> Path | None:
        """The folder of the run's repaired weights; None where there are none."""
        return next((each for each in sorted(self.folder.glob(f"*{REPAIRED}")) if each.name[0].isdigit()), None)

    def point(self, name: str, epochs: int) -> None:
        """Let a pointer name the checkpoint after so many epochs."""
        assert name in POINTERS, name
        write_text(self.folder / name, f"{epochs}\n")

    def pointed(self, name: str) -> int | None:
        """Epochs of the checkpoint a pointer names; None where the pointer does not exist."""
        path = self.folder / name
        if not path.is_file():
            return None
        text = path.read_text(encoding="utf-8").strip()
        if not text.isdigit():
            raise ValueError(f"pointer file {str(path)!r} is damaged: write the number of a checkpoint folder into it")
        return int(text)

    def numbers(self) -> list[int]:
        """Epoch numbers of all checkpoints, ascending."""
        return sorted(int(each.name) for each in self.folder.glob("*") if each.is_dir() and each.name.isdigit())

    def prune(self, keep: Collection[int]) -> None:
        """Remove what no pointer names, except the last two and the numbers given, and leftovers of crashes."""
        numbers = self.numbers()
        kept = {*numbers[-2:], *keep, *(self.pointed(name) for name in POINTERS)}
        for number in numbers:
            if number not in kept:
                shutil.rmtree(self.path(number), ignore_errors=True)
        for leftover in self.folder.glob(".*.tmp"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()


def _seal(meta: Mapping[str, Any]) -> str:
    """SHA-256 over all facts of a checkpoint: a flipped bit mostly leaves valid JSON behind."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Safetensors form; each tensor is copied, since the format knows neither strides nor shared memory."""
    return safetensors.torch.save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
