"""Small files in place of the official ones."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from classwise.data.fetch import ARCHIVES, Download, Published

Publish = Callable[[str, Mapping[str, bytes]], Path]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Writes files as the official ones of a data set into its folder in ``tmp_path``; their MD5s become the published."""

    def write(name: str, files: Mapping[str, bytes]) -> Path:
        folder = ARCHIVES[name].folder
        (tmp_path / folder).mkdir(exist_ok=True)
        for file, content in files.items():
            (tmp_path / folder / file).write_bytes(content)
        downloads = tuple(
            Download(f"https://localhost/{file}", hashlib.md5(content).hexdigest()) for file, content in files.items()
        )
        monkeypatch.setitem(ARCHIVES, name, Published(folder, downloads))
        return tmp_path / folder

    return write
