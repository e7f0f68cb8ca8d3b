"""Images listed in a CSV file: columns, roles, groups, and what is said of a bad line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import classwise as cw
from classwise.cli import run as command
from classwise.data import CSVList, Split, load
from classwise.data.listed import ListedImages
from classwise.progress import Silent

SITES = ("north", "south")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Twenty-four photographs of two classes from two sites; the table has columns of every kind."""
    (tmp_path / "photos").mkdir()
    lines = ["path,label,site,fold,note"]
    for i in range(24):
        pixels = np.random.default_rng(i).integers(0, 128, (6, 6, 3), dtype=np.uint8) + 120 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / f"{i}.png")
        fold = ("Train", "train", "val", "TEST")[i // 2 % 4]
        lines.append(f'photos/{i}.png, {"no" if i % 2 else "yes"},{SITES[i // 8 % 2]},{fold},"a, b"')
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def edit(folder: Path, line: int, text: str) -> None:
    lines = (folder / "labels.csv").read_text().splitlines()
    lines[line - 1] = text
    (folder / "labels.csv").write_text("\n".join(lines))


def test_lines_become_images_in_their_order(listed: Path) -> None:
    data = CSVList(folder=str(listed)).load()
    assert data.class_names == ("no", "yes")
    assert sorted(data.train.index.tolist() + data.test.index.tolist()) == list(range(24))
    assert torch.bincount(data.test.labels).tolist() == [2, 2]
    for images in (data.train, data.test):
        assert images.labels.tolist() == [1 - i % 2 for i in images.index.tolist()]
        for row, i in enumerate(images.index.tolist()):
            expected = torch.from_numpy(np.array(Image.open(listed / "photos" / f"{i}.png"))).permute(2, 0, 1)
            assert torch.as_tensor(images.images)[row].equal(expected)
            assert data.called(i) == f"'photos/{i}.png'"


def test_a_column_of_roles(listed: Path) -> None:
    data = CSVList(folder=str(listed), split="fold", groups="site").load()
    folds = [i // 2 % 4 for i in range(24)]
    assert data.train.index.tolist() == [i for i in range(24) if folds[i] < 2]
    assert data.validation is not None
    assert data.validation.index.tolist() == [i for i in range(24) if folds[i] == 2]
    assert data.test.index.tolist() == [i for i in range(24) if folds[i] == 3]
    assert data.test.group_names == SITES
    assert [SITES[g] for g in data.test.groups.tolist()] == [SITES[i // 8 % 2] for i in data.test.index.tolist()]


def test_the_table_may_lie_elsewhere_and_look_different(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("tables") / "list.csv"
    plain = CSVList(folder=str(listed)).load().train.checksum()
    text = (listed / "labels.csv").read_text().replace('"a, b"', "x").replace(",", ";").replace("label", "class")
    elsewhere.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())  # as spreadsheets write it
    other = CSVList(folder=str(listed), file=str(elsewhere), label="class", delimiter=";").load()
    assert other.train.checksum() == plain
    given = load("csv", folder=listed / "labels.csv")
    assert given.source == CSVList(folder=str(listed))
    absolute = (listed / "labels.csv").read_text().replace("photos/", f"{listed}/photos/")
    elsewhere.write_text(absolute)
    assert load("csv", folder=elsewhere).train.checksum() == plain


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"file": "x.csv"}, r"there is no table '.*x\.csv': check folder and file"),
        ({"label": "lable"}, r"labels\.csv' has no column 'lable': did you mean 'label'\?"),
        ({"groups": "camera"}, r"has no column 'camera': known are fold, label, note, path, site"),
        ({"split": "note"}, r"line 2 of .* has 'a, b' in column 'note': write train, validation or test"),
        ({"delimiter": ";"}, r"has no column 'path'"),
        ({"file": "photos/0.png"}, r"is no CSV file in UTF-8 \(.*\): save it as one"),
    ],
)
def test_what_cannot_be_found_in_the_table(listed: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CSVList(folder=str(listed), **fields).load()


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (5, "photos/3.png,no", r"line 5 of .* has 2 cells and the first line 5: put quotes around cells .* --data\."),
        (5, "photos/3.png,,north,train,x", r"line 5 of .* has nothing in column 'label': fill it in"),
        (7, "photos/gone.png,no,north,train,x", r"gone\.png' does not exist \(line 7 of .*; 1 missing in all\): relat"),
        (
            7,
            r"photos\5.png,no,north,train,x",
            r"5\.png' does not exist \(line 7 of .*; 1 missing in all\): write it with '/', as 'photos/5\.png'",
        ),
        (7, r"photos\gone.png,no,north,train,x", r"1 missing in all\): relative paths start from the folder"),
        (3, "photos/0.png,no,north,train,x", r"0\.png' is listed 2 times in '.*': list every image once"),
        (1, "path,label,site,label,note", r"has two columns 'label': rename one"),
        (
            2,
            "labels.csv,yes,north,train,x",
            r"labels\.csv' is no image that can be read .*: replace it, or leave it out",
        ),
    ],
)
def test_a_bad_line_is_named(listed: Path, line: int, text: str, message: str) -> None:
    edit(listed, line, text)
    with pytest.raises(ValueError, match=message):
        _ = CSVList(folder=str(listed), test_seed=3).load().test


