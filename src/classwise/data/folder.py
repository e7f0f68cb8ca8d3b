"""Images in folders, one folder per class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from classwise.configuration import config
from classwise.data.listed import Item, ListedImages, with_slashes
from classwise.data.naming import check_same, role_named
from classwise.data.table import read_table
from classwise.registry import register

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of image files, in lower case."""
BOOKKEEPING = ("__macosx", "desktop.ini", "thumbs.db")
"""What systems leave in folders, in lower case; passed over in silence, as hidden files are."""
METADATA = "metadata.csv"
"""Table with a column ``file_name`` and further ones, as Hugging Face's image folders have it."""


@register("data", "folder", "image-folder", "imagefolder")
@config
class ImageFolder(ListedImages):
    """Your own images in folders: train/CLASS/…, test/CLASS/… and, if you like, val/CLASS/…; or CLASS/… alone.

    The folders train, val (valid, validation, dev) and test may be written in any case, and be called training_set, val_set
    and the like. With CLASS folders alone, test images are held out here; ones that look like roles are refused. With train
    and val but without test, audits need images of their own. Images may lie in further folders below their class. Files
    that are no images by their ending are left out with one warning that counts them; hidden files in silence. An image
    that cannot be decoded is an error.

    Groups and units come from a table ``metadata.csv`` in the folder (or one in each of train, val and test), whose column
    ``file_name`` holds paths relative to it and whose other columns are what ``groups`` and ``units`` may name.
    """

    def items(self, root: Path) -> list[Item]:
        """See :class:`ListedImages`."""
        roles = _roles(root)
        found: list[Item] = []
        others: list[Path] = []
        classes = {}
        for role, folder in roles.items():
            listed = _classes(folder)
            classes[role] = [each.name for each in listed]
            for each in listed:
                files = list(_files(each))
                images = [path for path in files if path.suffix.lower() in SUFFIXES]
                others += [path for path in files if path.suffix.lower() not in SUFFIXES]
                if not images:
                    raise ValueError(_empty(each, others))
                found += [Item(path, path.relative_to(root).as_posix(), each.name, "", role) for path in images]
        check_same("classes", {role or "all": names for role, names in classes.items()}, str(root))
        if others:
            warnings.warn(
                f"{len(others)} files in {str(root)!r} are no images by their ending and are left out, the first is "
                f"{others[0].relative_to(root).as_posix()!r}: move them out, or convert them",
                stacklevel=2,
            )
        return _described(root, list(roles.values()), found, self)


def _roles(root: Path) -> dict[str, Path]:
    """Role → its folder, where the sub-folders are roles; otherwise the folder itself, of no role."""
    named: dict[str, Path] = {}
    others = []
    for folder in _folders(root):
        role = role_named(folder.name)
        if role in named:
            raise ValueError(
                f"{str(named[role])!r} and {str(folder)!r} mean the same role: put their images into one of them"
            )
        if role is None:
            others.append(folder)
        else:
            named[role] = folder
    if "train" not in named or not _folders(named["train"]):  # a class may be called "train"
        _refuse_roles(root, named, others)
        return {"": root}
    if others:
        raise ValueError(
            f"{str(root)!r} holds {', '.join(repr(each.name) for each in named.values())} and {others[0].name!r} beside them: "
            "move it out, or give folders of classes only"
        )
    return {role: named[role] for role in ("train", "validation", "test") if role in named}


