"""MedMNIST from small files in the form of the official ones.

Form: Yang et al. 2023 and https://zenodo.org/records/10519652: one .npz per subset with train_images, val_images, test_images,
bytes of shape (N, 28, 28) or (N, 28, 28, 3), and train_labels, val_labels, test_labels of shape (N, 1).
"""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from classwise.configuration import from_plain, to_plain
from classwise.data import DataSource, MedMNIST, load
from classwise.data.medmnist import CLASS_NAMES, OTHER_TASKS

RNG = np.random.default_rng(0)


def arrays(colour: bool, labels: dict[str, list[int]]) -> dict[str, np.ndarray]:
    shape = (28, 28, 3) if colour else (28, 28)
    content = {}
    for part, values in labels.items():
        content[f"{part}_images"] = RNG.integers(0, 256, (len(values), *shape), dtype=np.uint8)
        content[f"{part}_labels"] = np.array(values, np.uint8).reshape(-1, 1)
    return content


def npz(content: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **content)
    return file.getvalue()


LABELS = {"train": [0, 1, 1], "val": [1, 0], "test": [1]}


def test_colour(publish, tmp_path: Path):
    content = arrays(True, {"train": [8, 0, 3], "val": [5, 5], "test": [1]})
    publish("pathmnist", {"pathmnist.npz": npz(content)})
    data = load("medmnist", folder=tmp_path)
    want = np.concatenate([content["train_images"], content["val_images"]])
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), want)
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.is_contiguous()
    assert data.train.labels.tolist() == [8, 0, 3, 5, 5]
    assert data.train.index.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), content["test_images"])
    assert data.test.labels.tolist() == [1]
    assert data.name == "pathmnist"
    assert data.class_names[8] == "colorectal adenocarcinoma epithelium"


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_grey(kind, publish, tmp_path: Path):
    content = arrays(False, LABELS)
    content |= {key: value.astype(kind) for key, value in content.items() if key.endswith("labels")}
    folder = publish("pneumoniamnist", {"pneumoniamnist.npz": npz(content)})
    data = load("medmnist", folder=folder, subset="pneumoniamnist")
    assert data.train.shape == (1, 28, 28)
    np.testing.assert_array_equal(data.test.images[:, 0].numpy(), content["test_images"])
    assert data.train.labels.tolist() == [0, 1, 1, 1, 0]
    assert data.class_names == ("normal", "pneumonia")


def test_numbers_of_classes():
    assert {name: len(names) for name, names in CLASS_NAMES.items()} == {
        "pathmnist": 9,
        "dermamnist": 7,
        "octmnist": 4,
        "pneumoniamnist": 2,
        "breastmnist": 2,
        "bloodmnist": 8,
        "tissuemnist": 8,
        "organamnist": 11,
        "organcmnist": 11,
        "organsmnist": 11,
    }  # Table 2 of the paper


@pytest.mark.parametrize("subset", OTHER_TASKS)
def test_other_tasks_are_refused_with_their_reason(subset: str):
    with pytest.raises(ValueError, match=rf"subset '{subset}' has .*: use one of pathmnist, "):
        MedMNIST(subset=subset)


def test_an_unknown_subset_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"unknown subset 'bloodmist' of MedMNIST: did you mean 'bloodmnist'"):
        load("medmnist", subset="bloodmist")


def test_each_subset_is_fetched_by_its_name(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no octmnist of MedMNIST in .*`classwise data fetch octmnist`"):
        load("medmnist", subset="octmnist", folder=tmp_path)


def test_objects_are_refused_and_not_unpickled(publish, tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-run",))

    content = arrays(False, LABELS) | {"train_images": np.array([Bomb()], object)}
    publish("pathmnist", {"pathmnist.npz": npz(content)})
    with pytest.raises(ValueError, match=r"pathmnist\.npz' is no file of MedMNIST \(Object arrays cannot be loaded"):
        load("medmnist", folder=tmp_path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("train_images", np.zeros((3, 28, 28), np.float32), "images of type float32"),
        ("train_images", np.zeros((3, 28, 28, 28), np.uint8), r"images of type uint8 and shape \(3, 28, 28, 28\)"),
        ("val_images", np.zeros((2, 784), np.uint8), "images of type uint8 and shape"),
        ("train_labels", np.zeros((3, 14), np.uint8), r"labels of type uint8 and shape \(3, 14\)"),
        ("train_labels", np.zeros(3, np.uint8), r"shape \(3,\)"),
        ("val_labels", np.zeros((2, 1), np.float64), "labels of type float64"),
    ],
)
def test_arrays_of_another_form_are_refused(key: str, array: np.ndarray, message: str, publish, tmp_path: Path):
    publish("pathmnist", {"pathmnist.npz": npz(arrays(False, LABELS) | {key: array})})
    with pytest.raises(ValueError, match=message + ".*: use the official file"):
        load("medmnist", folder=tmp_path)


def test_missing_arrays_and_truncated_files_are_refused(publish, tmp_path: Path):
    content = arrays(False, LABELS)
    whole = npz(content)
    del content["val_labels"]
    for spoilt in (npz(content), b"", whole[:100], whole[:-1], b"<html>"):
        publish("pathmnist", {"pathmnist.npz": spoilt})
        with pytest.raises(ValueError, match=r"is no file of MedMNIST .*: use the official file"):
            load("medmnist", folder=tmp_path)


def test_it_is_a_component():
    source = MedMNIST(subset="bloodmnist")
    assert to_plain(source) == {"name": "medmnist", "folder": "", "subset": "bloodmnist"}
    assert from_plain(DataSource, to_plain(source)) == source
