"""Many image files decoded into one array of bytes, which is kept on disk for the next time."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from classwise.data.files import Files
from classwise.data.images import decode
from classwise.progress import default_progress

Box = tuple[int, int, int, int]
"""Part of an image: left, top, right, bottom in pixels, right and bottom exclusive."""

_RULE = "1"
"""Counts changes to how images are decoded here; arrays of another count are not used."""


def decoded(files: Files, names: Mapping[str, Box | None], size: int, cache: Path, label: str) -> Tensor:
    """Decode images, or take them from an earlier time.

    The array lies in the folder ``cache`` under a name with a digest of everything that it depends on: the files
    (see :meth:`Files.digest`), the parts cut out of them and the size. It is written under another name and then
    renamed, so a half-written one is never used; where the folder cannot be written, nothing is kept.

    Args:
        files: Where the images are.
        names: The images in the order wanted, each with the part to cut out, if any.
        size: Height and width in pixels.
        cache: Folder beside the data.
        label: What the array is called on disk and beside the progress bar.

    Returns:
        (N, 3, size, size), uint8, N the number of names. Pages of a kept array are read when they are first used;
        writing to the tensor leaves the file alone.

    Raises:
        ValueError: A file is missing or damaged, or smaller than its part.
    """
    shape = (len(names), 3, size, size)
    path = cache / f"{label}-{_digest(files, names, size)}.npy"
    kept = _kept(path, shape)
    if kept is not None:
        return kept
    images = torch.empty(shape, dtype=torch.uint8)
    rows = {name: row for row, name in enumerate(names)}
    with default_progress().task(f"decode {label}", len(names)) as advance:
        for name, content in files.read(names):
            images[rows[name]] = decode(content, files.where(name), size, box=names[name])
            advance()
    _keep(path, images)
    return images


def _digest(files: Files, names: Mapping[str, Box | None], size: int) -> str:
    parts = "\n".join(f"{name} {box}" for name, box in names.items())
    return hashlib.sha256(f"{_RULE} {size} {files.digest(names)}\n{parts}".encode()).hexdigest()[:16]


def _kept(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """An array from an earlier time, mapped into memory; none where there is no sound one."""
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or cut short
        return None
    return torch.from_numpy(array) if array.shape == shape and array.dtype == np.uint8 else None


def _keep(path: Path, images: Tensor) -> None:
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            np.save(stream, images.numpy())
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError:  # no right to write, or no room: the next time decodes again
        pass
    finally:
        part.unlink(missing_ok=True)
