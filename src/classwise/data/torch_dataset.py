"""Any data set of PyTorch as class data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from classwise.data.dataset import ClassData
from classwise.data.naming import numbers, ordered
from classwise.data.pixels import images_from
from classwise.progress import default_progress

Key = int | str


def from_torch(
    dataset: Any,
    *,
    class_names: Sequence[str] = (),
    groups: Key | Sequence[Any] | None = None,
    group_names: Sequence[str] = (),
    image: Key = 0,
    label: Key = 1,
    size: int = 0,
    channels: Literal[1, 3] = 3,
    name: str = "",
    start: int = 0,
    units: Key | Sequence[Any] | None = None,
) -> ClassData:
    """Read a data set of PyTorch, or any other sequence of samples, into memory.

    Args:
        dataset: Its samples are tuples or mappings of an image and a label: ``dataset[0]``, ``dataset[1]``, …, up to
            its ``len``; one without ``len`` is gone through. Each sample is taken once, so random transforms have no
            business here, and normalisation belongs to the model. Images are pictures of Pillow, tensors (C, H, W) or
            (H, W), or arrays of NumPy (H, W, C) or (H, W), of whole numbers in 0..255 or floats in [0, 1].
        class_names: Name of label 0, of label 1 and so on. Default: the data set's attribute ``classes``, or else the
            labels that occur; whole numbers from 0 to the greatest. Give test images the names of the training images.
        groups: What takes the label's place in every policy, audit and gate: the key of a sample's group in it (as
            ``image`` and ``label`` are keys), or one value per sample.
        group_names: Names of the groups, in order, among them every one that occurs. Default: those that occur, numbers
            by value and others by letter. Give test images the names of the training images.
        image: Key of the image in a sample.
        label: Key of the label in a sample: a whole number, or the name of a class.
        size: Height and width that pictures of Pillow are resized to; 0: as they are.
        channels: 3 or 1, for pictures of Pillow.
        name: As printed in tables. Default: the type of the data set.
        start: ``index`` of the first sample. Give test images other numbers than training images have.
        units: What belongs together and stays in one role when training images are divided, such as a patient: the key of
            a sample's unit in it, or one value per sample. They are numbered here, for this data set alone: training and
            test images of two calls are not checked against each other.

    Raises:
        ValueError: A sample has no such key, images differ in shape, the numbers fit no images, a group has no name, or a
            sample's group or unit is empty.
    """
    name = name or type(dataset).__name__
    pictures: list[np.ndarray[Any, Any]] = []
    labels: list[int | str] = []
    further = {what: _Further(what, given) for what, given in (("groups", groups), ("units", units))}
    with default_progress().task(f"read {name}", len(dataset) if hasattr(dataset, "__len__") else 0) as advance:
        for number, sample in enumerate(_samples(dataset)):
            where = f"sample {number} of {name!r}"
            pictures.append(_array(_entry(sample, image, where, "image"), size, channels, where))
            labels.append(_value(_entry(sample, label, where, "label"), where, "label"))
            for each in further.values():
                each.see(sample, where)
            if pictures[-1].shape != pictures[0].shape:
                raise ValueError(
                    f"images of {name!r} differ in shape: {pictures[0].shape} in sample 0 and {pictures[-1].shape} in sample "
                    f"{number}; resize them in the data set's transform (pictures of Pillow with size=)"
                )
            advance()
    if not pictures:
        raise ValueError(f"{name!r} has no samples: give one with images")
    found, units_found = (each.values(len(labels), name) for each in further.values())
    names, values = _classes(dataset, class_names, labels, name)
    names_of_groups = _groups(found, group_names, name)
    return ClassData(
        images_from(np.stack(pictures), "nchw", f"{name!r}"),
        values,
        names,
        index=torch.arange(start, start + len(labels)),
        groups=numbers(found, names_of_groups) if found else None,  # type: ignore[arg-type]
        group_names=names_of_groups,
        name=name,
        units=numbers(units_found, ordered(units_found)) if units_found else None,
    )


class _Further:
    """Groups or units as text: gathered from the samples where a key of theirs is given, else one value per sample."""

    def __init__(self, what: str, given: Key | Sequence[Any] | None) -> None:
        self.what, self.given = what, given
        self.found: list[str] = []

    def see(self, sample: Any, where: str) -> None:
        """Gather that of a sample."""
        if isinstance(self.given, int | str):
            self._add(_entry(sample, self.given, where, self.what), where)

    def values(self, count: int, name: str) -> list[str]:
        """One per sample; none where none are asked for."""
        if self.given is None or isinstance(self.given, int | str):
            return self.found
        for number, each in enumerate(self.given):
            self._add(each, f"sample {number} of {name!r}")
        if len(self.found) != count:
            raise ValueError(
                f"{name!r} has {count} samples and {len(self.found)} {self.what} are given: give one for each"
            )
        return self.found

    def _add(self, value: Any, where: str) -> None:
        one = self.what.removesuffix("s")
        text = str(_value(value, where, one))
        if not text.strip():
            raise ValueError(f"{where} has nothing as its {one}: fill it in")
        self.found.append(text)


def _groups(found: Sequence[str], given: Sequence[str], name: str) -> tuple[str, ...]:
    """Names of the groups, all that occur among them."""
    if given and not found:
        raise ValueError(f"{name!r} is given group_names and no groups: say with groups= what group each sample is in")
    names = tuple(map(str, given)) or ordered(found)
    unknown = ordered(set(found) - set(names))
    if unknown:
        raise ValueError(f"{name!r} has the group {unknown[0]!r}, which group_names do not name: name every group")
    return names


def _samples(dataset: Any) -> Iterator[Any]:
    """Samples in turn; many data sets of PyTorch have no end for ``for``."""
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        yield from (dataset[i] for i in range(len(dataset)))
    elif hasattr(dataset, "__iter__"):
        yield from dataset
    else:
        raise ValueError(f"{dataset!r} is no data set of PyTorch: give an object with len() and [i]")


def _entry(sample: Any, key: Any, where: str, what: str) -> Any:
    try:
        return sample[key]
    except (KeyError, IndexError, TypeError) as error:
        known = f"; it has {', '.join(map(str, sample))}" if isinstance(sample, dict) else ""
        raise ValueError(
            f"{where} is a {type(sample).__name__} without {key!r}{known}: name the key of the {what} with {what}="
        ) from error


def _array(image: Any, size: int, channels: Literal[1, 3], where: str) -> np.ndarray[Any, Any]:
    """Pixels (C, H, W)."""
    if hasattr(image, "convert"):  # a picture of Pillow
        if image.mode.startswith(("I", "F")):  # would be cut off at 255
            raise ValueError(
                f"the image of {where} has more than 8 bits per channel (mode {image.mode}): scale it to 8"
            )
        picture = image.convert("RGB" if channels == 3 else "L")
        if size:
            from PIL import Image

            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        array = np.asarray(picture)
        return array.transpose(2, 0, 1) if channels == 3 else array[None]
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim == 3 and not isinstance(image, Tensor):
        array = array.transpose(2, 0, 1)
    if array.ndim not in (2, 3) or array.dtype.kind not in "iuf":
        raise ValueError(
            f"the image of {where} is a {type(image).__name__} of shape {array.shape}: give a picture of Pillow, a tensor "
            "(C, H, W) or an array (H, W, C)"
        )
    return array[None] if array.ndim == 2 else array


def _value(value: Any, where: str, what: str) -> int | str:
    """A whole number or text; numbers of NumPy and tensors with one entry are numbers."""
    if isinstance(value, Tensor | np.ndarray | np.generic) and np.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, str | int):
        return value if isinstance(value, str) else int(value)
    raise ValueError(f"the {what} of {where} is {value!r}: give a whole number or text")


def _classes(
    dataset: Any, given: Sequence[str], labels: Sequence[int | str], name: str
) -> tuple[tuple[str, ...], Tensor]:
    """Names of the classes, and the number of each label."""
    names = tuple(map(str, given or getattr(dataset, "classes", None) or ()))
    if all(isinstance(label, int) for label in labels):  # positions, so that training and test images agree
        found = torch.tensor(labels, dtype=torch.int64)
        return names or tuple(str(number) for number in range(int(found.max()) + 1)), found
    text = [str(label) for label in labels]
    names = names or ordered(text)
    unknown = sorted(set(text) - set(names))
    if unknown:
        raise ValueError(f"{name!r} has the label {unknown[0]!r}, which class_names do not name: name every class")
    return names, numbers(text, names)
