"""Pickles that may hold plain containers and byte images, and nothing else.

Some published data sets are pickles, and a pickle can run any code while it is read. The reader here admits
the three names that the official CIFAR files use (``numpy.dtype``, ``numpy.ndarray`` and
``numpy.core.multiarray._reconstruct``), and hands the file stand-ins for them that accept what those files
say and no more: arrays of ``uint8`` in C order. No function that a file chooses ever runs.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np


def read_pickle(content: bytes, name: str) -> Any:
    """Read a pickle of plain containers and uint8 arrays.

    Args:
        content: The whole file. Strings written by Python 2 come back as ``bytes``.
        name: What the file is called in messages.

    Returns:
        Dicts, lists, tuples, numbers, text, bytes and uint8 arrays, nested as in the file.

    Raises:
        ValueError: The file asks for anything else, or is damaged; nothing in it has been run.
    """
    try:
        return _Reader(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything, from EOFError to MemoryError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{name!r} is no pickle of plain arrays ({reason}); nothing in it was run: use the official file"
        ) from error


class _DtypeName:
    """Stands for ``numpy.dtype``: makes the one type of pixels."""

    __slots__ = ()

    def __call__(self, code: object, align: object, copy: object) -> _PixelType:
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"it holds an array of type {code!r}")
        return _PixelType()


class _PixelType:
    """Stands for ``numpy.dtype("u1")``, whose state is the same in every file."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if state not in ((3, b"|", None, None, None, -1, -1, 0), (3, "|", None, None, None, -1, -1, 0)):
            raise pickle.UnpicklingError("it holds an array type with an unusual state")


class _ArrayName:
    """Stands for ``numpy.ndarray``, which a file may name but never call."""

    __slots__ = ()


class _ReconstructName:
    """Stands for ``numpy.core.multiarray._reconstruct``: makes an empty array, to be filled by its state."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> _Pixels:
        if not isinstance(kind, _ArrayName) or shape != (0,) or code not in (b"b", "b"):
            raise pickle.UnpicklingError("it makes an array in an unusual way")
        return _Pixels(0, np.uint8)


class _Pixels(np.ndarray[Any, np.dtype[np.uint8]]):
    """An array that accepts the state of a uint8 array in C order, of a length that fits its shape."""

    def __setstate__(self, state: Any, /) -> None:
        version, shape, kind, fortran, content = state
        plain = version == 1 and isinstance(kind, _PixelType) and not fortran and isinstance(content, bytes)
        sizes = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
        if not plain or not sizes or math.prod(shape) != len(content):
            raise pickle.UnpicklingError("it holds an array whose shape, type and bytes do not fit together")
        super().__setstate__((1, shape, np.dtype(np.uint8), False, content))  # type: ignore[arg-type]


_ADMITTED = {
    ("numpy", "dtype"): _DtypeName(),
    ("numpy", "ndarray"): _ArrayName(),
    ("numpy.core.multiarray", "_reconstruct"): _ReconstructName(),
}


class _Reader(pickle.Unpickler):
    """An unpickler that knows three names."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return _ADMITTED[module_name, global_name]
