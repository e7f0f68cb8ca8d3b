"""The files of a published data set where they lie: in the official archive, or in the folder it was unpacked to."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path

from classwise.data.archives import members


class Files(ABC):
    """Files by their names relative to one folder, with ``/`` between parts.

    Args:
        mend: What a message asks for where a file is missing or damaged.
    """

    def __init__(self, mend: str) -> None:
        self.mend = mend

    @abstractmethod
    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Names and contents of some files, in any order.

        Raises:
            ValueError: One of them is missing or cannot be read.
        """

    @abstractmethod
    def digest(self, names: Collection[str]) -> str:
        """SHA-256 over what tells that some files are still the same."""

    @abstractmethod
    def unlisted(self, names: Collection[str], ending: str, below: str = "") -> list[str]:
        """Files with an ending that are there, below a folder, and not among the names, sorted."""

    @abstractmethod
    def where(self, name: str) -> str:
        """A file as messages call it."""

    def texts(self, names: Collection[str]) -> dict[str, str]:
        """Some files as text (UTF-8), by name in the order given; an archive is gone through once.

        Raises:
            ValueError: One of them is missing, or is no text.
        """
        found = dict.fromkeys(names, "")
        for name, content in self.read(names):
            try:
                found[name] = content.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.where(name)!r} is no text: {self.mend}") from error
        return found


class PackedFiles(Files):
    """Files in an official archive, whose published checksum is verified before anything in it is read.

    Args:
        path: The archive.
        md5: Its published MD5.
        prefix: Folder inside it that names are relative to: empty, or ending in ``/``.
        mend: See :class:`Files`.

    Raises:
        ValueError: The archive is not the published one.
    """

    def __init__(self, path: Path, md5: str, prefix: str, mend: str) -> None:
        super().__init__(mend)
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5:
            raise ValueError(f"{str(path)!r} is damaged (MD5 {found} instead of {md5}): {mend}")
        self.path, self.md5, self.prefix = path, md5, prefix

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See :class:`Files`; the order is that of the archive."""
        for name, content in members(self.path, [self.prefix + name for name in names]):
            yield name.removeprefix(self.prefix), content

    def digest(self, names: Collection[str]) -> str:
        """See :class:`Files`: the archive's checksum stands for its files."""
        return hashlib.sha256("\n".join([self.md5, self.prefix, *names]).encode()).hexdigest()

    def unlisted(self, names: Collection[str], ending: str, below: str = "") -> list[str]:
        """See :class:`Files`: none, since the checksum vouches that lists and images belong together."""
        return []

    def where(self, name: str) -> str:
        """See :class:`Files`."""
        return f"{self.path}/{self.prefix}{name}"


class FolderFiles(Files):
    """Files in a folder, which no checksum vouches for.

    Args:
        folder: What names are relative to.
        mend: See :class:`Files`.
    """

    def __init__(self, folder: Path, mend: str) -> None:
        super().__init__(mend)
        self.folder = folder

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """See :class:`Files`; the order is that of the names."""
        for name in names:
            try:
                yield name, (self.folder / name).read_bytes()
            except OSError as error:
                raise self._unreadable(name, error) from error

    def digest(self, names: Collection[str]) -> str:
        """See :class:`Files`: names, sizes and times of the last change."""
        digest = hashlib.sha256()
        for name in names:
            try:
                facts = (self.folder / name).stat()
            except OSError as error:
                raise self._unreadable(name, error) from error
            digest.update(f"{name}\t{facts.st_size}\t{facts.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def unlisted(self, names: Collection[str], ending: str, below: str = "") -> list[str]:
        """See :class:`Files`."""
        found = (
            (Path(folder) / file).relative_to(self.folder).as_posix()
            for folder, _, files in os.walk(self.folder / below)
            for file in files
            if file.endswith(ending) and not file.startswith(".")  # some systems keep hidden files beside others
        )
        return sorted(set(found).difference(names))

    def where(self, name: str) -> str:
        """See :class:`Files`."""
        return str(self.folder / name)

    def _unreadable(self, name: str, error: OSError) -> ValueError:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        return ValueError(f"{self.where(name)!r} {reason}: {self.mend}")
