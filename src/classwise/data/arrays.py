"""Images in arrays of NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from classwise.configuration import config, replace
from classwise.data.dataset import ClassData, Dataset, HeldOut
from classwise.data.listed import IN_MEMORY
from classwise.data.named_arrays import NamedArrays
from classwise.data.naming import ROLES, check_same, numbers, ordered
from classwise.data.pixels import Layout, images_from, layout_of
from classwise.data.source import DataSource
from classwise.data.stored import MappedImages, StoredImages
from classwise.data.stratify import check_apart, hold_out
from classwise.registry import register

IMAGES, LABELS = ("images", "image", "x", "data"), ("labels", "label", "y", "targets", "target")
"""What people call the two arrays, in lower case."""
NAMES = ("class_names", "classes")


@register("data", "arrays", "npz", "npy")
@config
class Arrays(DataSource):
    """Your own images and labels as arrays of NumPy: a .npz file, or a folder of .npy files named like its arrays.

    The arrays are called train_images, train_labels, test_images and test_labels, and val_images and val_labels if there
    are any; or x_train, y_train and so on; or images (x, data) and labels (y, targets) alone, of which test images are
    held out here. Case does not matter. Images have axes nchw, nhwc or nhw and hold whole numbers in 0..255 of whatever
    type, which become uint8, or floats in [0, 1], which become float32. Labels are whole numbers or text, (N,) or (N, 1);
    an array class_names, of text, names the labels 0, 1, 2 and so on. Further arrays, called like those of the labels
    (train_site, or site_train), may name groups and units.

    A .npy file of bytes of more than 4 GiB stays on disk and is read while training. Pickles are never read.
    """

    folder: str = ""
    """The folder of the .npz file or of the .npy files, or the .npz file itself."""
    file: str = ""
    """The .npz file in the folder; empty: the only one, or else the .npy files."""
    groups: str = ""
    """Array that takes the labels' place in every policy, audit and gate, such as site; empty: the labels."""
    units: str = ""
    """Array whose equal entries say that images belong together and stay in one role, such as patient; empty: none do."""
    layout: Layout = "auto"
    """Order of the images' axes; "auto": channels are where there are 1 or 3 of something."""
    test_fraction: float = 0.2
    """Share of each class that is held out for testing, where the images are not divided already."""
    test_seed: int = 0
    """Seed of the choice of these."""

    def check(self) -> None:
        """Refuse shares that leave a role empty."""
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction {self.test_fraction} must lie between 0 and 1")

    def load(self) -> Dataset:
        """Read the training images and all labels; test images are read at their first use.

        Raises:
            ValueError: Arrays are missing, damaged or do not fit together, or hold something else than they should; roles share a
                unit, or a class has too few units.
        """
        root = Path(self.folder).expanduser()
        if root.is_file() and not self.file:
            return replace(self, folder=str(root.parent), file=root.name).load()
        if not self.folder or not root.is_dir():
            raise ValueError(
                f"there is no folder {self.folder!r}: give the one that holds the arrays with --data.folder, and with "
                "--data.file which .npz file is meant, where there are several"
            )
        arrays = NamedArrays(root, self.file)
        parts = {role: _Part.find(self, arrays, role) for role in ("train", "validation", "test")}
        found = {role: part for role, part in parts.items() if part is not None}
        whole = _Part.find(self, arrays, "")
        if whole is not None and found:
            raise ValueError(
                f"{str(arrays.place)!r} holds {whole.images!r} and {next(iter(found.values())).images!r}: rename or remove one, "
                "so that it is clear whether the images are divided"
            )
        if whole is None and "train" not in found:
            raise ValueError(
                f"{str(arrays.place)!r} has no training images; its arrays are {', '.join(arrays.names) or 'none'}: call them "
                "train_images and train_labels, or images and labels to have them divided here"
            )
        return _Arrays(self, arrays, {"": whole} if whole is not None else found).dataset()


@dataclass(frozen=True)
class _Part:
    """The name of a role's images, and its labels, groups and units as text."""

    images: str
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    units: tuple[str, ...]
    is_text: bool

    @classmethod
    def find(cls, source: Arrays, arrays: NamedArrays, role: str) -> _Part | None:
        """The arrays of a role (empty: of images that are not divided); None where there are none."""
        images, labels = _named(arrays, IMAGES, role), _named(arrays, LABELS, role)
        if images is None and labels is None:
            return None
        if images is None or labels is None:
            there = images or labels
            raise ValueError(
                f"{str(arrays.place)!r} has {there!r} but no {'labels' if images else 'images'} to go with it: its arrays are "
                f"{', '.join(arrays.names)}"
            )
        values, is_text = _values(arrays, labels)
        groups, units = (_further(arrays, called, role) for called in (source.groups, source.units))
        return cls(images, values, groups, units, is_text)


