"""A user's folder of images: how it may look, what is said where it cannot be used, and a run on it."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import classwise as cw
from classwise.cli import run as command
from classwise.data import ClassData, Dataset, ImageFolder, Split
from classwise.data.roles import roles_of
from classwise.data.stored import FolderImages
from classwise.progress import Silent


def picture(path: Path, colour: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(zlib.crc32(str(path.parts[-3:]).encode())).integers(0, 20, (size[1], size[0]))
    Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8), "L").convert(mode).save(path)
    return path


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """train, val and test with two classes."""
    root = tmp_path / "animals"
    for i, (role, count) in enumerate({"train": 6, "val": 3, "test": 4}.items()):
        for j, name in enumerate(("cat", "dog")):
            for k in range(count):
                picture(root / role / name / f"{k}.png", 40 * i + 100 * j + 3 * k)
    return root


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Folders of classes alone, of unequal size, with numbers for names."""
    root = tmp_path / "numbers"
    for name, count in {"2": 10, "10": 5, "1": 20}.items():
        for k in range(count):
            picture(root / name / f"{k:02}.png", 7 * int(name) + 8 * k)
    return root


def test_roles_classes_and_pixels_are_those_on_disk(divided: Path) -> None:
    data = ImageFolder(folder=str(divided)).load()
    assert (data.name, data.class_names) == ("animals", ("cat", "dog"))
    assert data.validation is not None
    roles = {"train": data.train, "val": data.validation, "test": data.test}
    files = [path for role in roles for path in sorted((divided / role).glob("*/*.png"))]
    index = torch.cat([each.index for each in roles.values()])
    assert index.tolist() == list(range(26))
    for role, images in roles.items():
        assert images.images.dtype == torch.uint8
        assert images.groups.equal(images.labels)
        for row, at in enumerate(images.index.tolist()):
            assert files[at].relative_to(divided).parts[0] == role
            assert images.class_names[int(images.labels[row])] == files[at].parent.name
            expected = torch.from_numpy(np.array(Image.open(files[at]))).permute(2, 0, 1)
            assert torch.as_tensor(images.images[row : row + 1])[0].equal(expected)
            assert data.called(at) == repr(files[at].relative_to(divided).as_posix())


def test_validation_images_of_the_folder_are_the_ones_used(divided: Path) -> None:
    data = ImageFolder(folder=str(divided)).load()
    roles = roles_of(data, Split(at_least=1))
    assert roles.train is data.train
    assert roles.validation is data.validation
    with pytest.raises(ValueError, match="'animals' comes with validation images, so nothing is divided here"):
        roles_of(data, Split(train_per_class=2))


def test_one_folder_is_divided_by_class_and_the_same_way_each_time(whole: Path) -> None:
    source = ImageFolder(folder=str(whole), test_fraction=0.3)
    data = source.load()
    assert data.class_names == ("1", "2", "10")  # by value
    assert torch.bincount(data.test.labels).tolist() == [6, 3, 2]  # 0.3 of 20, 10 and 5, to the nearest
    assert torch.bincount(data.train.labels).tolist() == [14, 7, 3]
    assert sorted(data.train.index.tolist() + data.test.index.tolist()) == list(range(35))
    assert source.load().test.checksum() == data.test.checksum()
    other = ImageFolder(folder=str(whole), test_fraction=0.3, test_seed=1).load()
    assert other.test.index.tolist() != data.test.index.tolist()


def test_sizes_and_channels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for k, size in enumerate([(8, 8), (12, 6), (30, 40), (8, 9)]):
            picture(tmp_path / name / f"{k}.jpg", 60 + k + 9 * (name == "b"), size)
    with pytest.raises(
        ValueError,
        match=r"'a/\d.jpg' has \d+ x \d+ pixels and '[ab]/\d.jpg' \d+ x \d+: give the size .* --data.size 32",
    ):
        ImageFolder(folder=str(tmp_path)).load()
    grey = ImageFolder(folder=str(tmp_path), size=10, channels=1).load()
    assert grey.train.shape == grey.test.shape == (1, 10, 10)
    assert ImageFolder(folder=str(tmp_path), size=10).load().train.shape == (3, 10, 10)


