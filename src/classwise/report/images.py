"""Adversarial examples as pictures: original, perturbed, and their difference made visible."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from classwise.evaluation.result import Examples

MOST = 8
"""Pictures of one audit."""
SMALLEST_SIDE = 96
"""Smaller images are enlarged to about this many pixels, every pixel becoming a square."""

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExampleImage:
    """One adversarial example, ready for a page.

    Args:
        original: PNG as a data URI.
        perturbed: The same.
        difference: The same; mid-grey where nothing changed.
        magnification: By how much the difference is multiplied.
        label: Name of the true class.
        prediction: Name of the class the perturbed image is taken for.
    """

    original: str
    perturbed: str
    difference: str
    magnification: int
    label: str
    prediction: str

    @property
    def caption(self) -> str:
        """True class and the class it is taken for."""
        return f"{self.label} → {self.prediction}"


def example_images(examples: Examples, names: Sequence[str]) -> list[ExampleImage]:
    """Pictures of the first examples; none where the samples are no images.

    Args:
        examples: Originals and perturbed images, (E, C, H, W) in [0, 1]; grey for C = 1, colour for C = 3, for other C
            the mean over channels as grey.
        names: Names of the labels; a label without a name is shown by its number.
    """
    if examples.originals.ndim != 4 or not len(examples.originals):
        return []
    original, perturbed = (np.asarray(each[:MOST], np.float32) for each in (examples.originals, examples.perturbed))
    difference = perturbed - original
    largest = float(np.abs(difference).max())
    factor = max(1, int(0.5 / largest)) if largest > 0 else 1
    return [
        ExampleImage(
            original=_data_uri(original[i]),
            perturbed=_data_uri(perturbed[i]),
            difference=_data_uri(0.5 + factor * difference[i]),
            magnification=factor,
            label=_name(int(examples.labels[i]), names),
            prediction=_name(int(examples.predictions[i]), names),
        )
        for i in range(len(original))
    ]


def _name(label: int, names: Sequence[str]) -> str:
    return names[label] if label < len(names) else f"class {label}"


def _data_uri(image: Pixels) -> str:
    """A (C, H, W) image in [0, 1] as PNG."""
    from PIL import Image

    if image.shape[0] not in (1, 3):
        image = image.mean(axis=0, keepdims=True)
    pixels = np.rint(255 * image.clip(0, 1)).astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    enlarged = max(1, -(-SMALLEST_SIDE // max(picture.size)))
    picture = picture.resize((picture.width * enlarged, picture.height * enlarged), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
