"""``classwise data``: what is there, whether it is intact, and what is in it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classwise.data import GaussianPairData, KnownTruth, NoisyFeatureData, PlantedImages
from classwise.data.fetch import ARCHIVES, Download, Published

Cli = Callable[..., tuple[int, str, str]]
COLOURS = {"red": (200, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 200)}
COUNTS = {"red": 12, "green": 6, "blue": 9}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two official files of a data set in the cache; a third one is missing."""
    monkeypatch.setenv("CLASSWISE_DATA", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "official"
    folder.mkdir(parents=True)
    contents = {"first": b"1", "second": b"22", "third": b"333"}
    downloads = tuple(
        Download(f"https://localhost/{name}", hashlib.md5(content).hexdigest()) for name, content in contents.items()
    )
    monkeypatch.setitem(ARCHIVES, "mnist", Published("official", downloads))
    for name in ("first", "second"):
        (folder / name).write_bytes(contents[name])
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of small pictures of three colours; the last two blue ones are the same."""
    root = tmp_path / "pictures"
    for name, count in COUNTS.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((6, 6, 3), COLOURS[name], np.uint8)
            pixels[0, 0, 0] = min(i, 7) if name == "blue" else i
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def test_the_list_names_sources_and_what_can_be_fetched(cli: Cli) -> None:
    code, out, _ = cli("data", "list")
    assert code == 0
    lines = out.splitlines()
    assert any(line.startswith("digits ") and "Handwritten digits" in line for line in lines)
    assert not any(line.startswith("given") for line in lines)
    assert lines[-1].startswith("classwise data fetch NAME knows ")
    assert "cifar10, cifar100" in lines[-1]


def test_verify_tells_intact_damaged_and_missing_files_apart(cli: Cli, published: Path) -> None:
    code, out, _ = cli("data", "verify", "mnist")
    assert code == 3  # one of its files is not there
    assert out.splitlines() == ["intact   mnist: first", "intact   mnist: second", "missing  mnist: third"]
    assert cli("data", "verify")[:2] == (0, out)  # nothing else is in the cache
    (published / "second").write_bytes(b"23")
    code, out, _ = cli("data", "verify", "mnist", "--folder", published)
    assert code == 3
    assert "damaged  mnist: second" in out
    for file in ("first", "second"):
        (published / file).unlink()
    assert cli("data", "verify", "mnist")[:2] == (3, "There are no files of mnist.\n")
    assert cli("data", "verify")[:2] == (3, "There are no files in the cache.\n")
    code, _, error = cli("data", "verify", "--folder", published)
    assert code == 2
    assert "say which data set is in it" in error
    code, _, error = cli("data", "verify", "mnits")
    assert code == 2
    assert "did you mean 'mnist'" in error


def test_show_counts_classes_and_finds_duplicates(cli: Cli, pictures: Path) -> None:
    code, out, _ = cli(
        "data", "show", "folder", "--data.folder", pictures, "--data.test-fraction", "0.34", "--split.at-least", "1"
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "pictures: 27 images of 3x6x6, 3 classes"
    table = {words[0]: [int(word) for word in words[1:]] for words in map(str.split, lines[3:7])}
    assert lines[2].split() == ["class", "train", "validation", "test"]
    assert {name: sum(row) for name, row in table.items()} == {**COUNTS, "all": 27}
    assert table["all"] == [sum(table[name][i] for name in COUNTS) for i in range(3)]
    assert [row[1] for row in table.values()] == [1, 1, 1, 3]
    assert all(row[2] > 1 for row in table.values())
    assert "The 3 classes are imbalanced: 'red' has" in out
    assert "No image is in two roles." in out or "images too, pixel by pixel" in out
    assert "group" not in out


def test_show_finds_an_image_that_is_in_two_roles(cli: Cli, pictures: Path) -> None:
    for role in ("train", "test"):
        (pictures / role).mkdir()
    for name in COUNTS:
        (pictures / name).rename(pictures / "train" / name)
        (pictures / "test" / name).mkdir()
        content = (pictures / "train" / name / "2.png").read_bytes()
        (pictures / "test" / name / "again.png").write_bytes(content)
    code, out, _ = cli(
        "data", "show", "folder", "--data.folder", pictures, "--split.choice", "last", "--split.at-least", "1"
    )
    assert code == 0
    assert "3 of 3 test images are train images too, pixel by pixel" in out
    assert "1 of 3 validation images are train images too" in out  # the blue pair


def test_show_counts_groups_where_they_are_not_the_classes(cli: Cli, pictures: Path) -> None:
    rows = [f"{name}/{i}.png,{'day' if i % 2 else 'night'}" for name, count in COUNTS.items() for i in range(count)]
    (pictures / "metadata.csv").write_text("\n".join(["file_name,hour", *rows]))
    code, out, _ = cli(
        "data", "show", "folder", "--data.folder", pictures, "--data.groups", "hour", "--split.at-least", "1"
    )
    assert code == 0
    table = out[out.index("\ngroup ") :].splitlines()[1:5]
    assert [line.split()[0] for line in table] == ["group", "day", "night", "all"]
    assert sum(int(word) for word in table[1].split()[1:]) == 13


def test_the_sheet_shows_the_first_images_of_each_class(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "made" / "sheet.png"
    code, out, _ = cli(
        *("data", "show", "folder", "--data.folder", pictures, "--split.at-least", "1"),
        *("--sheet", path, "--per-class", "3"),
    )
    assert code == 0
    assert str(path) in out
    with Image.open(path) as opened:
        pixels = np.array(opened.convert("RGB"))
    side = 48 + 2  # pixels are eight times as large, with a gap
    assert pixels.shape[0] == 3 * side
    assert pixels.shape[1] > 3 * side
    for row, name in enumerate(sorted(COUNTS)):
        for column in range(1, 4):  # from the right
            image = pixels[row * side : (row + 1) * side - 2, pixels.shape[1] - column * side :][:, : side - 2]
            assert (image[8:, 8:] == COLOURS[name]).all()
            assert (image[:8, :8, 1:] == COLOURS[name][1:]).all()
            assert (image[:8, :8] == image[0, 0]).all()
    names = pixels[:, : pixels.shape[1] - 3 * side]
    assert all((names[row * side : (row + 1) * side] < 100).any() for row in range(3))  # written in black


def test_show_of_grey_images_and_its_help(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("data", "show", "digits", "--sheet", tmp_path / "sheet.png", "--per-class", "2")
    assert code == 0
    assert "digits: 1797 images of 1x8x8, 10 classes" in out
    with Image.open(tmp_path / "sheet.png") as opened:
        assert opened.size[1] == 10 * 50
    code, out, _ = cli("data", "show", "folder", "--help")
    assert code == 0
    assert "--data.folder" in out
    assert "--split.fraction" in out
    assert "--sheet" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("data", "show", "digts"), "unknown data 'digts': did you mean 'digits'"),
        (("data", "show", "--sheet", "x.png"), "the flag --sheet stands before NAME"),
        (("data", "show", "digits", "--sheet", "x.png", "--per-class", "0"), "ask for at least 1"),
        (("data", "show", "folder"), "needs a folder: give it with --data.folder"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(cli: Cli, words: tuple[str, ...], sentence: str) -> None:
    code, _, error = cli(*words)
    assert code == 2
    assert sentence in error


def test_data_without_test_images_are_shown_as_they_are(cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    for role, each in (("train", 6), ("val", 2)):
        for name in ("a", "b"):
            (tmp_path / role / name).mkdir(parents=True)
            for number in range(each):
                colour = (20 * number, each, ord(name))  # no two images are equal
                Image.new("RGB", (8, 8), colour).save(tmp_path / role / name / f"{number}.png")
    code, out, _ = cli("data", "show", "folder", "--data.folder", tmp_path, "--data.size", 8)
    assert code == 0
    assert ["all", "12", "4"] in [line.split() for line in out.splitlines()]
    assert "has no test images beside train and validation" in out


@pytest.mark.parametrize(
    ("source", "radius"),
    [(PlantedImages(), "0.006"), (GaussianPairData(), "0.006"), (NoisyFeatureData(), "0.01")],
    ids=["planted", "gaussian-pair", "noisy-feature"],
)
def test_show_tells_the_known_truth(cli: Cli, source: KnownTruth, radius: str) -> None:
    name = source.registered_name
    code, out, _ = cli("data", "show", name, "--data.n-train", "400", "--data.n-test", "80", "--split.at-least", "1")
    assert code == 0
    assert f"One unit of the model is {source.unit:.6g} of the pixel range" in out
    assert (
        f"up to an l_inf radius of {source.room * source.unit:.6g} of images ({source.room:g} units of the model)"
        in out
    )
    lines = out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split() == ["class", "clean", "radius", radius])
    rows = [line.split() for line in lines[head + 1 : head + 1 + len(source.class_names)]]
    assert tuple(row[0] for row in rows) == source.class_names
    for column, size in ((1, "0"), (2, radius)):
        assert [float(row[column]) for row in rows] == pytest.approx(source.exact_errors(size), abs=6e-5)


def test_show_says_of_which_split_the_counts_are(cli: Cli, pictures: Path) -> None:
    code, out, _ = cli("data", "show", "digits")
    assert code == 0
    assert "the default split (5 % of each class, at least 20)" in out
    assert "recipes may bring their own" in out
    assert "Known truth" not in out
    words = ("data", "show", "folder", "--data.folder", pictures, "--split.at-least", "1", "--split.choice", "first")
    code, out, _ = cli(*words)
    assert code == 0
    assert "the split asked for here (at_least=1, choice='first')" in out
    assert "recipes may bring their own" in out
    (pictures / "train").mkdir()
    for colour in COUNTS:
        (pictures / colour).rename(pictures / "train" / colour)
        for role in ("val", "test"):
            (pictures / role / colour).mkdir(parents=True)
            Image.new("RGB", (6, 6), COLOURS[colour]).save(pictures / role / colour / f"{role}.png")
    code, out, _ = cli("data", "show", "folder", "--data.folder", pictures)
    assert code == 0
    assert "Validation images are the data set's own" in out
    assert "recipes" not in out
