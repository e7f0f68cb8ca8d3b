"""A user's own image files, listed with a label, and a group, a role and a unit where they have one."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset, HeldOut
from classwise.data.images import decode
from classwise.data.naming import check_same, numbers, ordered
from classwise.data.source import DataSource
from classwise.data.stored import FolderImages, StoredImages
from classwise.data.stratify import check_apart, hold_out
from classwise.progress import default_progress

IN_MEMORY = 1 << 32
"""Bytes of decoded images up to which "auto" keeps them in memory; a rule that is the same on every machine."""


@dataclass(frozen=True)
class Item:
    """One image file.

    Args:
        path: The file.
        called: What it is called in messages.
        label: Name of its class.
        group: Name of its group; empty where no groups are asked for.
        role: "train", "validation" or "test"; empty where images are to be divided here.
        unit: Name of what it belongs to, such as a patient; empty where no units are asked for.
    """

    path: Path
    called: str
    label: str
    group: str = ""
    role: str = ""
    unit: str = ""


@config
class ListedImages(DataSource):
    """Base class of sources of image files: BMP, GIF, JPEG, PNG, PPM, TIFF or WEBP, of 8 bits per channel.

    Images come as uint8. Classes, and groups, are in alphabetical order, whole numbers in that of their value. Where
    there are no test images, some are held out, the same share of every class; where there are validation images,
    training uses these. No unit is in two roles. ``index`` counts all images in the order they are listed, so no two roles
    share a number.
    """

    folder: str = ""
    """Where the images are."""
    groups: str = ""
    """Column that takes the label's place in every policy, audit and gate, such as site; empty: the label."""
    units: str = ""
    """Column whose equal entries say that images belong together and stay in one role, such as patient; empty: none do."""
    size: int = 0
    """Height and width that images are resized to, in pixels; 0: as they are, which must be the same for all."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""
    test_fraction: float = 0.2
    """Share of each class that is held out for testing, where the images are not divided already."""
    test_seed: int = 0
    """Seed of the choice of these."""
    keep: Literal["auto", "memory", "files"] = "auto"
    """Whether decoded images are kept in memory or read from their files each time; "auto": in memory up to 4 GiB."""

    def check(self) -> None:
        """Refuse a negative size, and shares that leave a role empty."""
        if self.size < 0:
            raise ValueError(f"size {self.size} must be at least 1, or 0 to leave images as they are")
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction {self.test_fraction} must lie between 0 and 1")
        if self.keep == "files" and not self.size:
            raise ValueError("keep 'files' reads images one by one: give the size that all of them are resized to")

    @abstractmethod
    def items(self, root: Path) -> list[Item]:
        """List the images in the folder, an existing one.

        Raises:
            ValueError: There is something that cannot be used.
        """

    def load(self) -> Dataset:
        """List all images and read those of training; test images are read at their first use.

        Raises:
            ValueError: The folder or its list cannot be used, roles differ in their classes or groups or share a unit, a
                class has no image or too few units, images differ in size, or one cannot be decoded.
        """
        root = Path(self.folder).expanduser()
        if not self.folder:
            raise ValueError(f"data source {self.registered_name!r} needs a folder: give it with --data.folder")
        if not root.is_dir():
            what = "is a file" if root.is_file() else "does not exist"
            raise ValueError(f"the folder {self.folder!r} {what}: give the folder that holds the images")
        items = self.items(root)
        names = ordered(item.label for item in items)
        if len(names) < 2:
            only = f"only the class {names[0]!r}" if names else "no images"
            raise ValueError(f"{self.folder!r} holds {only}: give images of two classes at least")
        group_names = ordered(item.group for item in items) if self.groups else names
        listing = _Listing(self, items, names, group_names, _parts(self, items, names, group_names))
        return Dataset(
            root.resolve().name or self.registered_name,
            train=listing.data("train"),
            test=lambda: listing.data("test"),
            source=self,
            validation=listing.data("validation") if "validation" in listing.parts else None,
            called=lambda index: repr(items[index].called),
            held_out=listing.held_out(),
        )


def _parts(
    source: ListedImages, items: Sequence[Item], names: Sequence[str], group_names: Sequence[str]
) -> dict[str, list[int]]:
    """Role → positions of its images. Roles that came divided must agree on classes and groups."""
    parts: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        parts.setdefault(item.role, []).append(i)
    if "" in parts:
        labels = numbers([item.label for item in items], names)
        groups = numbers([item.group for item in items], group_names) if source.groups else labels
        units = _units(items) if source.units else None
        is_test = hold_out(labels, groups, names, group_names, source.test_fraction, source.test_seed, units)
        return {"train": (~is_test).nonzero()[:, 0].tolist(), "test": is_test.nonzero()[:, 0].tolist()}
    if "train" not in parts:
        raise ValueError(f"{source.folder!r} has images for {' and '.join(parts)} but none for training: add some")
    in_order = [role for role in ("train", "validation", "test") if role in parts]
    check_same("classes", {role: {items[i].label for i in parts[role]} for role in in_order}, source.folder)
    if source.groups:
        what = f"groups ({source.groups})"
        check_same(what, {role: {items[i].group for i in parts[role]} for role in in_order}, source.folder)
    if source.units:
        check_apart(source.units, {role: {items[i].unit for i in parts[role]} for role in in_order}, source.folder)
    return parts


def _units(items: Sequence[Item]) -> Tensor:
    """The unit of each image, numbered through."""
    found = [item.unit for item in items]
    return numbers(found, ordered(found))


@dataclass(frozen=True)
class _Listing:
    """All images of a source, divided into roles, before any is read."""

    source: ListedImages
    items: Sequence[Item]
    names: tuple[str, ...]
    group_names: tuple[str, ...]
    parts: dict[str, list[int]]

    def data(self, role: str) -> ClassData:
        """The images of a role."""
        if role not in self.parts:
            raise ValueError(
                f"{self.source.folder!r} has no test images beside {' and '.join(self.parts)}: add some, or audit other "
                "images with --data"
            )
        rows = self.parts[role]
        items = [self.items[row] for row in rows]
        grouped = bool(self.source.groups)
        return ClassData(
            self._images(items),
            numbers([item.label for item in items], self.names),
            self.names,
            index=torch.tensor(rows, dtype=torch.int64),
            groups=numbers([item.group for item in items], self.group_names) if grouped else None,  # type: ignore[arg-type]
            group_names=self.group_names if grouped else (),
            name=Path(self.source.folder).resolve().name,
            units=_units(self.items)[rows] if self.source.units else None,
        )

    def held_out(self) -> HeldOut | None:
        """The test images, where they were chosen here."""
        if any(item.role for item in self.items):
            return None
        listing = [f"{item.called}\t{item.label}\t{item.group}" for item in self.items]
        if self.source.units:
            listing += [item.unit for item in self.items]
        return HeldOut.of(torch.tensor(self.parts["test"]), listing)

    def _images(self, items: Sequence[Item]) -> Tensor | StoredImages:
        size, channels = self.source.size or None, self.source.channels
        first = _read(items[0], size, channels)
        keep = self.source.keep
        if keep == "auto":  # judged by all images, so that every role is kept in the same way
            keep = "memory" if len(self.items) * first.numel() <= IN_MEMORY else "files"
        if keep == "files":
            if size is None:
                raise ValueError(
                    f"the {len(self.items)} images in {self.source.folder!r} take more than {IN_MEMORY >> 30} GiB as they are: "
                    "give a size, or keep='memory'"
                )
            return FolderImages([item.path for item in items], size, channels)
        images = torch.empty(len(items), *first.shape, dtype=torch.uint8)
        with (
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads,
            default_progress().task("read images", len(items)) as advance,
        ):
            read = threads.map(lambda item: _read(item, size, channels), items)
            for row, (item, image) in enumerate(zip(items, read, strict=True)):
                if image.shape != first.shape:
                    raise ValueError(_sizes(items[0], first, item, image))
                images[row] = image
                advance()
        return images


def check_unique(items: Sequence[Item], where: str) -> None:
    """Refuse a list that names a file twice.

    Raises:
        ValueError: With the first such file.
    """
    path, times = Counter(item.path for item in items).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{str(path)!r} is listed {times} times in {where!r}: list every image once")


def with_slashes(folder: Path, file: str) -> str:
    """What to say of a name in a list that has the backslashes of Windows and no file here, where one has it with "/"; else ""."""
    slashed = file.replace("\\", "/")
    if slashed == file or (folder / file).is_file() or not (folder / slashed).is_file():
        return ""
    return f"write it with '/', as {slashed!r}, which is there"


def _read(item: Item, size: int | None, channels: Literal[1, 3]) -> Tensor:
    try:
        content = item.path.read_bytes()
    except OSError as error:
        raise ValueError(f"{str(item.path)!r} cannot be read ({error.strerror}): check the file") from error
    return decode(content, str(item.path), size, channels)


def _sizes(one: Item, first: Tensor, other: Item, image: Tensor) -> str:
    (h, w), (height, width) = first.shape[1:], image.shape[1:]
    return (
        f"{one.called!r} has {w} x {h} pixels and {other.called!r} {width} x {height}: give the size that all images are "
        "resized to, such as --data.size 32"
    )