def test_all_that_lies_about_in_folders(divided: Path, tmp_path: Path) -> None:
    clean = ImageFolder(folder=str(divided)).load().train.checksum()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png"):
        (divided / "train" / "cat" / name).write_bytes(b"x")
        (divided / name).write_bytes(b"x")
    (divided / ".git").mkdir()
    (divided / "__MACOSX" / "cat").mkdir(parents=True)
    (divided / "README.txt").write_text("beside the classes")
    assert ImageFolder(folder=str(divided)).load().train.checksum() == clean
    (divided / "train" / "dog" / "boxes.csv").write_text("x")
    (divided / "train" / "cat" / "a.heic").write_bytes(b"x")
    with pytest.warns(UserWarning, match="2 files .* no images by their ending .* the first is 'train/cat/a.heic'"):
        assert ImageFolder(folder=str(divided)).load().train.checksum() == clean
    deeper = picture(divided / "train" / "cat" / "outdoors" / "x.PNG", 3)
    with pytest.warns(UserWarning, match="2 files"):
        data = ImageFolder(folder=str(divided)).load()
    assert len(data.train) == 13
    assert repr(deeper.relative_to(divided).as_posix()) in {data.called(i) for i in range(27)}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "bus", "test"):
        for k in range(4):
            picture(tmp_path / name / f"{k}.png", 5 * k + len(name))
    assert ImageFolder(folder=str(tmp_path)).load().class_names == ("bus", "test", "train")


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("Training", "testing"), ("Train Set", "test-set")]
)
def test_other_names_of_roles(train: str, test: str, divided: Path) -> None:
    clean = ImageFolder(folder=str(divided)).load()
    pixels = clean.test.images
    for old, new in (("train", train), ("test", test), ("val", "validation_set")):
        (divided / old).rename(divided / new)
    data = ImageFolder(folder=str(divided)).load()
    assert data.class_names == clean.class_names
    assert torch.equal(torch.as_tensor(data.train.images), torch.as_tensor(clean.train.images))
    assert torch.equal(torch.as_tensor(data.test.images), torch.as_tensor(pixels))
    assert data.validation is not None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("trian", "test"),
            r"holds 'test' but no folder train with folders of classes in it: call .* train, val and test",
        ),
        (
            ("fit", "held"),
            r"'fit', 'held' in .* hold no images themselves but the same sub-folders \('cat', 'dog'\), as",
        ),
    ],
)
def test_roles_are_not_taken_for_classes(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in names:
        for kind in ("cat", "dog"):
            picture(tmp_path / name / kind / "0.png", len(name))
    with pytest.raises(ValueError, match=message):
        ImageFolder(folder=str(tmp_path)).load()


def test_unsorted_images_in_train_and_test_are_no_classes(tmp_path: Path) -> None:
    for name in ("train", "test"):
        for k in range(4):
            picture(tmp_path / name / f"{k}.png", k)
    with pytest.raises(ValueError, match="holds 'test', 'train' but no folder train with folders of classes in it"):
        ImageFolder(folder=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "test" / "cat").rename(root / "test" / "Cats"),
            r"the classes of train and test in '.*animals' differ \(only in train: 'cat'; only in test: 'Cats'\): spell",
        ),
        (lambda root: (root / "train" / "eel").mkdir(), r"the folder '.*eel' of the class 'eel' holds no images: add"),
        (
            lambda root: [(root / "train" / "eel").mkdir(), (root / "train" / "eel" / "x.mp4").touch()],
            r"the class 'eel' holds no images; files such as 'x.mp4' are no images by their ending: add some",
        ),
        (lambda root: picture(root / "test" / "x.png", 1), r"x.png' lies beside the folders of the classes \(1 such"),
        (lambda root: picture(root / "masks" / "x.png", 1), r"holds 'test', 'train', 'val' and 'masks' beside them"),
        (lambda root: picture(root / "Valid" / "cat" / "x.png", 1), r"mean the same role: put their images into one"),
        (
            lambda root: (root / "train" / "cat" / "0.png").write_bytes(b"\x89PNG not really"),
            r"cat/0.png' is no image that can be read .*: replace it, or leave it out",
        ),
    ],
)
def test_what_cannot_be_used_is_named(divided: Path, change: Callable[[Path], Any], message: str) -> None:
    change(divided)
    with pytest.raises(ValueError, match=message):
        ImageFolder(folder=str(divided)).load()


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data source 'folder' needs a folder: give it with --data\.folder"):
        ImageFolder().load()
    with pytest.raises(ValueError, match=r"the folder '.*gone' does not exist: give the folder that holds the images"):
        ImageFolder(folder=str(tmp_path / "gone")).load()
    with pytest.raises(ValueError, match="holds no folders of classes: give the folder above those"):
        ImageFolder(folder=str(tmp_path)).load()
    picture(tmp_path / "images" / "cat" / "0.png", 1)
    with pytest.raises(ValueError, match="holds only the class 'images': give images of two classes at least"):
        ImageFolder(folder=str(tmp_path)).load()
    picture(tmp_path / "images" / "dog" / "0.png", 1)
    with pytest.raises(ValueError, match="class 'cat' has 1 image, too few to divide into training and test images"):
        ImageFolder(folder=str(tmp_path / "images")).load()
    for fields, message in (
        ({"size": -1}, "size -1 must be at least 1"),
        ({"test_fraction": 1.0}, "test_fraction 1.0 must lie between 0 and 1"),
        ({"keep": "files"}, "give the size"),
    ):
        with pytest.raises(ValueError, match=message):
            ImageFolder(**fields)  # type: ignore[arg-type]