@dataclass(frozen=True)
class _Arrays:
    """All arrays of a source, their labels read."""

    source: Arrays
    arrays: NamedArrays
    parts: dict[str, _Part]

    def dataset(self) -> Dataset:
        """The data set."""
        where, title = str(self.arrays.place), self.arrays.place.stem
        names, known = self._classes()
        check_same("classes", {role or "all": set(part.labels) for role, part in self.parts.items()}, where)
        check_same("groups", {role or "all": set(part.groups) for role, part in self.parts.items()}, where)
        if self.source.units:
            check_apart(self.source.units, {role: part.units for role, part in self.parts.items()}, where)
        group_names = ordered(value for part in self.parts.values() for value in part.groups)
        unit_names = ordered(value for part in self.parts.values() for value in part.units)
        readers, start = {}, 0
        for role, part in self.parts.items():
            readers[role] = _Reader(self, part, names, known, group_names, unit_names, start)
            start += len(part.labels)
        if "" in readers:
            whole = readers[""].read()
            fraction, seed = self.source.test_fraction, self.source.test_seed
            is_test = hold_out(whole.labels, whole.groups, names, whole.group_names, fraction, seed, whole.units)
            training, test = whole.subset((~is_test).nonzero()[:, 0]), is_test.nonzero()[:, 0]
            # labels alone would let other images, or the same ones in another order, pass for those of a run
            held_out = HeldOut.of(test, [whole.checksum()])
            return Dataset(
                title, train=training, test=lambda: whole.subset(test), source=self.source, held_out=held_out
            )
        train = readers["train"].read()
        as_bytes = train.images.dtype == torch.uint8
        return Dataset(
            title,
            train=train,
            test=(lambda: readers["test"].read(as_bytes)) if "test" in readers else self._no_test,
            source=self.source,
            validation=readers["validation"].read(as_bytes) if "validation" in readers else None,
        )

    def _classes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the classes, and what the labels call them, in the same order."""
        given = next((name for name in self.arrays.names if name.lower() in NAMES), None)
        found = ordered(value for part in self.parts.values() for value in part.labels)
        names, known = found, found
        if given is not None:
            names, _ = _values(self.arrays, given)
            known = names if self.parts.get("", self.parts.get("train")).is_text else tuple(map(str, range(len(names))))  # type: ignore[union-attr]
            unknown = [value for value in found if value not in known]
            if unknown:
                raise ValueError(
                    f"{self.arrays.where(given)} has {len(names)} names and none for the label {unknown[0]!r}: name every class, "
                    "the first one being label 0"
                )
        if len(names) < 2:
            raise ValueError(f"{str(self.arrays.place)!r} holds {len(names)} class: give images of two at least")
        return names, known

    def _no_test(self) -> ClassData:
        raise ValueError(
            f"{str(self.arrays.place)!r} has no test images beside {' and '.join(self.parts)}: add test_images and test_labels, "
            "or audit other images with --data"
        )


@dataclass(frozen=True)
class _Reader:
    """The images of a role, to be read."""

    of: _Arrays
    part: _Part
    names: tuple[str, ...]
    known: tuple[str, ...]
    group_names: tuple[str, ...]
    unit_names: tuple[str, ...]
    start: int

    def read(self, as_bytes: bool | None = None) -> ClassData:
        """Read them; ``as_bytes`` says what the training images hold."""
        labels, groups, units = self.part.labels, self.part.groups, self.part.units
        images, where = self._images(as_bytes), self.of.arrays.where(self.part.images)
        for what, given in (("labels", labels), ("groups", groups or labels), ("units", units or labels)):
            if len(given) != len(images):
                raise ValueError(
                    f"{where} holds {len(images)} images and there are {len(given)} {what} for them: give one for each"
                )
        return ClassData(
            images,
            numbers(labels, self.known),
            self.names,
            index=torch.arange(self.start, self.start + len(labels)),
            groups=numbers(groups, self.group_names) if groups else None,  # type: ignore[arg-type]
            group_names=self.group_names,
            name=self.of.arrays.place.stem,
            units=numbers(units, self.unit_names) if units else None,
        )

    def _images(self, as_bytes: bool | None) -> Tensor | StoredImages:
        arrays, layout, name = self.of.arrays, self.of.source.layout, self.part.images
        array, path, where = arrays.read(name), arrays.path(name), arrays.where(name)
        if path is not None and array.dtype == np.uint8 and array.nbytes > IN_MEMORY:
            return MappedImages(path, layout_of(array.shape, layout, where))
        return images_from(array, layout, where, as_bytes)


def _named(arrays: NamedArrays, words: tuple[str, ...], role: str) -> str | None:
    """The array that one of some words and a role mean; an empty role: the word alone."""
    wanted = {
        f"{one}_{other}"
        for part in ROLES.get(role, ())
        for word in words
        for one, other in ((part, word), (word, part))
    }
    found = [name for name in arrays.names if name.lower() in (wanted if role else words)]
    if len(found) > 1:
        raise ValueError(f"{str(arrays.place)!r} holds {found[0]!r} and {found[1]!r}, which mean the same: remove one")
    return found[0] if found else None


def _further(arrays: NamedArrays, called: str, role: str) -> tuple[str, ...]:
    """The values of a further array that a role has; none where nothing is asked for."""
    if not called:
        return ()
    name = _named(arrays, (called.lower(),), role)
    if name is None:
        wanted = f"{role}_{called}" if role else called
        raise ValueError(f"{str(arrays.place)!r} has no array {wanted!r}: its arrays are {', '.join(arrays.names)}")
    values, _ = _values(arrays, name)
    empty = [i for i, value in enumerate(values) if not value.strip()]
    if empty:
        raise ValueError(
            f"entry {empty[0]} (from 0) of {arrays.where(name)} has nothing in it ({len(empty)} such entries): fill it in"
        )
    return values


def _values(arrays: NamedArrays, name: str) -> tuple[tuple[str, ...], bool]:
    """Whole numbers or text, one per image, as text; and whether they were text."""
    array: np.ndarray[Any, Any] = arrays.read(name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        hint = f"of one-hot rows the position of the one: {name}.argmax(1)"
        if array.ndim == 1:
            hint = f"of floats {name}.astype(int), missing ones filled in before"
        raise ValueError(
            f"{arrays.where(name)} has shape {array.shape} and type {array.dtype}: give one whole number or word per image ({hint})"
        )
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return tuple(str(value) for value in array.tolist()), array.dtype.kind == "U"
