"""GTSRB, the German traffic signs, in its official files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.decoded import Box, decoded
from classwise.data.fetch import ARCHIVES, Download, Published, default_folder
from classwise.data.files import Files, FolderFiles, PackedFiles
from classwise.data.source import DataSource
from classwise.registry import register

CLASS_NAMES = (
    *(f"speed limit {speed} km/h" for speed in (20, 30, 50, 60, 70, 80)),
    "end of speed limit 80 km/h",
    *(f"speed limit {speed} km/h" for speed in (100, 120)),
    "no overtaking",
    "no overtaking by lorries",
    "priority at the next junction",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no lorries",
    "no entry",
    "danger",
    "bend to the left",
    "bend to the right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows on the right",
    "road works",
    "traffic lights",
    "pedestrians",
    "children",
    "cyclists",
    "ice or snow",
    "wild animals",
    "end of all limits",
    "turn right ahead",
    "turn left ahead",
    "straight ahead only",
    "straight ahead or right",
    "straight ahead or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by lorries",
)
"""Signs in the order of their class numbers, in our words: the official files only number them."""

LARGEST_17 = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 17, 18, 25, 35, 38)
"""The 17 classes with more than 1,000 official training images (1,110 to 2,250; the next has 780). The paper of FRL
(first version, section 5) keeps 17 classes for their size and does not name them."""

FOLDER = "GTSRB"
"""The one folder that the archives unpack to, and where they are kept."""

_MEND = "use the official files, unpacked or not, with --data.folder (or `classwise data fetch gtsrb`)"
_COLUMNS = ("Filename", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")


_SITE = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
ARCHIVES["gtsrb"] = Published(
    folder=FOLDER,
    downloads=(
        Download(f"{_SITE}/GTSRB_Final_Training_Images.zip", md5="f33fd80ac59bff73c82d25ab499e03a3"),
        Download(f"{_SITE}/GTSRB_Final_Test_Images.zip", md5="c7e4e6327067d32654124b0fe9e82185"),
        Download(f"{_SITE}/GTSRB_Final_Test_GT.zip", md5="fe31e9c9270bbcd7b84b7f21a9d9d9e5"),
    ),
)


@register("data", "gtsrb")
@config
class GTSRB(DataSource):
    """Photographs of 43 German traffic signs, in colour: 39,209 for training, 12,630 for testing, 210 to 2,250 per class.

    Images of 15 to 250 pixels a side are resized to a square, uint8 (N, 3, size, size). ``index`` counts the official
    lists: training images class by class, test images by number. About 30 training images in a row show one physical
    sign from a car that drives up to it, a track; tracks are the units of the data, so that :class:`Split` never puts
    frames of one sign into two roles. Test images have no tracks.

    Read are GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip, verified by their
    checksums, or what they unpack to. Decoded images are kept beside them.

    Source: Stallkamp, Schlipsing, Salmen, Igel 2011, "The German Traffic Sign Recognition Benchmark", and the readme
    files of the archives (https://benchmark.ini.rub.de/gtsrb_dataset.html): fields separated by semicolons, and a border
    of a tenth, at least 5 pixels, around the region of interest. That its right and lower ends are exclusive follows from
    the borders (the first training image is 29 x 30 pixels with the region 5, 6 to 24, 25).
    """

    folder: str = ""
    """The official files, packed or unpacked. Empty: where `classwise data fetch` put them."""
    size: int = 32
    """Height and width in pixels that images are resized to (bilinear, with antialiasing)."""
    crop: bool = False
    """Whether the border around the sign is cut off first, by the region of interest in the official lists."""
    classes: tuple[int, ...] = ()
    """Numbers of the classes to keep, labelled 0, 1, … in this order; empty: all 43."""

    def check(self) -> None:
        """Refuse a size below 1 and class numbers that are unknown or there twice."""
        if self.size < 1:
            raise ValueError(f"size {self.size} must be at least 1")
        if any(not 0 <= each < len(CLASS_NAMES) for each in self.classes):
            raise ValueError(f"classes {self.classes} must lie in 0..{len(CLASS_NAMES) - 1}")
        if len(set(self.classes)) < len(self.classes) or len(self.classes) == 1:
            raise ValueError(f"classes {self.classes} must be at least two different numbers, or empty for all")

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or damaged, or a list and the images do not fit together.
        """
        return Dataset(self.registered_name, train=self._train(), test=self._test, source=self)

    def _train(self) -> ClassData:
        files, place = self._files("Training")
        lists = files.texts([f"{number:05}/GT-{number:05}.csv" for number in range(len(CLASS_NAMES))])
        rows = [
            row
            for number, (name, text) in enumerate(lists.items())
            for row in _read_list(files.where(name), text, r"\d{5}_\d{5}\.ppm", number)
        ]
        _refuse_unlisted(files, rows)
        return self._data(files, rows, place, tracks=True)

    def _test(self) -> ClassData:
        files, place = self._files("Test")
        lists = self._test_list()
        ((name, text),) = lists.texts(["GT-final_test.csv"]).items()
        rows = _read_list(lists.where(name), text, r"\d{5}\.ppm")
        _refuse_unlisted(files, rows)
        return self._data(files, rows, place, tracks=False)

    def _data(self, files: Files, rows: list[_Row], place: Path, tracks: bool) -> ClassData:
        """The chosen classes of an official list."""
        kept = self.classes or tuple(range(len(CLASS_NAMES)))
        label = {number: position for position, number in enumerate(kept)}
        chosen = [(index, row) for index, row in enumerate(rows) if row.number in label]
        boxes = {row.name: row.box if self.crop else None for _, row in chosen}
        role = "train" if tracks else "test"
        return ClassData(
            decoded(files, boxes, self.size, place, f"{self.registered_name}-{role}"),
            torch.tensor([label[row.number] for _, row in chosen], dtype=torch.int64),
            tuple(CLASS_NAMES[number] for number in kept),
            index=torch.tensor([index for index, _ in chosen], dtype=torch.int64),
            name=self.registered_name,
            units=torch.tensor([row.track for _, row in chosen], dtype=torch.int64) if tracks else None,
        )

    def _places(self) -> list[Path]:
        """Where files may lie: in the folder GTSRB that the archives unpack to, or beside it."""
        given = Path(self.folder).expanduser() if self.folder else default_folder("gtsrb")
        return [given / FOLDER, given]

    def _files(self, role: str) -> tuple[Files, Path]:
        """The images of a role, in training with their lists, and the folder of the archive or of what it unpacked to."""
        archive = f"GTSRB_Final_{role}_Images.zip"
        for place in self._places():
            if (place / archive).is_file():
                return _packed(place / archive, f"GTSRB/Final_{role}/Images/"), place
        for place in self._places():
            if (place / f"Final_{role}" / "Images").is_dir():
                return FolderFiles(place / f"Final_{role}" / "Images", _MEND), place
        raise self._nowhere(archive, f"{FOLDER}/Final_{role}/Images")

    def _test_list(self) -> Files:
        """What holds GT-final_test.csv, the list of test images with their classes."""
        archive = "GTSRB_Final_Test_GT.zip"
        for place in self._places():
            if (place / archive).is_file():
                return _packed(place / archive, "")
        for place in self._places():
            for folder in (place, place / "Final_Test" / "Images"):
                if (folder / "GT-final_test.csv").is_file():
                    return FolderFiles(folder, _MEND)
        raise self._nowhere(archive, "GT-final_test.csv")

    def _nowhere(self, archive: str, unpacked: str) -> ValueError:
        return ValueError(f"there is neither {archive} nor {unpacked} in {str(self._places()[-1])!r}: {_MEND}")


@dataclass(frozen=True)
class _Row:
    """One line of an official list: file name, region of interest, number of the class, number of the track."""

    name: str
    box: Box
    number: int
    track: int


def _read_list(where: str, text: str, pattern: str, number: int | None = None) -> list[_Row]:
    """The lines of one list; with a number, all must be of that class, whose folder holds the images."""
    folder = "" if number is None else f"{number:05}/"
    header, *lines = [line.split(";") for line in text.splitlines()] or [[]]
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise ValueError(f"{where!r} has no column {missing[0]!r}: {_MEND}")
    rows: dict[str, _Row] = {}
    for line, values in enumerate(lines, start=2):
        if values == [""]:
            continue
        fields = dict(zip(header, values, strict=False))
        try:
            file = fields["Filename"]
            left, top, right, bottom, found = (int(fields[column]) for column in _COLUMNS[1:])
        except (KeyError, ValueError):
            raise ValueError(f"line {line} of {where!r} is not as in the official file: {_MEND}") from None
        if not re.fullmatch(pattern, file, re.ASCII):
            raise ValueError(f"line {line} of {where!r} names {file!r}, which is no official file name: {_MEND}")
        if file in rows:
            raise ValueError(f"{where!r} lists {file!r} twice (line {line}): {_MEND}")
        if not 0 <= found < len(CLASS_NAMES) or (number is not None and found != number):
            raise ValueError(f"line {line} of {where!r} has the class {found}, which cannot be: {_MEND}")
        # Tracks are counted anew in every class.
        rows[file] = _Row(folder + file, (left, top, right, bottom), found, found * 10**5 + int(file[:5]))
    return list(rows.values())


def _refuse_unlisted(files: Files, rows: list[_Row]) -> None:
    unlisted = files.unlisted({row.name for row in rows}, ".ppm")
    if unlisted:
        raise ValueError(
            f"{files.where(unlisted[0])!r} is in no list, so its class is not known ({len(unlisted)} such images): {_MEND}"
        )


def _packed(path: Path, prefix: str) -> Files:
    return PackedFiles(path, ARCHIVES["gtsrb"].files[path.name], prefix, _MEND)