def test_one_image_in_a_class_of_a_divided_folder(divided: Path) -> None:
    shutil.rmtree(divided / "val")
    for path in sorted((divided / "train" / "cat").glob("*.png"))[1:]:
        path.unlink()
    data = ImageFolder(folder=str(divided)).load()
    with pytest.raises(ValueError, match="class 'cat' has 1 training images, too few to hold out"):
        roles_of(data, Split(at_least=1))


def test_without_test_images_training_works_and_an_audit_says_what_is_missing(divided: Path) -> None:
    shutil.rmtree(divided / "test")
    data = ImageFolder(folder=str(divided)).load()
    assert len(data.train) == 12
    with pytest.raises(ValueError, match="has no test images beside train and validation: add some"):
        _ = data.test


def test_files_can_stay_on_disk(divided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ImageFolder(folder=str(divided), size=8).load()
    stored = ImageFolder(folder=str(divided), size=8, keep="files").load()
    assert isinstance(stored.train.images, FolderImages)
    assert torch.as_tensor(kept.train.images).equal(stored.train.images[:])
    monkeypatch.setattr("classwise.data.listed.IN_MEMORY", 26 * 192 - 1)  # bytes of all images, less one
    assert isinstance(ImageFolder(folder=str(divided), size=8).load().test.images, FolderImages)
    with pytest.raises(ValueError, match="take more than 0 GiB as they are: give a size, or keep='memory'"):
        ImageFolder(folder=str(divided)).load()
    monkeypatch.setattr("classwise.data.listed.IN_MEMORY", 26 * 192)
    assert isinstance(ImageFolder(folder=str(divided), size=8).load().test.images, torch.Tensor)


def sited(root: Path, per_cell: int = 8) -> Path:
    """Two classes from three sites, with a table of sites."""
    lines = ["file_name,site"]
    for role in ("train", "test"):
        for j, name in enumerate(("cat", "dog")):
            for k in range(3 * per_cell):
                file = f"{role}/{name}/{k}.png"
                picture(root / file, 90 * j + 50 * (k % 3) + 2 * (k // 3) + (role == "test"))
                lines.append(f"{file},{('north', 'south', 'east')[k % 3]}")
    (root / "metadata.csv").write_text("\n".join(lines))
    return root


def test_groups_come_from_the_table(tmp_path: Path) -> None:
    root = sited(tmp_path / "sites")
    data = ImageFolder(folder=str(root), groups="site").load()
    for images in (data.train, data.test):
        assert images.group_names == ("east", "north", "south")
        names = [images.group_names[group] for group in images.groups.tolist()]
        assert names == [
            ("north", "south", "east")[int(Path(eval(data.called(i))).stem) % 3]  # noqa: S307 - a file name's repr
            for i in images.index.tolist()
        ]
    table = (root / "metadata.csv").read_text().splitlines()
    (root / "metadata.csv").write_text("\n".join(table[:-2]))
    with pytest.raises(
        ValueError, match=r"'test/dog/\d+.png' is not in .*, so its site is not known \(2 such images\)"
    ):
        ImageFolder(folder=str(root), groups="site").load()
    with pytest.raises(ValueError, match="has no column 'sites': did you mean 'site'"):
        ImageFolder(folder=str(root), groups="sites").load()
    (root / "metadata.csv").write_text(
        "\n".join(line.replace("east", "East") if "test/" in line else line for line in table)
    )
    with pytest.raises(
        ValueError, match=r"groups \(site\) of train and test .*only in train: 'east'; only in test: 'East'"
    ):
        ImageFolder(folder=str(root), groups="site").load()
    (root / "metadata.csv").unlink()
    with pytest.raises(ValueError, match=r"groups 'site' need a table 'metadata.csv' .* columns file_name and site"):
        ImageFolder(folder=str(root), groups="site").load()


def test_a_file_may_be_listed_twice_with_equal_entries_alone(tmp_path: Path) -> None:
    root = sited(tmp_path / "sites")
    before = ImageFolder(folder=str(root), groups="site").load().train
    root_table, text = root / "metadata.csv", (root / "metadata.csv").read_text()
    root_table.write_text(text + "\n./train/cat/1.png,south\ntrain/cat/2.png,east")
    assert ImageFolder(folder=str(root), groups="site").load().train.checksum() == before.checksum()
    root_table.write_text(text + "\ntrain/cat/1.png,east")
    twice = r"train/cat/1\.png' has the site 'south' in line 3 of '.*sites/metadata\.csv' and 'east' in line "
    with pytest.raises(ValueError, match=twice + r"98 of '.*sites/metadata\.csv': keep the right one"):
        ImageFolder(folder=str(root), groups="site").load()
    root_table.write_text(text)
    (root / "train" / "metadata.csv").write_text("file_name,site\ncat/0.png,north\ncat/1.png,east\n")
    with pytest.raises(ValueError, match=twice + r"3 of '.*train/metadata\.csv': keep the right one"):
        ImageFolder(folder=str(root), groups="site").load()
    root_table.unlink()
    (root / "test" / "metadata.csv").write_text("file_name,site\ncat/1.png,south\ncat/1.png,east\n")
    with pytest.raises(
        ValueError, match=r"test/cat/1\.png' has the site 'south' in line 2 .* and 'east' in line 3 of "
    ):
        ImageFolder(folder=str(root), groups="site").load()


def test_a_table_with_backslashes_is_told_of_slashes(tmp_path: Path) -> None:
    root = sited(tmp_path / "sites")
    table = (root / "metadata.csv").read_text()
    (root / "metadata.csv").write_text(table.replace("/", "\\"))
    with pytest.raises(
        ValueError,
        match=r"line 2 of '.*metadata\.csv' has 'train\\\\cat\\\\0\.png' in column 'file_name': write it with '/', as "
        r"'train/cat/0\.png'",
    ):
        ImageFolder(folder=str(root), groups="site").load()


def config(source: ImageFolder, **changes: Any) -> cw.TrainConfig:
    fields = {
        "data": source,
        "model": cw.models.Linear(),
        "split": Split(at_least=2),
        "batch_size": 16,
        "epochs": 2,
        "adversary": cw.attacks.PGD(steps=2),
        "validation_attack": cw.attacks.PGD(steps=2),
        "policy": cw.policies.KLDRO(tau=0.2),
    }
    return cw.recipe("digits-pgd-at", **(fields | changes))


def test_groups_reach_policy_audit_gate_and_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = sited(tmp_path / "sites")
    source = ImageFolder(folder=str(root), groups="site")
    run = cw.train(config(source), tmp_path / "run", progress=Silent())
    sites = ["east", "north", "south"]
    assert list(run.class_names) == sites
    knobs = run.history[-1]["knobs"]
    assert {len(values) for values in knobs.values()} == {3}  # three sites, two classes
    assert run.history[-1]["validation"]["raw"]["n"] == [2, 1, 1]  # at_least counts classes
    result = run.audit(attacks="pgd-2", progress=Silent())
    assert list(result.table().names) == sites
    assert result.table().n.tolist() == [16, 16, 16]
    assert all(site in str(result) for site in sites)
    assert "cat" not in str(result.table())
    again = cw.data.load("folder", folder=str(root), groups="site").test
    for group in range(3):  # the group's own images, counted by hand
        of_group = result.outcomes.group == group
        assert of_group.tolist() == (again.groups == group).tolist()
        assert result.table().robust[group] == pytest.approx(result.outcomes.robust_correct(0)[of_group].mean())
    capsys.readouterr()
    assert command(["audit", str(tmp_path / "run"), "--attacks", "pgd-2", "--format", "json"]) == 0
    summary = capsys.readouterr().out
    assert all(site in summary for site in sites)
    json.loads(summary)
    words = ["audit", str(tmp_path / "run"), "--attacks", "pgd-2", "--fail-under", "worst-robust=1"]
    assert command(words) != 0
    assert f"(class {result.table().weakest}), below the 100 % asked for" in capsys.readouterr().err
    assert result.table().weakest in sites


def test_groups_that_are_the_labels_change_no_bit(divided: Path, tmp_path: Path) -> None:
    for role in ("train", "val", "test"):
        files = sorted((divided / role).glob("*/*.png"))
        table = [f"{path.relative_to(divided / role).as_posix()},{path.parent.name}" for path in files]
        (divided / role / "metadata.csv").write_text("\n".join(["file_name,species", *table]))
    weights = []
    for name, groups, balanced in (("a", "", False), ("b", "species", False), ("c", "", True), ("d", "species", True)):
        source = ImageFolder(folder=str(divided), groups=groups)
        run = cw.train(config(source, balanced=balanced), tmp_path / name, progress=Silent())
        assert list(run.class_names) == ["cat", "dog"]
        weights.append(run.model("last").state_dict())
    for first, second in ((0, 1), (2, 3)):
        assert all(weights[first][key].equal(weights[second][key]) for key in weights[first])


def test_the_command_line_reads_a_folder(divided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "digits-pgd-at", "--use", "data=folder", "--use", "model=linear", "--data.folder", str(divided)]
    small = ["--epochs", "1", "--batch-size", "8", "--adversary.steps", "1", "--validation-attack.steps", "1"]
    assert command([*words, *small, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    saved = cw.data.load("folder", folder=divided)
    assert isinstance(saved, Dataset)
    assert isinstance(saved.train, ClassData)
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert splits["train"]["index"] == list(range(12))
    assert splits["validation"]["index"] == list(range(12, 18))
    assert splits["duplicates"] == []


def test_images_held_out_of_one_folder_are_kept_with_the_run(whole: Path, tmp_path: Path) -> None:
    source = ImageFolder(folder=str(whole), test_fraction=0.3)
    run = cw.train(config(source, epochs=1), tmp_path / "run", progress=Silent())
    kept = json.loads((tmp_path / "run" / "splits.json").read_text())
    roles = [kept[role]["index"] for role in ("train", "validation", "held_out")]
    assert sorted(i for role in roles for i in role) == list(range(35))
    assert kept["held_out"]["index"] == source.load().test.index.tolist()
    run.audit(attacks="fgsm", progress=Silent())
    picture(whole / "1" / "new.png", 3)  # another choice of test images, some of them trained on
    for audit in (cw.Run(tmp_path / "run").audit, lambda **more: cw.audit(tmp_path / "run", **more)):
        with pytest.raises(
            ValueError, match=r"'numbers' has changed since '.*run' was trained on it \(11 test images were"
        ):
            audit(attacks="fgsm", progress=Silent())
    (whole / "1" / "new.png").unlink()
    assert cw.audit(tmp_path / "run", attacks="fgsm", progress=Silent()).table().names == ("1", "2", "10")
