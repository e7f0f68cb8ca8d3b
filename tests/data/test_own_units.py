"""Units of a user's own data: a column or array says which images belong together, and none of these are in two roles."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import classwise as cw
from classwise.data import Arrays, ClassData, CSVList, Dataset, HuggingFaceData, ImageFolder, Split, from_torch, load
from classwise.data.images import decode
from classwise.data.roles import roles_of
from classwise.data.stratify import hold_out
from classwise.progress import Silent

N = 60
LABELS = [i % 3 for i in range(N)]
SITES = ["xy"[i // 3 % 2] for i in range(N)]
PATIENTS = [f"p{i // 4 * 7 % 15}" for i in range(N)]
"""Fifteen patients with four images each, of all three classes and both sites."""
PIXELS = np.random.default_rng(4).integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)


def write_list(folder: Path, roles: list[str] | None = None) -> CSVList:
    """The images as files, and a list of them."""
    (folder / "photos").mkdir(exist_ok=True)
    lines = ["path,label,site,patient,role"]
    for i in range(N):
        Image.fromarray(PIXELS[i]).save(folder / "photos" / f"{i:02}.png")
        lines.append(f"photos/{i:02}.png,{'abc'[LABELS[i]]},{SITES[i]},{PATIENTS[i]},{roles[i] if roles else '-'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return CSVList(folder=str(folder), units="patient", split="role" if roles else "")


def write_folders(folder: Path) -> ImageFolder:
    """The images in folders of their classes, with a table beside these."""
    lines = ["file_name,site,patient"]
    for i in range(N):
        file = Path("abc"[LABELS[i]], f"{i:02}.png")
        (folder / file).parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS[i]).save(folder / file)
        lines.append(f"{file.as_posix()},{SITES[i]},{PATIENTS[i]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return ImageFolder(folder=str(folder), units="patient")


def write_arrays(folder: Path) -> Arrays:
    further: dict[str, Any] = {"site": np.array(SITES), "patient": np.array(PATIENTS)}
    np.savez(folder / "mine.npz", images=PIXELS, labels=np.array(LABELS), **further)
    return Arrays(folder=str(folder), units="patient")


def write_npy(folder: Path) -> Arrays:
    numbered = np.array([int(each[1:]) for each in PATIENTS])[:, None]
    for name, array in (("x", PIXELS), ("y", np.array(LABELS)), ("Patient", numbered)):
        np.save(folder / f"{name}.npy", array)
    return Arrays(folder=str(folder), units="patient")


def units_of(images: ClassData) -> set[int]:
    assert images.units is not None
    return set(images.units.tolist())


def patients(images: ClassData) -> set[str]:
    """By the pixels, so that neither units nor index need be right."""
    known = {PIXELS[i].tobytes(): PATIENTS[i] for i in range(N)}
    return {known[image.permute(1, 2, 0).contiguous().numpy().tobytes()] for image in torch.as_tensor(images.images[:])}


# --- sources ---


@pytest.mark.parametrize("write", [write_list, write_folders, write_arrays, write_npy])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_patient_is_in_one_role(write: Callable[[Path], Any], seed: int, tmp_path: Path) -> None:
    source = write(tmp_path)
    data = load(source.registered_name, folder=tmp_path, units="patient", test_seed=seed)
    roles = Split(at_least=3, seed=seed).apply(data.train)
    parts = [roles.train, roles.validation, data.test]
    assert sum(len(part) for part in parts) == N
    assert sorted(torch.cat([part.index for part in parts]).tolist()) == list(range(N))
    kinds: list[Callable[[ClassData], set[Any]]] = [units_of, patients]
    for which in kinds:
        found = [which(part) for part in parts]
        assert sum(map(len, found)) == len(found[0].union(*found)) == 15
    assert len(data.test) == 12  # 3 patients, a fifth
    for part in parts:
        assert bool((torch.bincount(part.labels, minlength=3) > 0).all())


def test_without_units_patients_are_torn_apart(tmp_path: Path) -> None:
    data = load("csv", folder=write_list(tmp_path).folder)
    assert data.train.units is data.test.units is None
    assert patients(data.train) & patients(data.test)


def test_what_a_run_held_out_depends_on_units(tmp_path: Path) -> None:
    source = write_list(tmp_path)
    first = source.load().held_out
    assert source.load().held_out == first
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace(",p7,", ",q7,"))
    renamed = source.load().held_out
    assert first is not None
    assert renamed is not None
    assert renamed.index == first.index  # names of units decide nothing
    assert renamed.sha256 != first.sha256


ROLES = [("train", "train", "train", "val", "test")[int(each[1:]) % 5] for each in PATIENTS]


def test_roles_that_came_divided_keep_their_units(tmp_path: Path) -> None:
    data = write_list(tmp_path, ROLES).load()
    assert data.validation is not None
    found = [units_of(part) for part in (data.train, data.validation, data.test)]
    assert [len(each) for each in found] == [9, 3, 3]
    assert len(set.union(*found)) == 15
    assert roles_of(data, Split()).validation is data.validation
    torn = list(ROLES)
    torn[PATIENTS.index("p3")] = "train"
    torn[PATIENTS.index("p14")] = "train"
    with pytest.raises(
        ValueError,
        match=r"unit 'p14' \(patient\) has images in train and test in '.*' \(2 such units\): put all images of a unit into "
        r"one role; .*write them apart \(train-7, test-7\)",
    ):
        write_list(tmp_path, torn).load()
    assert write_list(tmp_path, torn).units == "patient"
    assert load("csv", folder=tmp_path, split="role").validation is not None  # without units nothing is looked at


def test_arrays_of_roles_keep_their_units(tmp_path: Path) -> None:
    half: dict[str, Any] = {
        "x_train": PIXELS[:40],
        "y_train": LABELS[:40],
        "x_test": PIXELS[40:],
        "y_test": LABELS[40:],
    }

    def saved(train: Any, test: Any) -> Dataset:
        np.savez(tmp_path / "mine.npz", **half, patient_train=train, Test_Patient=test)
        return Arrays(folder=str(tmp_path), units="patient").load()

    data = saved(np.arange(40) // 4, np.arange(20) // 2 + 10)
    assert data.train.units is not None
    assert data.train.units.tolist() == [i // 4 for i in range(40)]
    assert units_of(data.test) == set(range(10, 20))
    with pytest.raises(
        ValueError, match=r"unit '9' \(patient\) has images in train and test in '.*mine\.npz' \(1 such"
    ):
        saved(np.arange(40) // 4, np.arange(20) // 2 + 9)
    with pytest.raises(ValueError, match=r"holds 40 images and there are 39 units for them: give one for each"):
        saved(np.arange(39) // 4, np.arange(20) + 100)
    np.savez(tmp_path / "mine.npz", **half, train_patient=np.arange(40))
    with pytest.raises(ValueError, match=r"has no array 'test_patient': its arrays are x_train, .*, train_patient"):
        Arrays(folder=str(tmp_path), units="patient").load()


@pytest.mark.parametrize("column", ["site", "patient"])
@pytest.mark.parametrize("nothing", ["", " "])
def test_an_empty_entry_is_no_unit_and_no_group(column: str, nothing: str, tmp_path: Path) -> None:
    what = "groups" if column == "site" else "units"
    further = {"site": list(SITES), "patient": list(PATIENTS)}
    further[column][5] = further[column][8] = nothing
    arrays: dict[str, Any] = {column: np.array(further[column])}
    np.savez(tmp_path / "mine.npz", images=PIXELS, labels=np.array(LABELS), **arrays)
    with pytest.raises(
        ValueError,
        match=rf"entry 5 \(from 0\) of array '{column}' of .* has nothing in it \(2 such entries\): fill it in",
    ):
        Arrays(folder=str(tmp_path), **{what: column}).load()  # type: ignore[arg-type]
    samples = [(PIXELS[i], LABELS[i], further[column][i]) for i in range(N)]
    given: Any
    for given in (2, further[column]):
        with pytest.raises(ValueError, match=rf"sample 5 of 'x' has nothing as its {what[:-1]}: fill it in"):
            from_torch(samples, name="x", **{what: given})


def test_units_that_became_floats(tmp_path: Path) -> None:
    """As a table's column of numbers does where some are missing."""
    np.savez(tmp_path / "mine.npz", images=PIXELS, labels=np.array(LABELS), patient=np.arange(N) // 2 * 1.0)
    with pytest.raises(ValueError, match=r"array 'patient' of .* type float64: .*patient\.astype\(int\)") as found:
        Arrays(folder=str(tmp_path), units="patient").load()
    assert "one-hot" not in str(found.value)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_list, r"labels\.csv' has no column 'patent': did you mean 'patient' or 'path'\?"),
        (write_folders, r"metadata\.csv' has no column 'patent': did you mean 'patient'\?"),
        (write_arrays, r"has no array 'patent': its arrays are images, labels, site, patient"),
    ],
)
def test_a_column_that_is_not_there(write: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    source = write(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(source.registered_name, folder=tmp_path, units="patent")


def test_folders_need_a_table_for_units_and_groups(tmp_path: Path) -> None:
    write_folders(tmp_path)
    both = ImageFolder(folder=str(tmp_path), units="patient", groups="site").load()
    order = sorted(range(N), key=lambda i: (LABELS[i], i))
    assert both.test.group_names == ("x", "y")
    assert [both.test.group_names[each] for each in both.test.groups] == [SITES[order[i]] for i in both.test.index]
    assert not patients(both.train) & patients(both.test)
    lines = (tmp_path / "metadata.csv").read_text().splitlines()
    (tmp_path / "metadata.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(
        ValueError, match=r"'c/59\.png' is not in .*, so its patient is not known \(1 such images\): add"
    ):
        ImageFolder(folder=str(tmp_path), units="patient").load()
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(ValueError, match=r"units 'patient' need a table 'metadata\.csv' .* file_name and patient"):
        ImageFolder(folder=str(tmp_path), units="patient").load()
    assert ImageFolder(folder=str(tmp_path)).load().train.units is None


@pytest.mark.slow
def test_a_run_keeps_units_apart(tmp_path: Path) -> None:
    source = write_list(tmp_path)
    config = cw.recipe(
        "digits-pgd-at",
        data=source,
        model=cw.models.Linear(),
        split=Split(at_least=3),
        epochs=1,
        adversary=cw.attacks.PGD(steps=1),
        validation_attack=cw.attacks.PGD(steps=1),
    )
    run = cw.train(config, tmp_path / "run", progress=Silent())
    assert run.audit(attacks="fgsm", progress=Silent()).table().n.sum() == 12
    assert cw.Run(tmp_path / "run").config.data == source


# --- units of other packages' data sets ---


def test_units_of_a_data_set_of_pytorch() -> None:
    samples = [(PIXELS[i], LABELS[i], PATIENTS[i]) for i in range(N)]
    by_key, by_value = from_torch(samples, units=2), from_torch(samples, units=PATIENTS)
    plain = from_torch(samples)
    assert plain.units is None
    assert by_key.units is not None
    assert by_value.units is not None
    assert by_key.units.equal(by_value.units)
    assert [sorted(set(PATIENTS))[unit] for unit in by_key.units] == PATIENTS
    assert by_key.images[:].equal(plain.images[:])
    assert from_torch(samples, units=[*torch.arange(N) // 2]).units.tolist() == [i // 2 for i in range(N)]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"'list' has 60 samples and 2 units are given: give one for each"):
        from_torch(samples, units=["a", "b"])
    with pytest.raises(ValueError, match=r"is a tuple without 9: name the key of the units with units="):
        from_torch(samples, units=9)
    with pytest.raises(ValueError, match=r"the unit of .* is None: give a whole number or text"):
        from_torch(samples, units=[None] * N)


class FakeSplit:
    """What the adapter uses of a split, after https://huggingface.co/docs/datasets/package_reference/main_classes."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.features: dict[str, Any] = dict.fromkeys(rows[0])
        self.column_names = list(rows[0])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.rows[number]

    def unique(self, name: str) -> list[Any]:
        return list(dict.fromkeys(row[name] for row in self.rows))

    def select_columns(self, names: list[str]) -> "FakeSplit":
        return FakeSplit([{name: row[name] for name in names} for row in self.rows])

    def cast_column(self, name: str, feature: Any) -> "FakeSplit":
        return self


def test_units_of_a_hugging_face_column(stand_in: Callable[..., types.ModuleType], tmp_path: Path) -> None:
    write_list(tmp_path)

    def row(i: int) -> dict[str, Any]:
        stored = {"bytes": (tmp_path / "photos" / f"{i:02}.png").read_bytes(), "path": None}
        return {"image": stored, "label": LABELS[i], "patient": PATIENTS[i], "visit": i // 3}

    splits = {"train": FakeSplit([row(i) for i in range(40)]), "test": FakeSplit([row(i) for i in range(40, N)])}
    stand_in("datasets", load_dataset=lambda *_, **__: splits, Image=lambda decode: None)
    data = HuggingFaceData(dataset="org/x", units="patient").load()
    roles = Split(at_least=3).apply(data.train)
    parts = [roles.train, roles.validation, data.test]
    assert sum(len(patients(part)) for part in parts) == 15
    assert torch.as_tensor(data.train.images)[5].equal(decode(row(5)["image"]["bytes"], "x", None, 3))
    with pytest.raises(
        ValueError, match=r"unit '13' \(visit\) has images in train and test in 'org/x' \(1 such units\)"
    ):
        HuggingFaceData(dataset="org/x", units="visit").load()
    with pytest.raises(ValueError, match=r"no column 'patent': did you mean 'patient'\? \(--data\.units\)"):
        HuggingFaceData(dataset="org/x", units="patent").load()


@pytest.mark.filterwarnings("ignore")
def test_the_real_datasets_package_tells_units(real: Callable[[str], Any], tmp_path: Path) -> None:
    datasets = real("datasets")

    def split(rows: range) -> Any:
        columns = {"image": [Image.fromarray(PIXELS[i]) for i in rows], "label": [LABELS[i] for i in rows]}
        return datasets.Dataset.from_dict(
            columns | {"patient": [PATIENTS[i] for i in rows], "visit": [i // 3 for i in rows]},
            features=datasets.Features(
                {
                    "image": datasets.Image(),
                    "label": datasets.ClassLabel(names=["a", "b", "c"]),
                    "patient": datasets.Value("string"),
                    "visit": datasets.Value("int64"),
                }
            ),
        )

    datasets.DatasetDict(train=split(range(40)), test=split(range(40, N))).save_to_disk(str(tmp_path / "saved"))
    data = HuggingFaceData(folder=str(tmp_path / "saved"), units="patient").load()
    roles = Split(at_least=3).apply(data.train)
    assert sum(len(patients(part)) for part in (roles.train, roles.validation, data.test)) == 15
    with pytest.raises(ValueError, match=r"unit '13' \(visit\) has images in train and test"):
        HuggingFaceData(folder=str(tmp_path / "saved"), units="visit").load()


# --- without units ---


def test_without_units_everything_is_as_before(tmp_path: Path) -> None:
    """Index lists and checksums written down before there were units."""
    number = torch.arange(40)
    labels, groups = number % 3, number // 3 % 2
    by_class = [1, 7, 16, 17, 21, 30, 32, 38, 39]
    by_group = [2, 3, 6, 9, 10, 11, 13, 14, 31]
    assert hold_out(labels, labels, "abc", "abc", 0.2, 0).nonzero()[:, 0].tolist() == by_class
    assert hold_out(labels, groups, "abc", "xy", 0.2, 0).nonzero()[:, 0].tolist() == by_group
    later = hold_out(labels, labels, "abc", "abc", 0.3, 5).nonzero()[:, 0].tolist()
    assert later == [4, 5, 8, 9, 10, 14, 21, 22, 24, 26, 31, 36]
    (tmp_path / "files").mkdir()
    lines = ["path,label,site"]
    for i in range(40):
        kind = "abc"[i % 3]
        (tmp_path / "files" / kind).mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / "files" / kind / f"{i:02}.png")
        lines.append(f"{kind}/{i:02}.png,{kind},{'xy'[i // 3 % 2]}")
    pixels = np.arange(480).reshape(40, 3, 2, 2) % 251
    np.savez(tmp_path / "mine.npz", images=pixels, labels=labels.numpy(), site=groups.numpy())
    folder = ImageFolder(folder=str(tmp_path / "files")).load()
    (tmp_path / "files" / "labels.csv").write_text("\n".join(lines))
    listed, sites = (CSVList(folder=str(tmp_path / "files"), groups=column).load() for column in ("", "site"))
    arrays, array_sites = (Arrays(folder=str(tmp_path), groups=name).load() for name in ("", "site"))
    for data, index, checksum in (
        (folder, [7, 10, 13, 14, 16, 19, 32, 37, 39], "c8d5cbf6d1d67aa3"),
        (listed, by_class, "0319fb64b3f43e97"),
        (sites, by_group, "cf0752b2752606a8"),
        (arrays, by_class, "41cd2afe9affd6ec"),
        (array_sites, by_group, "a77b542d90788f6b"),
    ):
        assert data.held_out is not None
        assert data.test.index.tolist() == list(data.held_out.index) == index
        assert data.held_out.sha256.startswith(checksum)
    for data in (sites, array_sites):
        assert Split(at_least=3).apply(data.train).validation.index.tolist() == [0, 4, 16, 18, 20, 25, 29, 38, 39]
