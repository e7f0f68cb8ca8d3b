"""Images with labels, and data sets with their roles."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from classwise.configuration import Component
from classwise.data.stored import StoredImages


@dataclass(frozen=True, eq=False)
class ClassData:
    """Labelled images, held in memory or kept on disk.

    Args:
        images: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; or :class:`StoredImages`, read when they are needed.
        labels: (N,), int64 in 0..len(class_names) - 1.
        class_names: One name per class.
        index: (N,), int64; the position of each sample in the data set it came from. Default: 0..N-1.
        groups: (N,), int64; what class-wise statistics are indexed by. Default: the labels.
        group_names: One name per group. Default: the class names.
        name: As printed in messages.
        units: (N,), int64; samples with the same number belong together (the frames of one physical traffic sign, the
            images of one patient), so that :class:`Split` keeps them in one role. Default: every sample is on its own.

    Raises:
        ValueError: Shapes or types do not fit, a label is out of range, or an image is outside [0, 1].
    """

    images: Tensor | StoredImages
    labels: Tensor
    class_names: tuple[str, ...]
    index: Tensor = None  # type: ignore[assignment]
    groups: Tensor = None  # type: ignore[assignment]
    group_names: tuple[str, ...] = ()
    name: str = field(default="data")
    units: Tensor | None = None

    def __post_init__(self) -> None:
        if self.index is None:
            object.__setattr__(self, "index", torch.arange(len(self.images)))
        if self.groups is None:
            object.__setattr__(self, "groups", self.labels)
            object.__setattr__(self, "group_names", tuple(self.class_names))
        self._check()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    @property
    def num_classes(self) -> int:
        """Number of classes the labels may take."""
        return len(self.class_names)

    @property
    def num_groups(self) -> int:
        """Number of groups that class-wise statistics have."""
        return len(self.group_names)

    def batch(self, rows: Tensor | slice, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Images as float32 in [0, 1] and labels of some rows, on a device."""
        images, labels = self.images[rows].to(device), self.labels[rows].to(device)
        return as_float(images), labels

    def subset(self, rows: Tensor) -> ClassData:
        """The samples at some positions, keeping their ``index``."""
        images = self.images
        return ClassData(
            images.subset(rows) if isinstance(images, StoredImages) else images[rows],
            self.labels[rows],
            self.class_names,
            self.index[rows],
            self.groups[rows],
            self.group_names,
            self.name,
            None if self.units is None else self.units[rows],
        )

    def at(self, index: Sequence[int]) -> ClassData:
        """The samples with some ``index`` values, in that order.

        Raises:
            ValueError: One of them is not here.
        """
        rows = {int(each): row for row, each in enumerate(self.index)}
        missing = [int(each) for each in index if int(each) not in rows]
        if missing:
            raise ValueError(f"{self.name!r} has no sample with index {missing[0]}: use the data the indices come from")
        return self.subset(torch.tensor([rows[int(each)] for each in index], dtype=torch.int64))

    def first_per_class(self, n: int) -> ClassData:
        """The first ``n`` samples of every group, in their order (all of a group that has fewer).

        Raises:
            ValueError: ``n`` is below 1.
        """
        if n < 1:
            raise ValueError(f"{n} samples of each class were asked for: ask for at least 1")
        return self.subset(torch.cat([rows[:n] for rows in rows_by_group(self.groups, self.num_groups)]).sort().values)

    def checksum(self) -> str:
        """SHA-256 over images, labels, groups and index, and units where there are any."""
        digest = hashlib.sha256()
        units = () if self.units is None else (self.units,)
        if isinstance(self.images, StoredImages):
            self.images.feed(digest)
        held = (self.images,) if isinstance(self.images, Tensor) else ()
        for tensor in (*held, self.labels, self.groups, self.index, *units):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def _check(self) -> None:
        images, labels, classes = self.images, self.labels, len(self.class_names)
        for what, given in (("images", images), ("labels", labels), ("groups", self.groups), ("index", self.index)):
            if not isinstance(given, Tensor) and not (what == "images" and isinstance(given, StoredImages)):
                raise ValueError(f"{what} of {self.name!r} are a {type(given).__name__}: give a torch tensor")
        if images.dim() != 4 or images.dtype not in (torch.uint8, torch.float32):
            raise ValueError(
                f"images of {self.name!r} have shape {tuple(images.shape)} and type {images.dtype}: "
                "give (N, C, H, W) as uint8 in 0..255 or float32 in [0, 1]"
            )
        names_given = (("class_names", self.class_names), ("group_names", self.group_names))
        for what, given_names in names_given:
            if isinstance(given_names, str) or len(set(given_names)) != len(given_names) or not given_names:
                raise ValueError(f"{what} of {self.name!r} are {given_names!r}: give a tuple of different names")
        if self.index.dtype != torch.int64 or self.index.shape != (len(images),):
            raise ValueError(f"index of {self.name!r} must hold one int64 per image, shape ({len(images)},)")
        if len(set(self.index.tolist())) != len(images):
            raise ValueError(f"index of {self.name!r} names an image twice: give every image a number of its own")
        units = self.units
        if units is not None and not (
            isinstance(units, Tensor) and units.dtype == torch.int64 and units.shape == (len(images),)
        ):
            raise ValueError(f"units of {self.name!r} must be a tensor of one int64 per image, shape ({len(images)},)")
        for what, values, names in (
            ("labels", labels, classes),
            ("groups", self.groups, len(self.group_names)),
        ):
            if values.dtype != torch.int64 or values.shape != (len(images),):
                raise ValueError(
                    f"{what} of {self.name!r} have shape {tuple(values.shape)} and type {values.dtype}: "
                    f"give one int64 per image, shape ({len(images)},)"
                )
            if len(values) and not (int(values.min()) >= 0 and int(values.max()) < names):
                raise ValueError(
                    f"{what} of {self.name!r} run from {int(values.min())} to {int(values.max())}: "
                    f"with {names} names they must lie in 0..{names - 1}"
                )
        if isinstance(images, Tensor) and images.dtype == torch.float32 and len(images):
            low, high = float(images.min()), float(images.max())
            if math.isnan(low):  # one NaN is enough
                count = int(images.flatten(1).isnan().any(1).sum())
                raise ValueError(
                    f"{count} images of {self.name!r} hold values that are not numbers (NaN): leave these images out, or "
                    "mend the step that made them"
                )
            if low < 0 or high > 1:
                raise ValueError(
                    f"images of {self.name!r} run from {low:g} to {high:g}: scale them to [0, 1] and leave "
                    "normalisation to the model (classwise.Normalized)"
                )