def test_tables_that_list_nothing(listed: Path) -> None:
    (listed / "labels.csv").write_text("path,label\n\n")
    with pytest.raises(ValueError, match="lists nothing: write a line with the names of the columns and one per image"):
        CSVList(folder=str(listed)).load()
    with pytest.raises(ValueError, match="delimiter '::' must be one character"):
        CSVList(delimiter="::")
    with pytest.raises(ValueError, match=r"data source 'csv' needs a folder: give it with --data\.folder"):
        CSVList().load()


def test_roles_of_a_column_must_agree(listed: Path) -> None:
    lines = (listed / "labels.csv").read_text().splitlines()
    only_yes = [line for line in lines if "TEST" not in line or "yes" in line]
    (listed / "labels.csv").write_text("\n".join(only_yes))
    with pytest.raises(ValueError, match=r"classes of train and test .*only in train: 'no'; only in test: none"):
        CSVList(folder=str(listed), split="fold").load()
    (listed / "labels.csv").write_text("\n".join(line for line in lines if "rain" not in line))
    with pytest.raises(ValueError, match="has images for validation and test but none for training: add some"):
        CSVList(folder=str(listed), split="fold").load()


def test_held_out_groups_keep_their_share_or_are_named(listed: Path) -> None:
    data = CSVList(folder=str(listed), groups="site", test_fraction=0.25).load()
    sizes = torch.bincount(data.test.groups)
    assert sizes.sum() == 6
    assert sizes.tolist() == [4, 2]  # 16 from the north, 8 from the south
    lines = (listed / "labels.csv").read_text().replace("photos/0.png, yes,north", "photos/0.png, yes,west")
    (listed / "labels.csv").write_text(lines)
    with pytest.raises(ValueError, match=r"group 'west' with 1 images has none left for (training|test): change test_"):
        CSVList(folder=str(listed), groups="site").load()


def test_a_run_by_site(listed: Path, tmp_path: Path) -> None:
    source = CSVList(folder=str(listed), groups="site", test_fraction=0.25)
    assert isinstance(source, ListedImages)
    config = cw.recipe(
        "digits-pgd-at",
        data=source,
        model=cw.models.Linear(),
        split=Split(at_least=2),
        epochs=1,
        adversary=cw.attacks.PGD(steps=1),
        validation_attack=cw.attacks.PGD(steps=1),
        policy=cw.policies.CalibratedRadius(begin=0),
    )
    run = cw.train(config, tmp_path / "run", progress=Silent())
    table = run.audit(attacks="fgsm", progress=Silent()).table()
    assert table.names == SITES
    assert table.n.tolist() == [4, 2]
    assert cw.Run(tmp_path / "run").config.data == source


def test_an_audit_names_table_and_groups_in_one_word(listed: Path, tmp_path: Path, capsys: Any) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 2))
    torch.save(network.state_dict(), tmp_path / "net.pt")
    words = ["audit", str(tmp_path / "net.pt"), "--network", "linear", "--attacks", "fgsm", "--data-dir", str(listed)]
    assert command([*words, "--data", "csv,groups=site,test_fraction=0.25"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {site} " in shown for site in SITES)
    assert command([*words, "--data", "csv"]) == 0
    shown = capsys.readouterr().out
    assert " yes " in shown
    assert not any(f" {site} " in shown for site in SITES)
    for text, message in (
        ("csv,groups", "'groups' is no further field: write csv,FIELD=VALUE"),
        ("csv,folder=x", "'folder=x' is no further field"),
        ("csv,group=site", "unknown key 'data.group': did you mean 'groups'?"),
    ):
        assert command([*words, "--data", text]) == 2
        assert message in capsys.readouterr().err
