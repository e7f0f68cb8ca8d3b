"""Image files as tensors: a limit on pixels before decoding, and one meaning for every kind of file."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, told by content and not by file name. Other decoders of Pillow (some start other programs) stay out."""


_PPM = re.compile(rb"P[36](?:(?:\s|#[^\r\n]*[\r\n])+(\d+)){3}")
"""Head of a PPM file: width, height and, as the group, the greatest value."""


def decode(
    content: bytes,
    where: str,
    size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    box: tuple[int, int, int, int] | None = None,
    most_pixels: int = 64_000_000,
) -> Tensor:
    """Decode one image file.

    Grey, palette and other images of 8 bits become grey or RGB; transparency is dropped; of an animation the first
    image is taken. The pixels stay as they are stored: an orientation noted in EXIF is not applied.

    Args:
        content: The whole file.
        where: What the file is called in messages.
        size: Height and width to resize to, or one number for both (bilinear, with antialiasing). Default: as it is.
        channels: 3 for RGB, 1 for grey.
        box: Part to cut out before resizing: left, top, right, bottom in pixels, right and bottom exclusive.
        most_pixels: Width times height that an image may have; checked before anything is decoded.

    Returns:
        (channels, height, width), uint8.

    Raises:
        ValueError: Not an image of a known format, damaged, larger than ``most_pixels``, of more than 8 bits, or smaller
            than ``box``.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:  # a damaged file raises nearly anything
        raise _damaged(where, error) from error
    with opened as image:
        width, height = image.size
        if width * height > most_pixels:
            raise ValueError(f"{where!r} has {width} x {height} pixels, more than {most_pixels:,}: scale it down first")
        left, top, right, bottom = box or (0, 0, width, height)
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"the part {box} does not lie in {where!r} of {width} x {height} pixels: correct it")
        if image.mode.startswith(("I", "F")) or _is_deep(content, image):
            raise ValueError(f"{where!r} has more than 8 bits per channel (mode {image.mode}): save it with 8 bits")
        try:
            pixels = _pixels(image, "RGB" if channels == 3 else "L", box, size)
        except Exception as error:
            raise _damaged(where, error) from error
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1).contiguous()


def _is_deep(content: bytes, image: Any) -> bool:
    """Whether a file says that a channel has more than 8 bits, which Pillow cuts off in colour images without a word."""
    if image.format == "PNG":
        head = content.find(b"IHDR")  # then width and height of 4 bytes each, and the bits
        return content[head + 12] > 8
    if image.format == "PPM":
        found = _PPM.match(content)
        return found is not None and int(found[1]) > 255
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, 1)  # BitsPerSample
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) > 8)
    return False


def _pixels(image: Any, mode: str, box: tuple[int, int, int, int] | None, size: int | tuple[int, int] | None) -> Any:
    from PIL import Image

    image.load()
    if image.mode == "P" and "transparency" in image.info:  # the direct way warns
        image = image.convert("RGBA")
    image = image.convert(mode)
    if box is not None:
        image = image.crop(box)
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8)


def _damaged(where: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{where!r} is no image that can be read ({reason[:200]}): replace it, or leave it out")