def _refuse_roles(root: Path, named: Mapping[str, Path], others: Sequence[Path]) -> None:
    """Refuse sub-folders that would be taken for classes but look like roles: a model would learn to tell these."""
    rename = "call the folders of the roles train, val and test (train/CLASS/…, test/CLASS/…)"
    if named and ("train" not in named or not others or any(_folders(each) for each in named.values())):
        raise ValueError(
            f"{str(root)!r} holds {', '.join(repr(each.name) for each in named.values())} but no folder train with folders of "
            f"classes in it: {rename}; to have all images divided here, give the folder right above those of the classes"
        )
    inside = {tuple(each.name for each in _folders(folder)) for folder in others}
    direct = any(path.is_file() and path.suffix.lower() in SUFFIXES for each in others for path in _entries(each))
    if len(others) > 1 and len(inside) == 1 and inside != {()} and not direct:
        raise ValueError(
            f"the folders {', '.join(repr(each.name) for each in others[:4])} in {str(root)!r} hold no images themselves but the "
            f"same sub-folders ({', '.join(map(repr, sorted(*inside)[:4]))}), as roles do and classes do not: {rename}; where "
            "they are classes, move their images out of the sub-folders"
        )


def _classes(folder: Path) -> list[Path]:
    """The folders of the classes; images beside them have no class."""
    loose = [path for path in _entries(folder) if path.is_file() and path.suffix.lower() in SUFFIXES]
    if loose:
        raise ValueError(
            f"{str(loose[0])!r} lies beside the folders of the classes ({len(loose)} such images): sort them into these, or list "
            "images in a CSV file and read it with the data source csv"
        )
    found = _folders(folder)
    if not found:
        raise ValueError(f"{str(folder)!r} holds no folders of classes: give the folder above those")
    return found


def _empty(folder: Path, others: list[Path]) -> str:
    here = [path for path in others if folder in path.parents]
    because = f"; files such as {here[0].name!r} are no images by their ending" if here else ""
    return f"the folder {str(folder)!r} of the class {folder.name!r} holds no images{because}: add some, or remove it"


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, without hidden things and those that systems leave behind."""
    kept = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted((path for path in kept if path.name.lower() not in BOOKKEEPING), key=lambda path: path.name)


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _files(folder: Path) -> Iterator[Path]:
    """Files in a folder and those below it; a linked folder below it is not followed."""
    for path in _entries(folder):
        if path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _files(path)


def _described(root: Path, folders: list[Path], items: list[Item], source: ImageFolder) -> list[Item]:
    """The items with their groups and units, where these are asked for."""
    asked = {what: column for what, column in (("groups", source.groups), ("units", source.units)) if column}
    if not asked:
        return items
    entries: dict[str, dict[Path, str]] = {}
    tables = [folder / METADATA for folder in dict.fromkeys([root, *folders]) if (folder / METADATA).is_file()]
    for what, column in asked.items():
        if not tables:
            raise ValueError(
                f"{what} {column!r} need a table {METADATA!r} in {str(root)!r}: give one with the columns file_name and {column}, "
                "file_name being the path of each image in that folder"
            )
        entry = _entries_by_file(tables, column)
        missing = [item for item in items if item.path not in entry]
        if missing:
            raise ValueError(
                f"{missing[0].called!r} is not in {str(tables[0])!r}, so its {column} is not known ({len(missing)} such images): "
                "add it"
            )
        entries[what] = entry
    group, unit = entries.get("groups", {}), entries.get("units", {})
    return [replace(item, group=group.get(item.path, ""), unit=unit.get(item.path, "")) for item in items]


def _entries_by_file(tables: Sequence[Path], column: str) -> dict[Path, str]:
    """The entry of each file in a column of the tables; a file may be listed twice where both entries are equal."""
    found: dict[Path, tuple[str, str]] = {}
    for path in tables:
        table = read_table(path)
        for file, value, line in zip(table.column("file_name"), table.column(column), table.lines, strict=True):
            image, where = path.parent / file, f"line {line} of {str(path)!r}"
            slashed = with_slashes(path.parent, file)
            if slashed:
                raise ValueError(f"{where} has {file!r} in column 'file_name': {slashed}")
            before, place = found.setdefault(image, (value, where))
            if before != value:
                raise ValueError(
                    f"{str(image)!r} has the {column} {before!r} in {place} and {value!r} in {where}: keep the right one"
                )
    return {file: value for file, (value, _) in found.items()}