@dataclass(frozen=True)
class HeldOut:
    """Test images that were held out of one collection of images, before any was read.

    Args:
        index: ``index`` of the test images.
        sha256: Checksum of the list of all images; where it changes, other images may be held out.
    """

    index: tuple[int, ...]
    sha256: str

    @classmethod
    def of(cls, index: Tensor, listing: Sequence[str]) -> HeldOut:
        """Test images by their index (N,), and what the list says of every image."""
        digest = hashlib.sha256("\n".join(listing).encode()).hexdigest()
        return cls(tuple(index.tolist()), digest)


class Dataset:
    """A data set with its roles: training images at hand, test images read only when an audit asks.

    Args:
        name: As printed in tables.
        train: Training images.
        test: A function that reads the test images; it is called at the first use of :attr:`test`.
        source: The data source (a configuration) it was loaded from, which a run records to load it again.
        validation: Validation images, where the data come with some; otherwise a run holds some of ``train`` out.
        called: What an image is called in messages, such as its file, given its ``index``. Default: the index.
        held_out: Which images are test images, where they were held out of one collection; kept with a run.

    Raises:
        ValueError: ``test`` is no function, or classes, groups or shape of the validation images are not those of the
            training images.
    """

    def __init__(
        self,
        name: str,
        train: ClassData,
        test: Callable[[], ClassData],
        source: Component | None = None,
        validation: ClassData | None = None,
        called: Callable[[int], str] = str,
        held_out: HeldOut | None = None,
    ) -> None:
        if not callable(test):
            raise ValueError(f"test of {name!r} must be a function that returns the test images: write lambda: images")
        self.name, self.train, self._read_test, self.source = name, train, test, source
        self.validation, self.called, self.held_out = validation, called, held_out
        if validation is not None:
            self._check_like_training("validation", validation)

    @cached_property
    def test(self) -> ClassData:
        """Test images. Audits read them; training never does.

        Those that are training or validation images too are warned of, and so is it where these cannot be read to tell.
        The very same object in two roles is taken to be meant.

        Raises:
            ValueError: Their classes, groups or shape are not those of the training images, or they cannot be read.
        """
        from classwise.data.duplicates import find_duplicates

        images = self._read_test()
        self._check_like_training("test", images)
        seen = {"train": self.train} | ({"validation": self.validation} if self.validation is not None else {})
        if any(images is data for data in seen.values()):
            return images
        try:
            sentences = [each.sentence(self.called) for each in find_duplicates({**seen, "test": images}, only="test")]
        except ValueError as error:  # images on disk that are gone or damaged by now
            reason = (
                f"the test images of {self.name!r} were not compared with its {' and '.join(seen)} images, so the same image "
                f"may be in both ({error})"
            )
            sentences = [reason]
        for sentence in sentences:
            warnings.warn(sentence, stacklevel=2)
        return images

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""
        return self.train.class_names

    def _check_like_training(self, role: str, images: ClassData) -> None:
        train = self.train
        for what, ours, theirs in (
            ("classes", tuple(train.class_names), tuple(images.class_names)),
            ("groups", tuple(train.group_names), tuple(images.group_names)),
        ):
            if ours != theirs:
                raise ValueError(
                    f"the {what} of {self.name!r} are {ours} in training and {theirs} in {role}: name them alike and in the same "
                    f"order, so that {'labels' if what == 'classes' else 'groups'} mean the same"
                )
        if images.shape != train.shape:
            raise ValueError(
                f"images of {self.name!r} have shape {train.shape} in training and {images.shape} in {role}: give all roles "
                "the same channels, height and width"
            )


def as_float(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]: bytes are divided by 255, floats pass."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def rows_by_group(groups: Tensor, num_groups: int) -> Sequence[Tensor]:
    """For each group the positions of its samples, in order."""
    return [(groups == group).nonzero()[:, 0] for group in range(num_groups)]
