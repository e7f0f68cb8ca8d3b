"""GTSRB from its official files, which are made here after the readme files of the archives.

Those say: one folder per class with its list GT-<class>.csv, fields separated by semicolons; images are PPM (P6), called
track_frame.ppm, of 15 to 250 pixels a side and rarely square; test images are numbered without regard to class or
track, and their list with the classes comes in an archive of its own, while GT-final_test.test.csv beside them has none.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from classwise.data import GTSRB, Dataset, Split, load
from classwise.data.fetch import ARCHIVES
from classwise.data.gtsrb import CLASS_NAMES, LARGEST_17

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
COUNTS = [
    210,
    2220,
    2250,
    1410,
    1980,
    1860,
    420,
    1440,
    1410,
    1470,
    2010,
    1320,
    2100,
    2160,
    780,
    630,
    420,
    1110,
    1200,
    210,
]
COUNTS += [360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780, 240, 689, 420, 1200, 390, 210, 2070, 300, 360]
COUNTS += [240, 240]
"""Training images of each class, as several public notebooks print them; their sum is the published 39,209."""
TRACKS, FRAMES, SIGN = 3, 2, 16
"""Tracks of a class, frames of a track, and the height and width of every sign without its border."""


class Made:
    """What was written: for each image its pixels (H, W, 3) and its sign's place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.train: dict[str, np.ndarray] = {}
        self.test: dict[str, np.ndarray] = {}
        self.box: dict[str, tuple[int, int, int, int]] = {}
        self.test_classes: list[int] = []

    def signs(self, role: str) -> torch.Tensor:
        """The signs cut out of all images of a role, (N, 3, 16, 16)."""
        cut = []
        for name, pixels in getattr(self, role).items():
            left, top, right, bottom = self.box[name]
            cut.append(pixels[top:bottom, left:right])
        return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2)


