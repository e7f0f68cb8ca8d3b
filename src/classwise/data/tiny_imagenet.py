"""Tiny-ImageNet-200 in its official files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import torch

from classwise.configuration import config
from classwise.data.dataset import ClassData, Dataset
from classwise.data.decoded import decoded
from classwise.data.fetch import ARCHIVES, Download, Published, default_folder
from classwise.data.files import Files, FolderFiles, PackedFiles
from classwise.data.source import DataSource
from classwise.registry import register

ARCHIVE, FOLDER = "tiny-imagenet-200.zip", "tiny-imagenet-200"
"""The official archive, and the one folder that it unpacks to and where it is kept."""

_MEND = "use the official files, unpacked or not, with --data.folder (or `classwise data fetch tiny-imagenet`)"


ARCHIVES["tiny-imagenet"] = Published(
    folder=FOLDER,
    downloads=(Download(f"http://cs231n.stanford.edu/{ARCHIVE}", md5="90528d7ca1a48142e341f4ef8d21d0de"),),
)


@register("data", "tiny-imagenet")
@config
class TinyImageNet(DataSource):
    """Photographs of 200 classes of ImageNet, 64x64 pixels in colour: 500 of each for training, 50 for testing.

    Images come as uint8 (N, 3, 64, 64); grey files are turned to RGB. The labels of the official test images were never
    published, so that, as in all papers, the official validation images serve for testing. Classes are sorted by
    their WordNet number, as programs do that take folder names for classes (and not in the order of wnids.txt), so that
    networks trained elsewhere fit; a class is called by the first of its words. ``index`` counts the training images
    class by class in the order of the official lists, and test images in that of val_annotations.txt.

    Read is tiny-imagenet-200.zip, verified by its checksum, or the folder it unpacks to. Decoded images are kept
    beside it.

    Source: http://cs231n.stanford.edu/tiny-imagenet-200.zip (Stanford course CS231n; images of ImageNet, Deng et al.
    2009), whose lists are separated by tabs: file name, in val_annotations.txt the class, and the box of the object.
    """

    folder: str = ""
    """The folder that holds the archive or its tiny-imagenet-200, or that one. Empty: where `classwise data fetch` put it."""

    def load(self) -> Dataset:
        """Read the training images; test images are read at their first use.

        Raises:
            ValueError: A file is missing or damaged, or a list and the images do not fit together.
        """
        files, place = self._files()
        names = _class_names(files)
        return Dataset(
            self.registered_name,
            train=self._data(files, place, "train", _train_labels(files, names), names),
            test=lambda: self._data(files, place, "val", _test_labels(files, names), names),
            source=self,
        )

    def _data(self, files: Files, place: Path, role: str, labels: dict[str, int], names: dict[str, str]) -> ClassData:
        """The images of a role, given the label of each."""
        unlisted = files.unlisted(labels, ".JPEG", below=role)
        if unlisted:
            raise ValueError(
                f"{files.where(unlisted[0])!r} is in no list, so its class is not known ({len(unlisted)} such images): "
                f"{_MEND}"
            )
        return ClassData(
            decoded(files, dict.fromkeys(labels), 64, place, f"{self.registered_name}-{role}"),
            torch.tensor(list(labels.values()), dtype=torch.int64),
            tuple(names.values()),
            name=self.registered_name,
        )

    def _files(self) -> tuple[Files, Path]:
        """The archive if it is there, else the unpacked folder; and in which folder either lies."""
        given = Path(self.folder).expanduser() if self.folder else default_folder("tiny-imagenet")
        places = [given / FOLDER, given]
        for place in places:
            if (place / ARCHIVE).is_file():
                md5 = ARCHIVES["tiny-imagenet"].files[ARCHIVE]
                return PackedFiles(place / ARCHIVE, md5, f"{FOLDER}/", _MEND), place
        for place in places:
            if (place / "wnids.txt").is_file():
                return FolderFiles(place, _MEND), place
        raise ValueError(f"there is neither {ARCHIVE} nor {FOLDER}/wnids.txt in {str(given)!r}: {_MEND}")


def _class_names(files: Files) -> dict[str, str]:
    """WordNet number → name of each class, in the order of the labels."""
    texts = files.texts(["wnids.txt", "words.txt"])
    wnids = sorted(texts["wnids.txt"].split())
    strange = [wnid for wnid in wnids if not re.fullmatch(r"n\d{8}", wnid, re.ASCII)]
    if strange or not wnids or len(set(wnids)) < len(wnids):
        raise ValueError(f"{files.where('wnids.txt')!r} is no list of different WordNet numbers: {_MEND}")
    words = dict(line.split("\t", 1) for line in texts["words.txt"].splitlines() if "\t" in line)
    missing = [wnid for wnid in wnids if not words.get(wnid, "").strip()]
    if missing:
        raise ValueError(f"{files.where('words.txt')!r} has no words for {missing[0]!r}: {_MEND}")
    first = {wnid: words[wnid].split(",")[0].strip() for wnid in wnids}
    used = Counter(first.values())  # a crane is a bird and a machine
    return {wnid: name if used[name] == 1 else f"{name} ({wnid})" for wnid, name in first.items()}


def _train_labels(files: Files, names: dict[str, str]) -> dict[str, int]:
    """File → label of the training images, class by class."""
    texts = files.texts([f"train/{wnid}/{wnid}_boxes.txt" for wnid in names])
    return {
        f"train/{wnid}/images/{file}": label
        for label, (wnid, (name, text)) in enumerate(zip(names, texts.items(), strict=True))
        for (file,) in _first_columns(files.where(name), text, rf"{wnid}_\d+\.JPEG", 1)
    }


def _test_labels(files: Files, names: dict[str, str]) -> dict[str, int]:
    """File → label of the official validation images, in the order of their list."""
    ((name, text),) = files.texts(["val/val_annotations.txt"]).items()
    where = files.where(name)
    label_of = {wnid: label for label, wnid in enumerate(names)}
    labels = {}
    for file, wnid in _first_columns(where, text, r"val_\d+\.JPEG", 2):
        if wnid not in label_of:
            raise ValueError(f"{where!r} gives {file!r} the class {wnid!r}, not in wnids.txt: {_MEND}")
        labels[f"val/images/{file}"] = label_of[wnid]
    return labels


def _first_columns(where: str, text: str, pattern: str, number: int) -> list[tuple[str, ...]]:
    """The first columns of a list separated by tabs, the first of them a file name that fits and is there once."""
    rows: dict[str, tuple[str, ...]] = {}
    for line, given in enumerate(text.splitlines(), start=1):
        columns = tuple(each.strip() for each in given.split("\t")[:number])
        if columns == ("",):
            continue
        if len(columns) < number or not re.fullmatch(pattern, columns[0], re.ASCII):
            raise ValueError(f"line {line} of {where!r} ({given[:60]!r}) is not as in the official file: {_MEND}")
        if columns[0] in rows:
            raise ValueError(f"{where!r} lists {columns[0]!r} twice (line {line}): {_MEND}")
        rows[columns[0]] = columns
    return list(rows.values())
