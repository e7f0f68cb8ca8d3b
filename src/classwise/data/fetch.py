"""Official files of data sets: where they are, what they must be, and how they get onto this machine."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classwise.registry import did_you_mean


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Args:
        url: Official address.
        md5: Published checksum of the archive.
        folder: Folder inside the archive that holds the files.
        files: The files that are wanted, with the MD5 of each.
    """

    url: str
    md5: str
    folder: str
    files: Mapping[str, str]


ARCHIVES = {
    "cifar10": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        files={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    ),
}
"""Data sets that can be fetched. MD5 is what their authors published; it finds damage better than forgery, so
pickles are read by :func:`classwise.data.pickles.read_pickle` all the same."""


def default_folder(name: str) -> Path:
    """Where :func:`fetch` puts a data set: in the folder ``CLASSWISE_DATA``, or the user's cache folder."""
    return _cache() / _archive(name).folder


def fetch(name: str, folder: Path | None = None, progress: bool = True) -> Path:
    """Download the official files of a data set, once, and check them.

    Args:
        name: A data set in ``ARCHIVES``.
        folder: Where to put them. Default: see :func:`default_folder`.
        progress: Whether to draw a progress bar on standard error.

    Returns:
        The folder of the files. Files that are there already and intact are not downloaded again.

    Raises:
        ValueError: No network, no place to write, or not the published content.
    """
    archive = _archive(name)
    root = folder or _cache()
    target = root / archive.folder
    if all(_is_intact(target / file, md5) for file, md5 in archive.files.items()):
        return target
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot write to {str(root)!r} ({error.strerror}): "
            "set the environment variable CLASSWISE_DATA to a folder that can be written"
        ) from error
    packed = _download(archive, root, progress)
    _unpack(archive, packed, target)
    packed.unlink()
    return target


def md5_of(content: bytes) -> str:
    """MD5 of some bytes, as the authors of data sets publish it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _archive(name: str) -> Archive:
    if name not in ARCHIVES:
        raise ValueError(f"data set {name!r} cannot be fetched{did_you_mean(name, list(ARCHIVES))}")
    return ARCHIVES[name]


def _cache() -> Path:
    import pooch

    return Path(os.environ.get("CLASSWISE_DATA") or pooch.os_cache("classwise")).expanduser()


def _is_intact(path: Path, md5: str) -> bool:
    return path.is_file() and md5_of(path.read_bytes()) == md5


def _download(archive: Archive, root: Path, progress: bool) -> Path:
    import pooch

    file = archive.url.rpartition("/")[2]
    by_hand = "download it yourself, unpack it and give the folder with --data.folder"
    with _progress_bar(file, progress) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16)
        try:
            path = pooch.retrieve(archive.url, f"md5:{archive.md5}", file, root, downloader=downloader)
        except OSError as error:  # every error of requests is one
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"cannot reach {archive.url} ({type(error).__name__}: {reason}): {by_hand}") from error
        except ValueError as error:
            raise ValueError(
                f"what {archive.url} sent has not the published MD5 {archive.md5} and was deleted: "
                f"try again later, or {by_hand}"
            ) from error
    return Path(path)


def _unpack(archive: Archive, packed: Path, target: Path) -> None:
    """Write the wanted files. Only bytes of known members are used: no path, link or mode of the archive."""
    try:
        with tarfile.open(packed) as tar:
            for file, md5 in archive.files.items():
                member = tar.getmember(f"{archive.folder}/{file}")
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise ValueError(f"{str(packed)!r} holds {file!r} not as a file: delete it and fetch again")
                data = content.read()
                if md5_of(data) != md5:
                    raise ValueError(
                        f"{file!r} in {str(packed)!r} has not its published MD5: delete it and fetch again"
                    )
                part = target / f"{file}.part"
                part.write_bytes(data)
                part.replace(target / file)
    except (tarfile.TarError, EOFError, zlib.error, KeyError, OSError) as error:
        raise ValueError(f"{str(packed)!r} cannot be unpacked ({error}): delete it and fetch again") from error


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
