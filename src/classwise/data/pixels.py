"""Arrays of pixels as people have them, as the images that everything here works on."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Layout = Literal["auto", "nchw", "nhwc", "nhw"]


def layout_of(shape: tuple[int, ...], layout: Layout, where: str) -> Literal["nchw", "nhwc", "nhw"]:
    """Which axis of an array is which.

    Args:
        shape: Of the array.
        layout: What is said of it; "auto": three axes are images of one channel, and of four the channels are the one
            axis, second or last, that has 1 or 3 entries.
        where: What the array is called in messages.

    Raises:
        ValueError: The shape does not fit, or does not tell.
    """
    if layout != "auto":
        if len(shape) != len(layout):
            raise ValueError(f"{where} has shape {shape}, which is not {layout}: give images with these axes")
        return layout
    if len(shape) == 3:
        return "nhw"
    if len(shape) != 4:
        raise ValueError(f"{where} has shape {shape}: give images with axes nchw, nhwc or nhw")
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        raise ValueError(
            f"{where} has shape {shape}, which does not tell where the channels are: give layout nchw or nhwc"
        )
    return "nchw" if first else "nhwc"


def holds_bytes(array: np.ndarray[Any, Any], where: str) -> bool:
    """Whether an array holds whole numbers in 0..255, of whatever type; if not, it holds floats in [0, 1].

    Floats that are all 0 or 1 count as floats in [0, 1].

    Raises:
        ValueError: It holds something else.
    """
    if array.dtype == np.uint8:
        return True
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"{where} has type {array.dtype}: give images as whole numbers in 0..255 or as floats in [0, 1]"
        )
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if array.dtype.kind == "f" and (np.isnan(low) or (low >= 0 and high <= 1)):
        return False  # numbers that are none are found by ClassData
    if low >= 0 and high <= 255 and _is_whole(array):
        return True
    raise ValueError(
        f"{where} runs from {low:g} to {high:g} in type {array.dtype}: give whole numbers in 0..255, or floats scaled to "
        "[0, 1], and leave normalisation to the model (classwise.Normalized)"
    )


def images_from(array: np.ndarray[Any, Any], layout: Layout, where: str, as_bytes: bool | None = None) -> Tensor:
    """Images (N, C, H, W) from an array.

    Args:
        array: (N, C, H, W), (N, H, W, C) or (N, H, W).
        layout: See :func:`layout_of`.
        where: What the array is called in messages.
        as_bytes: Whether it holds whole numbers in 0..255, as told by the training images (see :func:`holds_bytes`):
            test images that happen to be dark must not be taken for floats in [0, 1]. Default: as it seems.

    Returns:
        uint8, or float32 in [0, 1].

    Raises:
        ValueError: The shape or the numbers fit no images, or mean another thing than ``as_bytes``.
    """
    axes = layout_of(array.shape, layout, where)
    seems_bytes = holds_bytes(array, where)
    as_bytes = seems_bytes if as_bytes is None else as_bytes
    if seems_bytes != as_bytes and not (as_bytes and _is_whole(array)):
        kinds = ("floats in [0, 1]", "whole numbers in 0..255")
        raise ValueError(
            f"{where} holds {kinds[not as_bytes]} and the training images are {kinds[as_bytes]}: give both alike"
        )
    pixels = torch.from_numpy(np.array(array, dtype=np.uint8 if as_bytes else np.float32, order="C"))
    if axes == "nhw":
        return pixels[:, None]
    return pixels.permute(0, 3, 1, 2).contiguous() if axes == "nhwc" else pixels


def _is_whole(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.kind in "iu" or bool((array == np.floor(array)).all())