def ppm(pixels: np.ndarray) -> bytes:
    height, width, _ = pixels.shape
    return f"P6\n{width} {height}\n255\n".encode() + pixels.tobytes()


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The unpacked folder GTSRB: 43 classes of 3 tracks of 2 frames, and 86 test images in mixed order."""
    made, rng = Made(tmp_path_factory.mktemp("official")), np.random.default_rng(0)

    def image(path: Path, key: str) -> tuple[np.ndarray, str]:
        left, top, right, bottom = (int(each) for each in rng.integers(5, 9, 4))
        pixels = rng.integers(0, 256, (top + SIGN + bottom, left + SIGN + right, 3), dtype=np.uint8)
        path.write_bytes(ppm(pixels))
        made.box[key] = (left, top, left + SIGN, top + SIGN)
        height, width, _ = pixels.shape
        return pixels, f"{path.name};{width};{height};{left};{top};{left + SIGN};{top + SIGN}"

    images = made.root / "GTSRB" / "Final_Training" / "Images"
    for number in range(43):
        folder = images / f"{number:05}"
        folder.mkdir(parents=True)
        lines = [HEADER]
        for track in range(TRACKS):
            for frame in range(FRAMES):
                name = f"{track:05}_{frame:05}.ppm"
                key = f"{folder.name}/{name}"
                made.train[key], line = image(folder / name, key)
                lines.append(f"{line};{number}")
        (folder / f"GT-{number:05}.csv").write_bytes("\r\n".join([*lines, ""]).encode())
    images = made.root / "GTSRB" / "Final_Test" / "Images"
    images.mkdir(parents=True)
    made.test_classes = rng.permutation(np.repeat(np.arange(43), 2)).tolist()
    lines = []
    for position, number in enumerate(made.test_classes):
        key = f"{position:05}.ppm"
        made.test[key], line = image(images / key, key)
        lines.append(f"{line};{number}")
    (made.root / "GTSRB" / "GT-final_test.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    without = [line.rpartition(";")[0] for line in [HEADER, *lines]]
    (images / "GT-final_test.test.csv").write_text("\n".join(without) + "\n")
    return made


@pytest.fixture
def folder(official: Made, tmp_path: Path) -> Path:
    """A copy of the unpacked folder that a test may spoil: files are links until they are replaced."""
    for path in official.root.rglob("*.*"):
        if path.suffix in (".ppm", ".csv"):
            copy = tmp_path / path.relative_to(official.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)
    return tmp_path


@pytest.fixture
def packed(official: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three official archives; their MD5s replace the published ones."""
    (tmp_path / "packed").mkdir()
    inner = official.root / "GTSRB"
    content: dict[str, Iterator[tuple[Path, str]]] = {
        "GTSRB_Final_Training_Images.zip": (
            (path, path.relative_to(official.root).as_posix()) for path in (inner / "Final_Training").rglob("*.*")
        ),
        "GTSRB_Final_Test_Images.zip": (
            (path, path.relative_to(official.root).as_posix()) for path in (inner / "Final_Test").rglob("*.*")
        ),
        "GTSRB_Final_Test_GT.zip": iter([(inner / "GT-final_test.csv", "GT-final_test.csv")]),
    }
    sums = {}
    for archive, files in content.items():
        with zipfile.ZipFile(tmp_path / "packed" / archive, "w", zipfile.ZIP_DEFLATED) as packing:
            packing.writestr("GTSRB/Readme-Images.txt", "to be passed over")
            for path, name in files:
                if path.suffix in (".ppm", ".csv"):
                    packing.write(path, name)
        sums[archive] = hashlib.md5((tmp_path / "packed" / archive).read_bytes()).hexdigest()
    published = ARCHIVES["gtsrb"]
    downloads = tuple(replace(each, md5=sums[each.name]) for each in published.downloads)
    monkeypatch.setitem(ARCHIVES, "gtsrb", replace(published, downloads=downloads))
    return tmp_path / "packed"


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file that is a link to another."""
    path.unlink()
    path.write_bytes(content)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert text.count(old) == 1
    rewrite(path, text.replace(old, new).encode())


def first_list(folder: Path) -> Path:
    return folder / "GTSRB" / "Final_Training" / "Images" / "00000" / "GT-00000.csv"


def check_whole(data: Dataset, official: Made) -> None:
    """All labels, units and indices; pixels are those of the signs."""
    assert torch.equal(data.train.images, official.signs("train"))
    assert data.train.labels.tolist() == [number for number in range(43) for _ in range(TRACKS * FRAMES)]
    assert data.train.index.tolist() == list(range(43 * TRACKS * FRAMES))
    assert data.train.units is not None
    track = [(number, track) for number in range(43) for track in range(TRACKS) for _ in range(FRAMES)]
    different = dict(zip(track, data.train.units.tolist(), strict=True))
    assert [different[each] for each in track] == data.train.units.tolist()
    assert len(set(different.values())) == 43 * TRACKS
    assert torch.equal(data.test.images, official.signs("test"))
    assert data.test.labels.tolist() == official.test_classes
    assert data.test.units is None
    assert data.class_names == CLASS_NAMES


@pytest.mark.parametrize("inner", ["", "GTSRB"])
def test_the_unpacked_folder(official: Made, folder: Path, inner: str) -> None:
    check_whole(load("gtsrb", folder=folder / inner, crop=True, size=SIGN), official)


@pytest.mark.parametrize("place", ["Final_Test/Images", ""])
def test_the_test_list_lies_where_people_put_it(official: Made, folder: Path, place: str) -> None:
    inner = folder / "GTSRB"
    target = inner / place if place else folder
    (inner / "GT-final_test.csv").rename(target / "GT-final_test.csv")
    assert load("gtsrb", folder=folder).test.labels.tolist() == official.test_classes


def test_the_archives(official: Made, packed: Path) -> None:
    check_whole(load("gtsrb", folder=packed, crop=True, size=SIGN), official)


def test_fetched_archives_lie_in_the_cache(official: Made, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed.rename(packed.parent / "GTSRB")
    monkeypatch.setenv("CLASSWISE_DATA", str(packed.parent))
    check_whole(load("gtsrb", crop=True, size=SIGN), official)


@pytest.mark.parametrize("crop", [False, True])
def test_images_of_all_sizes_become_squares(official: Made, folder: Path, crop: bool) -> None:
    """Against the bilinear filter of PyTorch with antialiasing, which rounds in another place."""
    data = load("gtsrb", folder=folder, crop=crop, size=12)
    assert data.train.shape == (3, 12, 12)
    for row, (name, pixels) in enumerate(list(official.train.items())[:20]):
        left, top, right, bottom = official.box[name]
        whole = torch.from_numpy(pixels[top:bottom, left:right] if crop else pixels).permute(2, 0, 1)[None].float()
        want = F.interpolate(whole, (12, 12), mode="bilinear", antialias=True)[0]
        assert float((data.train.images[row].float() - want).abs().max()) <= 1.01


def test_the_default_is_32_pixels_with_the_border(folder: Path) -> None:
    source = GTSRB(folder=str(folder))
    assert (source.size, source.crop) == (32, False)
    assert source.load().train.shape == (3, 32, 32)


def test_chosen_classes_are_numbered_anew_and_keep_their_names(official: Made, folder: Path) -> None:
    whole = load("gtsrb", folder=folder, crop=True, size=SIGN)
    part = load("gtsrb", folder=folder, crop=True, size=SIGN, classes=(14, 1, 42))
    assert part.class_names == ("stop", "speed limit 30 km/h", "end of no overtaking by lorries")
    for role, numbers in (("train", whole.train.labels.tolist()), ("test", official.test_classes)):
        every, some = getattr(whole, role), getattr(part, role)
        rows = [row for row, number in enumerate(numbers) if number in (14, 1, 42)]
        assert some.index.tolist() == rows
        assert torch.equal(some.images, every.images[rows])
        assert some.labels.tolist() == [(14, 1, 42).index(numbers[row]) for row in rows]
    assert part.train.units.tolist() == whole.train.units[part.train.index].tolist()


def test_the_17_largest_classes() -> None:
    assert sum(COUNTS) == 39_209
    assert tuple(np.flatnonzero(np.array(COUNTS) > 1000)) == LARGEST_17
    assert len(LARGEST_17) == 17
    assert max(count for number, count in enumerate(COUNTS) if number not in LARGEST_17) == 780
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == 43
    assert GTSRB(classes=LARGEST_17).classes == LARGEST_17


# --- tracks ---


def test_no_sign_is_in_both_roles(folder: Path) -> None:
    roles = Split(at_least=1).apply(load("gtsrb", folder=folder, size=8).train)
    assert not set(roles.train.units.tolist()) & set(roles.validation.units.tolist())
    assert torch.bincount(roles.validation.labels, minlength=43).tolist() == [FRAMES] * 43
    assert torch.bincount(roles.train.labels, minlength=43).tolist() == [(TRACKS - 1) * FRAMES] * 43


def test_a_class_with_one_track_is_named(folder: Path) -> None:
    """Images of the first track are renamed so that all frames of the class show one sign."""
    images = folder / "GTSRB" / "Final_Training" / "Images" / "00014"
    text = (images / "GT-00014.csv").read_bytes().decode()
    for track in range(1, TRACKS):
        for frame in range(FRAMES):
            old, new = f"{track:05}_{frame:05}.ppm", f"00000_{track}{frame:04}.ppm"
            (images / old).rename(images / new)
            text = text.replace(old, new)
    rewrite(images / "GT-00014.csv", text.encode())
    train = load("gtsrb", folder=folder, size=8).train
    with pytest.raises(ValueError, match=r"class 'stop' has 6 training images in 1 unit\(s\) that stay together"):
        Split(at_least=1).apply(train)


# --- what does not fit ---


def test_an_image_without_a_row_is_refused(folder: Path) -> None:
    edit(first_list(folder), "\r\n" + first_list(folder).read_bytes().decode().split("\r\n")[3], "")
    with pytest.raises(ValueError, match=r"00000/00001_00000.ppm' is in no list, so its class is not known \(1 such"):
        load("gtsrb", folder=folder)


def test_a_test_image_without_a_row_is_refused_when_test_images_are_read(folder: Path) -> None:
    (folder / "GTSRB" / "Final_Test" / "Images" / "00086.ppm").write_bytes(ppm(np.zeros((20, 20, 3), np.uint8)))
    data = load("gtsrb", folder=folder)
    with pytest.raises(ValueError, match=r"00086.ppm' is in no list"):
        _ = data.test


def test_hidden_files_of_some_systems_are_no_images(folder: Path) -> None:
    (first_list(folder).parent / "._00000_00000.ppm").write_bytes(b"notes of the system")
    assert len(load("gtsrb", folder=folder, size=8).train) == 43 * TRACKS * FRAMES


def test_a_row_without_an_image_is_refused(folder: Path) -> None:
    (first_list(folder).parent / "00002_00001.ppm").unlink()
    with pytest.raises(ValueError, match=r"00000/00002_00001.ppm' is missing: use the official files"):
        load("gtsrb", folder=folder)


def test_a_missing_list_is_named(folder: Path) -> None:
    first_list(folder).unlink()
    with pytest.raises(ValueError, match=r"GT-00000.csv' is missing"):
        load("gtsrb", folder=folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("00001_00000.ppm", "00000_00000.ppm", r"lists '00000_00000.ppm' twice \(line 4\)"),
        (
            "00000_00000.ppm",
            "../../secret.ppm",
            r"line 2 of .* names '../../secret.ppm', which is no official file name",
        ),
        ("00000_00000.ppm", "/etc/passwd", r"which is no official file name"),
        (";0\r\n00000_00001", ";1\r\n00000_00001", r"line 2 of .* has the class 1, which cannot be"),
        (";0\r\n00000_00001", ";\r\n00000_00001", r"line 2 of .* is not as in the official file"),
        (";0\r\n00000_00001", "\r\n00000_00001", r"line 2 of .* is not as in the official file"),
        ("ClassId", "Class", r"has no column 'ClassId'"),
        ("Filename;", "Filename,", r"has no column 'Filename'"),
    ],
)
def test_a_list_that_is_not_the_official_one(folder: Path, old: str, new: str, message: str) -> None:
    edit(first_list(folder), old, new)
    with pytest.raises(ValueError, match=message):
        load("gtsrb", folder=folder)


def test_a_region_outside_its_image_is_refused_where_it_is_used(official: Made, folder: Path) -> None:
    left, top, right, bottom = official.box["00000/00000_00000.ppm"]
    edit(
        first_list(folder),
        f"{left};{top};{right};{bottom};0\r\n00000_00001",
        f"{left};{top};99;{bottom};0\r\n00000_00001",
    )
    with pytest.raises(ValueError, match=r"does not lie in .*00000_00000.ppm"):
        load("gtsrb", folder=folder, crop=True)
    assert len(load("gtsrb", folder=folder).train) == 43 * TRACKS * FRAMES


def test_a_damaged_image_is_named(folder: Path) -> None:
    rewrite(first_list(folder).parent / "00000_00001.ppm", b"P6\n20 20\n255\nshort")
    with pytest.raises(ValueError, match=r"00000_00001.ppm' is no image that can be read"):
        load("gtsrb", folder=folder)


def test_a_damaged_archive_is_not_opened(packed: Path) -> None:
    path = packed / "GTSRB_Final_Training_Images.zip"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"Training_Images.zip' is damaged \(MD5 \w+ instead of \w+\): use the official"
    ):
        load("gtsrb", folder=packed)


def test_without_the_test_list_the_one_without_classes_is_not_taken(folder: Path) -> None:
    (folder / "GTSRB" / "GT-final_test.csv").unlink()
    data = load("gtsrb", folder=folder)
    with pytest.raises(ValueError, match=r"there is neither GTSRB_Final_Test_GT.zip nor GT-final_test.csv in"):
        _ = data.test


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither GTSRB_Final_Training_Images.zip nor GTSRB/Final_Training/Images in"):
        load("gtsrb", folder=tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size 0 must be at least 1"),
        ({"classes": (1, 43)}, r"must lie in 0\.\.42"),
        ({"classes": (-1, 2)}, r"must lie in 0\.\.42"),
        ({"classes": (3, 5, 3)}, "two different numbers"),
        ({"classes": (3,)}, "two different numbers"),
    ],
)
def test_fields_out_of_range(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GTSRB(**fields)


def test_three_archives_have_a_published_sum() -> None:
    assert list(ARCHIVES["gtsrb"].files) == [
        "GTSRB_Final_Training_Images.zip",
        "GTSRB_Final_Test_Images.zip",
        "GTSRB_Final_Test_GT.zip",
    ]
    assert all(len(md5) == 32 for md5 in ARCHIVES["gtsrb"].files.values())
