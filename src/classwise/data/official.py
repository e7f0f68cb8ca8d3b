"""Official files that are on this machine: where they lie, and their bytes once these are the published ones."""

from __future__ import annotations

from pathlib import Path

from classwise.data.fetch import ARCHIVES, default_folder, md5_of


def official_folder(name: str, title: str, folder: str, ending: str = "") -> Path:
    """The folder of a data set's official files, all of them present.

    Args:
        name: What the data set is called in ``classwise data fetch``.
        title: What it is called in messages.
        folder: The folder that a user gave, or its parent. Empty: where `classwise data fetch` put the files.
        ending: Ending of a packed file, which a file that was unpacked lacks.

    Raises:
        ValueError: A file is missing.
    """
    published = ARCHIVES[name]
    given = Path(folder).expanduser() if folder else default_folder(name)
    inner = given / published.folder
    place = inner if inner.is_dir() else given
    missing = [
        file
        for file in published.files
        if not ((place / file).is_file() or (place / file.removesuffix(ending)).is_file())
    ]
    if len(missing) == len(published.files):
        raise ValueError(f"there is no {title} in {str(given)!r}: {_mend(name)}")
    if missing:
        raise ValueError(f"{str(place / missing[0])!r} is missing: {_mend(name)}")
    return place


def official_bytes(name: str, path: Path) -> bytes:
    """The content of an official file, read once; its MD5 is checked on the very bytes that are returned.

    Raises:
        ValueError: The file is not the published one.
    """
    content = path.read_bytes()
    published, found = ARCHIVES[name].files[path.name], md5_of(content)
    if found != published:
        raise ValueError(f"{str(path)!r} is damaged (MD5 {found} instead of {published}): {_mend(name)}")
    return content


def _mend(name: str) -> str:
    return f"fetch it with `classwise data fetch {name}`, or give the official files with --data.folder"
