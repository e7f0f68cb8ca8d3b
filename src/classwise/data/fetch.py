"""Official files of data sets: where they are, what they must be, and how they get onto this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from classwise.data.archives import members
from classwise.registry import did_you_mean


@dataclass(frozen=True)
class Download:
    """One published file.

    Args:
        url: Official address.
        md5: Published checksum.
        members: For an archive that is unpacked: the members to keep (under the last part of their name), with the MD5
            of each. Empty: the file is kept as it is.
    """

    url: str
    md5: str
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the downloaded file."""
        return self.url.partition("?")[0].rpartition("/")[2]

    @property
    def kept(self) -> dict[str, str]:
        """Files that stay in the data set's folder, with the MD5 of each."""
        return {each.rpartition("/")[2]: md5 for each, md5 in self.members.items()} or {self.name: self.md5}


@dataclass(frozen=True)
class Published:
    """The official files of a data set.

    Args:
        folder: Folder that holds them, named as in the official archive where there is one.
        downloads: What is downloaded for them.
    """

    folder: str
    downloads: tuple[Download, ...]

    @property
    def files(self) -> dict[str, str]:
        """Files in the folder, with the published MD5 of each."""
        return {file: md5 for download in self.downloads for file, md5 in download.kept.items()}


ARCHIVES: dict[str, Published] = {}
"""Data sets that can be fetched; each source adds its own. MD5 is what their authors published; it finds damage better
than forgery, so every file is read with the same care whatever its sum."""


def default_folder(name: str) -> Path:
    """Where :func:`fetch` puts a data set: in the folder ``CLASSWISE_DATA``, or the user's cache folder."""
    return _cache() / _published(name).folder


def fetch(name: str, folder: Path | None = None, progress: bool = True) -> Path:
    """Download the official files of a data set, once, and check them.

    Args:
        name: A data set in ``ARCHIVES``.
        folder: Where to put its folder. Default: see :func:`default_folder`.
        progress: Whether to draw a progress bar on standard error.

    Returns:
        The folder of the files. Files that are there already and intact are not downloaded again.

    Raises:
        ValueError: No network, no place to write, or not the published content.
    """
    published = _published(name)
    root = folder or _cache()
    target = root / published.folder
    for download in published.downloads:
        if all(_state(target / file, md5) == "intact" for file, md5 in download.kept.items()):
            continue
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cannot write to {str(root)!r} ({error.strerror}): "
                "set the environment variable CLASSWISE_DATA to a folder that can be written"
            ) from error
        if download.members:
            packed = _download(download, root, progress)
            _unpack(download, packed, target)
            packed.unlink()
        else:
            (target / download.name).unlink(missing_ok=True)  # a damaged one; and a link is not followed
            _download(download, target, progress)
    return target


def verify(name: str, folder: Path | None = None) -> dict[str, Literal["intact", "damaged", "missing"]]:
    """Compare the official files of a data set that are on this machine with their published checksums.

    Args:
        name: A data set in ``ARCHIVES``.
        folder: Folder of the files, or its parent. Default: see :func:`default_folder`.

    Returns:
        State of each file.
    """
    published = _published(name)
    given = folder or default_folder(name)
    inner = given / published.folder
    place = inner if inner.is_dir() else given
    return {file: _state(place / file, md5) for file, md5 in published.files.items()}


def md5_of(content: bytes) -> str:
    """MD5 of some bytes, as the authors of data sets publish it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _published(name: str) -> Published:
    if name not in ARCHIVES:
        raise ValueError(f"data set {name!r} cannot be fetched{did_you_mean(name, list(ARCHIVES))}")
    return ARCHIVES[name]


def _cache() -> Path:
    named = os.environ.get("CLASSWISE_DATA")
    if named:  # looking there needs nothing that only downloads need
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("classwise"))


def _state(path: Path, md5: str) -> Literal["intact", "damaged", "missing"]:
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return "intact" if found.hexdigest() == md5 else "damaged"


def _download(download: Download, folder: Path, progress: bool) -> Path:
    import pooch

    by_hand = "download it yourself and give its folder with --data.folder"
    with _progress_bar(download.name, progress) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16)
        try:
            path = pooch.retrieve(download.url, f"md5:{download.md5}", download.name, folder, downloader=downloader)
        except OSError as error:  # every error of requests is one
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"cannot reach {download.url} ({type(error).__name__}: {reason}): {by_hand}") from error
        except ValueError as error:
            raise ValueError(
                f"what {download.url} sent has not the published MD5 {download.md5} and was deleted: "
                f"try again later, or {by_hand}"
            ) from error
    return Path(path)


def _unpack(download: Download, packed: Path, target: Path) -> None:
    """Write the wanted files. Only bytes of known members are used: no path, link or mode of the archive."""
    for member, content in members(packed, download.members):
        file = member.rpartition("/")[2]
        if md5_of(content) != download.members[member]:
            raise ValueError(f"{file!r} in {str(packed)!r} has not its published MD5: delete it and fetch again")
        part = target / f"{file}.part"
        part.write_bytes(content)
        part.replace(target / file)


@contextmanager
def _progress_bar(file: str, shown: bool) -> Iterator[Any]:
    """What pooch wants of a progress bar, drawn by rich; stopped also when the download fails."""
    if not shown:
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _PoochBar(progress, progress.add_task(file, total=None))


class _PoochBar:
    """The attribute and the three methods that pooch uses of a progress bar."""

    total = 0

    def __init__(self, progress: Any, task: Any) -> None:
        self.progress, self.task = progress, task

    def update(self, amount: int) -> None:
        self.progress.update(self.task, advance=amount, total=self.total or None)

    def reset(self) -> None:
        self.progress.update(self.task, completed=0)

    def close(self) -> None:
        """Nothing to do: the surrounding block ends the display."""
