"""Images that stay where they are kept, on disk, and are read when they are asked for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from classwise.data.images import decode

CHUNK = 1 << 26
"""Bytes of images that are held at once where all of them are gone through."""


class StoredImages(ABC):
    """Base class: stands in for a uint8 tensor (N, C, H, W) as :attr:`ClassData.images`.

    Worker processes get a pickled copy, so what cannot be pickled is opened at first use. Reading raises ``ValueError``
    where a file is gone or damaged.
    """

    dtype = torch.uint8
    """As of a tensor; always uint8."""
    shape: torch.Size
    """As of a tensor: (N, C, H, W)."""

    def __len__(self) -> int:
        return self.shape[0]

    def dim(self) -> int:
        """Number of axes, as of a tensor."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all images when they are decoded."""
        return self.shape.numel()

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Images at some positions (M,), int64, in their order, or of a slice: a new uint8 tensor (M, C, H, W) on the CPU."""
        return self.read(self._numbers(rows))

    @abstractmethod
    def read(self, rows: Tensor) -> Tensor:
        """Images (M, C, H, W), uint8, at some positions (M,), int64 on the CPU."""

    @abstractmethod
    def subset(self, rows: Tensor | slice) -> StoredImages:
        """The images at some positions, still not read."""

    def chunks(self) -> Iterator[tuple[int, Tensor]]:
        """All images in turn, a moderate number at once, each time with the position of the first one."""
        together = max(1, CHUNK // max(1, self.shape[1:].numel()))
        for start in range(0, len(self), together):
            yield start, self[start : start + together]

    def feed(self, digest: Any) -> None:
        """Update a hash of :mod:`hashlib` with the images, as :meth:`ClassData.checksum` does with a tensor of them."""
        digest.update(f"{self.dtype}{tuple(self.shape)}".encode())
        for _, images in self.chunks():
            digest.update(images.numpy().data)

    def digest(self) -> str:
        """SHA-256 of the images."""
        digest = hashlib.sha256()
        self.feed(digest)
        return digest.hexdigest()

    def _numbers(self, rows: Tensor | slice) -> Tensor:
        """Positions as a tensor on the CPU."""
        return torch.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows.cpu()


class MappedImages(StoredImages):
    """Images of a .npy file that is mapped into memory; a row is read when it is asked for.

    Its checksum is that of the same images in memory.

    Args:
        path: A .npy file of uint8.
        layout: Order of its axes: "nchw", "nhwc", or "nhw" for grey images.
        rows: Positions in the file, (N,), int64. Default: all.

    Raises:
        ValueError: It cannot be read, or holds something else.
    """

    def __init__(
        self, path: Path | str, layout: Literal["nchw", "nhwc", "nhw"] = "nchw", rows: Tensor | None = None
    ) -> None:
        self.path, self.layout = Path(path), layout
        self._array: Any = None
        array = self._open()
        if array.dtype != np.uint8 or array.ndim != len(layout):
            raise ValueError(
                f"{str(path)!r} has shape {array.shape} and type {array.dtype}: give uint8 images with axes {layout}"
            )
        sizes = dict(zip(layout, array.shape, strict=True))
        self.rows = torch.arange(len(array)) if rows is None else rows.cpu()
        self.shape = torch.Size((len(self.rows), sizes.get("c", 1), sizes["h"], sizes["w"]))

    def read(self, rows: Tensor) -> Tensor:
        """See :class:`StoredImages`."""
        found = torch.from_numpy(self._open()[self.rows[rows].numpy()])
        if self.layout == "nhwc":
            return found.permute(0, 3, 1, 2).contiguous()
        return found.unsqueeze(1) if self.layout == "nhw" else found

    def subset(self, rows: Tensor | slice) -> MappedImages:
        """See :class:`StoredImages`."""
        return MappedImages(self.path, self.layout, self.rows[self._numbers(rows)])

    def _open(self) -> Any:
        if self._array is None:
            try:
                self._array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                reason = " ".join(str(error).split())
                raise ValueError(
                    f"{str(self.path)!r} cannot be mapped ({reason}): give a .npy file of numbers"
                ) from error
            if not isinstance(self._array, np.ndarray):
                raise ValueError(f"{str(self.path)!r} is an archive of arrays: give a .npy file")
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapping, which would be pickled as a copy of the whole file."""
        return {**vars(self), "_array": None}


class FolderImages(StoredImages):
    """Image files, read and decoded when they are asked for.

    Its checksum is one of the files' bytes and of how they are decoded: decoders differ in single values of a JPEG from
    version to version, and the files need not be decoded to know them again.

    Args:
        paths: The files, one per image.
        size: Height and width to resize to, or one number for both.
        channels: 3 for RGB, 1 for grey.
    """

    def __init__(self, paths: Sequence[Path | str], size: int | tuple[int, int], channels: Literal[1, 3] = 3) -> None:
        self.paths = tuple(str(path) for path in paths)
        self.size, self.channels = ((size, size) if isinstance(size, int) else size), channels
        self.shape = torch.Size((len(self.paths), channels, *self.size))

    def read(self, rows: Tensor) -> Tensor:
        """See :class:`StoredImages`."""
        images = torch.empty(len(rows), *self.shape[1:], dtype=self.dtype)
        for image, row in zip(images, rows.tolist(), strict=True):
            path = self.paths[row]
            image.copy_(decode(_content(path), path, self.size, self.channels))
        return images

    def subset(self, rows: Tensor | slice) -> FolderImages:
        """See :class:`StoredImages`."""
        return FolderImages([self.paths[row] for row in self._numbers(rows).tolist()], self.size, self.channels)

    def contents(self) -> Iterator[bytes]:
        """The bytes of each file in turn, not decoded."""
        yield from map(_content, self.paths)

    def feed(self, digest: Any) -> None:
        """See :class:`StoredImages`; the class says what the checksum covers."""
        digest.update(f"files{tuple(self.shape)}".encode())
        for content in self.contents():
            digest.update(hashlib.sha256(content).digest())


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path!r} cannot be read ({error.strerror}): put the file back, or list the images again"
        ) from error
