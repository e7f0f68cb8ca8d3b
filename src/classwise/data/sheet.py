"""A contact sheet: a picture of a few images of every class, to see what a data set is before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import torch

from classwise.data.dataset import ClassData, rows_by_group

SMALLEST = 48
"""Least side of an image on the sheet, in pixels; smaller ones are enlarged by a whole number."""
GAP = 2
"""Pixels between images."""


def contact_sheet(data: ClassData, path: Path, per_class: int = 8) -> None:
    """Write a PNG with one row for each class: its name and its first images, pixels as they are.

    Args:
        data: Images of 1 or 3 channels.
        path: File to write.
        per_class: Images of each class at most.

    Raises:
        ValueError: The images have another number of channels, or none is asked for.
    """
    from PIL import Image, ImageDraw, ImageFont

    channels, height, width = data.shape
    if channels not in (1, 3):
        raise ValueError(f"a sheet shows images of 1 or 3 channels, and these have {channels}: leave the sheet out")
    if per_class < 1:
        raise ValueError(f"a sheet of {per_class} images of each class would be empty: ask for at least 1")
    scale = max(1, -(-SMALLEST // min(height, width)))
    across, down = width * scale + GAP, height * scale + GAP
    font, names = ImageFont.load_default(), [_printable(name) for name in data.class_names]
    margin = 2 * GAP + max(int(font.getlength(name)) + 1 for name in names)
    sheet = Image.new("RGB", (margin + per_class * across, len(names) * down), "white")
    pen = ImageDraw.Draw(sheet)
    for row, rows in enumerate(rows_by_group(data.labels, data.num_classes)):
        pen.text((GAP, row * down + GAP), names[row], fill="black", font=font)
        pixels = (data.batch(rows[:per_class])[0] * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
        for column, image in enumerate(pixels.permute(0, 2, 3, 1).contiguous().numpy()):
            picture = Image.fromarray(image).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(picture, (margin + column * across, row * down))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG")


def _printable(name: str) -> str:
    """A name in letters that Pillow's own font has."""
    return name.encode("latin-1", "replace").decode("latin-1")
