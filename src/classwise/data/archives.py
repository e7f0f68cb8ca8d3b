"""The files in an archive, as bytes: an archive is hostile until proven otherwise, so nothing is ever extracted.

The reader here never writes, and never uses a path, a link or a mode of the archive. It hands out names and
bytes of regular files; who wants them on disk decides where they go. What an archive claims of itself is checked
before it is believed, and what it unpacks to is counted while it does.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

TARS: dict[str, Any] = {
    ".tar": open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}
"""Endings of tar archives, with what opens each."""

_MEND = "delete it and fetch the official archive again"


def members(
    path: Path, wanted: Collection[str] | None = None, largest: int = 2**31, total: int = 2**34
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in an archive, in its order.

    Args:
        path: A .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .zip archive, or one .gz file (whose only member is called like
            the file, without .gz).
        wanted: Names to hand out; every one must be there, and all other members are passed over. Default: all.
        largest: Bytes that one member may have.
        total: Bytes that the whole archive may unpack to.

    Yields:
        Name (relative, with "/", without "." and "..") and content.

    Raises:
        ValueError: The archive is missing, truncated or damaged; a wanted name is missing, there twice, no regular file
            (a link, a device), absolute or with ".."; or a size goes beyond its bound.
    """
    names = None if wanted is None else frozenset(wanted)
    seen: set[str] = set()
    try:
        for name, content in _reader(path)(path, names, largest, total):
            if name in seen:
                raise _RefusedError(f"{str(path)!r} holds {name!r} twice: {_MEND}")
            seen.add(name)
            yield name, content
    except _RefusedError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything, from struct.error to OverflowError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{str(path)!r} cannot be unpacked ({reason}): {_MEND}") from error
    if names is not None and len(seen) < len(names):
        missing = sorted(names - seen)
        raise ValueError(f"{str(path)!r} does not hold {missing[0]!r} ({len(missing)} missing in all): {_MEND}")


class _RefusedError(ValueError):
    """What this module found itself, with its mend: it passes, where other errors are put into words."""


def _reader(path: Path) -> Any:
    file = path.name.lower()
    if not path.is_file():
        raise _RefusedError(f"there is no archive {str(path)!r}: check the path")
    if file.endswith(tuple(TARS)):
        return _tar
    for ending, reader in ((".zip", _zip), (".gz", _gz)):
        if file.endswith(ending):
            return reader
    raise _RefusedError(f"{str(path)!r} is no archive known here: give one of {', '.join([*TARS, '.zip', '.gz'])}")


def _tar(path: Path, wanted: frozenset[str] | None, largest: int, total: int) -> Iterator[tuple[str, bytes]]:
    ending = max((each for each in TARS if path.name.lower().endswith(each)), key=len)
    with TARS[ending](path, "rb") as raw:
        stream = _Counted(raw, path, largest, total)
        with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                name = None if member.isdir() else _asked_for(member.name, wanted, path)
                if name is None:
                    tar.members.clear()  # they would pile up: archives of data sets have 100,000
                    continue
                if not member.isreg() or member.issparse():
                    raise _RefusedError(
                        f"{str(path)!r} holds {member.name!r} not as a file but as a link or device: {_MEND}"
                    )
                _bound(member.size, largest, f"{member.name!r} in {str(path)!r}")
                content = tar.extractfile(member)
                assert content is not None
                yield name, content.read()
                tar.members.clear()
        if stream.last.strip(b"\0") or len(stream.last) < tarfile.BLOCKSIZE:  # tarfile takes any bad header for the end
            raise _RefusedError(f"{str(path)!r} breaks off before its end: {_MEND}")
        stream.drain()


def _zip(path: Path, wanted: frozenset[str] | None, largest: int, total: int) -> Iterator[tuple[str, bytes]]:
    unpacked = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = None if member.is_dir() else _asked_for(member.filename, wanted, path)
            if name is None:
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _RefusedError(
                    f"{str(path)!r} holds {member.filename!r} not as a file but as a link or device: {_MEND}"
                )
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without bound
                raise _RefusedError(f"{member.filename!r} in {str(path)!r} is packed in an unusual way: {_MEND}")
            _bound(member.file_size, largest, f"{member.filename!r} in {str(path)!r}")
            unpacked += member.file_size
            _bound(unpacked, total, repr(str(path)))
            content = archive.read(member)  # never more than was declared
            if len(content) != member.file_size:
                raise _RefusedError(f"{member.filename!r} in {str(path)!r} is shorter than declared: {_MEND}")
            yield name, content


def _gz(path: Path, wanted: frozenset[str] | None, largest: int, total: int) -> Iterator[tuple[str, bytes]]:
    limit = min(largest, total)
    with gzip.open(path, "rb") as stream:
        content = stream.read(limit + 1)
    _bound(len(content), limit, repr(str(path)))
    name = path.name[: -len(".gz")]
    if wanted is None or name in wanted:
        yield name, content


def _plain(name: str) -> str | None:
    """A name in its plain form ("./a//b" is "a/b"); None for one that could leave a folder."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        return None
    return PurePosixPath(name).as_posix()


def _asked_for(given: str, wanted: frozenset[str] | None, path: Path) -> str | None:
    """The plain name of a member to hand out; None for one to pass over."""
    name = _plain(given)
    if wanted is not None:
        return name if name in wanted else None
    if name is None:
        raise _RefusedError(f"{str(path)!r} holds {given!r}, a name that could leave its folder: {_MEND}")
    return name


def _bound(size: int, limit: int, what: str) -> None:
    if size > limit:
        raise _RefusedError(f"{what} has more than {limit:,} bytes: this is not the archive it should be; {_MEND}")


class _Counted:
    """The reading side of a file that counts its bytes, for tarfile: one read and the whole have bounds."""

    def __init__(self, stream: IO[bytes], path: Path, largest: int, total: int) -> None:
        self.stream, self.path, self.largest, self.total = stream, path, largest, total
        self.last = b""
        """What the latest read of a header gave."""

    def read(self, size: int = -1) -> bytes:
        """Read bytes; headers of tar declare how long they are, so a size may be a lie."""
        _bound(size, self.largest + tarfile.BLOCKSIZE, f"a part of {str(self.path)!r}")
        content = self.stream.read(size)
        _bound(self.stream.tell(), self.total, repr(str(self.path)))
        if size == tarfile.BLOCKSIZE:
            self.last = content
        return content

    def drain(self) -> None:
        """Read what is left: a compressed stream has its checksum at its end."""
        while self.stream.read(2**16):
            _bound(self.stream.tell(), self.total, repr(str(self.path)))

    def seek(self, position: int) -> int:
        """Go to a position; in a compressed stream all before it is unpacked, so it counts."""
        _bound(position, self.total, repr(str(self.path)))
        return self.stream.seek(position)

    def tell(self) -> int:
        """Position in what was unpacked."""
        return self.stream.tell()
