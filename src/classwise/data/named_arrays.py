"""Arrays under names: those in a .npz file, or the .npy files in a folder. Never a pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

TOTAL = 1 << 36
"""Bytes that the arrays of one .npz file may unpack to."""


class NamedArrays:
    """Where the arrays are; each is read when it is asked for.

    Args:
        folder: An existing folder.
        file: A .npz file in it; empty: its only .npz file if there is one, else all its .npy files.

    Raises:
        ValueError: There are no such files.
    """

    def __init__(self, folder: Path, file: str = "") -> None:
        packed = [folder / file] if file else sorted(folder.glob("*.npz"))
        single = {path.stem: path for path in sorted(folder.glob("*.npy"))}
        if len(packed) > 1:
            raise ValueError(
                f"{str(folder)!r} holds {len(packed)} .npz files, such as {packed[0].name!r}: say which, with --data.file"
            )
        if packed and single and not file:
            raise ValueError(
                f"{str(folder)!r} holds {packed[0].name!r} and .npy files: say with --data.file {packed[0].name} if that is "
                "meant, or move it out"
            )
        if not packed and not single:
            raise ValueError(f"{str(folder)!r} holds no .npz and no .npy file: give the folder of the arrays")
        self.place = packed[0] if packed else folder
        self._single: Mapping[str, Path] = {} if packed else single
        self.names = _names_in(self.place) if packed else tuple(single)

    def path(self, name: str) -> Path | None:
        """The .npy file of an array; None where it lies in a .npz file."""
        return self._single.get(name)

    def where(self, name: str) -> str:
        """What an array is called in messages."""
        path = self.path(name)
        return repr(str(path)) if path is not None else f"array {name!r} of {str(self.place)!r}"

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """An array; one of a .npy file is mapped into memory and read where it is used.

        Raises:
            ValueError: It is damaged, or holds Python objects.
        """
        path = self.path(name)
        try:
            if path is not None:
                found = np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                with np.load(self.place, allow_pickle=False) as arrays:
                    found = arrays[name]
        except Exception as error:  # a damaged file raises nearly anything, from BadZipFile to MemoryError
            reason = " ".join(str(error).split()) or type(error).__name__
            if "allow_pickle" in reason or "Python objects" in reason:
                raise ValueError(
                    f"{self.where(name)} holds Python objects, which are not read because they can run code: save numbers or "
                    "text, such as np.array(labels).astype('int64')"
                ) from error
            raise ValueError(f"{self.where(name)} cannot be read ({reason[:200]}): save it again") from error
        array: np.ndarray[Any, Any] = found
        return array


def _names_in(path: Path) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{str(path)!r} is no .npz file that can be read ({reason}): check path and file") from error
    if sum(member.file_size for member in members) > TOTAL:
        raise ValueError(
            f"{str(path)!r} unpacks to more than {TOTAL >> 30} GiB: save each array as a .npy file, which need not fit into memory"
        )
    return tuple(member.filename.removesuffix(".npy") for member in members if member.filename.endswith(".npy"))
