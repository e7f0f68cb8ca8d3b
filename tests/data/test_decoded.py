"""Decoded images are kept on disk, and what is kept is used only while it is what decoding would give."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from classwise.data import decoded as module
from classwise.data.decoded import decoded
from classwise.data.files import FolderFiles

NAMES = [f"{number}.ppm" for number in range(5)]


def ppm(pixels: np.ndarray) -> bytes:
    height, width, _ = pixels.shape
    return f"P6\n{width} {height}\n255\n".encode() + pixels.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of 6x6 pixels, each of its own colour."""
    (tmp_path / "images").mkdir()
    for number, name in enumerate(NAMES):
        (tmp_path / "images" / name).write_bytes(ppm(np.full((6, 6, 3), 10 * number, np.uint8)))
    return tmp_path


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded, in order."""
    files: list[str] = []
    plain = module.decode

    def counted(content: bytes, where: str, *arguments: object, **more: object) -> torch.Tensor:
        files.append(Path(where).name)
        return plain(content, where, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "decode", counted)
    return files


def images(folder: Path, names: list[str] = NAMES, size: int = 4, box: module.Box | None = None) -> torch.Tensor:
    return decoded(FolderFiles(folder / "images", "mend it"), dict.fromkeys(names, box), size, folder, "some")


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("some-*.npy"))


def test_a_second_time_nothing_is_decoded(folder: Path, count: list[str]) -> None:
    first, second = images(folder), images(folder)
    assert first.shape == (5, 3, 4, 4)
    assert first[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert torch.equal(first, second)
    assert count == NAMES
    assert [path.name for path in folder.iterdir() if path.is_file()] == [path.name for path in kept(folder)]


def test_everything_that_changes_the_images_changes_what_is_used(folder: Path, count: list[str]) -> None:
    images(folder)
    for change in (
        {"names": NAMES[::-1]},
        {"names": NAMES[:4]},
        {"size": 3},
        {"box": (0, 0, 4, 4)},
        {"box": (1, 0, 4, 4)},
    ):
        count.clear()
        images(folder, **change)  # type: ignore[arg-type]
        assert count == change.get("names", NAMES)
    assert len(kept(folder)) == 6
    assert images(folder, NAMES[::-1])[:, 0, 0, 0].tolist() == [40, 30, 20, 10, 0]


def test_a_file_that_changed_is_decoded_even_at_the_same_size(folder: Path, count: list[str]) -> None:
    images(folder)
    path = folder / "images" / NAMES[2]
    before = path.stat()
    path.write_bytes(ppm(np.full((6, 6, 3), 99, np.uint8)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert images(folder)[2].unique().tolist() == [99]
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.write_bytes(ppm(np.full((6, 7, 3), 55, np.uint8)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert images(folder)[2].unique().tolist() == [55]


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:40], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_half_written_array_is_not_used(folder: Path, count: list[str], spoil) -> None:
    want = images(folder).clone()
    (path,) = kept(folder)
    path.write_bytes(spoil(path.read_bytes()))
    count.clear()
    assert torch.equal(images(folder), want)
    assert count == NAMES
    count.clear()
    assert torch.equal(images(folder), want)
    assert count == []


def test_an_array_of_another_form_is_not_used(folder: Path, count: list[str]) -> None:
    want = images(folder).clone()
    (path,) = kept(folder)
    for other in (np.zeros((5, 3, 4, 4)), np.zeros((4, 3, 4, 4), np.uint8), np.array([{}], dtype=object)):
        np.save(path, other, allow_pickle=True)
        assert torch.equal(images(folder), want)


@pytest.mark.parametrize("moment", ["save", "fsync"])
def test_what_is_broken_off_while_writing_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, moment) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*((np, "save") if moment == "save" else (os, "fsync")), broken)
    with pytest.raises(KeyboardInterrupt):
        images(folder)
    assert [path.name for path in folder.iterdir()] == ["images"]


def test_without_room_to_keep_them_images_are_decoded_each_time(
    folder: Path, count: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert torch.equal(images(folder), images(folder))
    assert count == [*NAMES, *NAMES]
    assert [path.name for path in folder.iterdir()] == ["images"]


def test_writing_to_the_images_leaves_the_file_alone(folder: Path) -> None:
    want = images(folder).clone()
    images(folder).zero_()
    again = images(folder)
    assert torch.equal(again, want)
    again.zero_()
    assert torch.equal(images(folder), want)


def test_others_may_read_what_is_kept(folder: Path) -> None:
    images(folder)
    plain = folder / "plain"
    plain.touch()
    assert stat.S_IMODE(kept(folder)[0].stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_missing_file_is_named_before_anything_is_decoded(folder: Path, count: list[str]) -> None:
    (folder / "images" / NAMES[4]).unlink()
    with pytest.raises(ValueError, match=r"4.ppm' is missing: mend it"):
        images(folder)
    assert count == []
