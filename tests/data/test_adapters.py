"""Data sets of other packages: against stand-ins with their documented functions, and against them where they are."""

import struct
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import classwise as cw
from classwise.data import HuggingFaceData, Split, TorchvisionData, from_torch, load
from classwise.progress import Silent

RNG = np.random.default_rng(5)


def photo(height: int = 6, width: int = 5) -> np.ndarray[Any, Any]:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- any data set of PyTorch ---


class Pairs(torch.utils.data.Dataset[Any]):
    """Samples in a list."""

    def __init__(self, samples: list[Any], classes: list[str] | None = None) -> None:
        self.samples = samples
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Any:
        return self.samples[number]


@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        (lambda image: Image.fromarray(image), torch.uint8),
        (lambda image: image, torch.uint8),
        (lambda image: torch.from_numpy(image).permute(2, 0, 1), torch.uint8),
        (lambda image: torch.from_numpy(image).permute(2, 0, 1).double() / 255, torch.float32),
        (lambda image: image.astype(np.float64), torch.uint8),
        (lambda image: image.astype(np.int64), torch.uint8),
    ],
    ids=["pillow", "array", "tensor", "unit floats", "byte floats", "integers"],
)
def test_every_form_of_image_gives_the_same_pixels(form: Callable[[Any], Any], dtype: torch.dtype) -> None:
    images = [photo() for _ in range(6)]
    data = from_torch(Pairs([(form(image), i % 3) for i, image in enumerate(images)], ["a", "b", "c"]), name="x")
    expected = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    assert data.images.dtype == dtype
    pixels = torch.as_tensor(data.images[:])
    assert torch.equal(pixels if dtype == torch.uint8 else (pixels * 255).round().byte(), expected)
    assert (data.class_names, data.labels.tolist(), data.index.tolist()) == (tuple("abc"), [0, 1, 2] * 2, [*range(6)])


def test_labels_names_groups_and_keys() -> None:
    rows = [{"pixels": photo(), "kind": name, "site": site} for name in ("emu", "ant") for site in (7, 3, 7)]
    data = from_torch(Pairs(rows), image="pixels", label="kind", groups="site", start=100, name="zoo")
    assert (data.class_names, data.labels.tolist()) == (("ant", "emu"), [1, 1, 1, 0, 0, 0])
    assert (data.group_names, data.groups.tolist()) == (("3", "7"), [1, 0, 1, 1, 0, 1])
    assert data.index.tolist() == list(range(100, 106))
    listed = from_torch(Pairs(rows), image="pixels", label="kind", groups=["b", "a", "b", "b", "a", "b"])
    assert listed.groups.equal(data.groups)
    assert listed.group_names == ("a", "b")
    numbered = from_torch([(photo(), torch.tensor(2)), (photo(), np.int64(0)), (photo(), np.array([1]))])
    assert (numbered.class_names, numbered.labels.tolist()) == (("0", "1", "2"), [2, 0, 1])
    grey = from_torch([(Image.fromarray(photo(9, 4)), 0), (Image.fromarray(photo(3, 3)), 1)], size=8, channels=1)
    assert grey.shape == (1, 8, 8)
    flat = from_torch([(torch.rand(4, 4), 0), (torch.rand(4, 4), 1)])
    assert flat.shape == (1, 4, 4)


def test_a_stream_of_samples_and_a_list_are_data_sets_too() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from ((torch.full((1, 2, 2), i / 10), i % 2) for i in range(5))

    assert from_torch(Stream()).labels.tolist() == [0, 1, 0, 1, 0]
    tensors = torch.utils.data.TensorDataset(torch.rand(4, 3, 5, 5), torch.tensor([0, 1, 1, 0]))
    data = from_torch(tensors)
    assert (data.name, data.shape) == ("TensorDataset", (3, 5, 5))
    assert torch.equal(torch.as_tensor(data.images[:]), tensors.tensors[0])


@pytest.mark.parametrize(
    ("samples", "fields", "message"),
    [
        ([], {}, r"'x' has no samples: give one with images"),
        (
            [(photo(), 0), (photo(7), 1)],
            {},
            r"differ in shape: \(3, 6, 5\) in sample 0 and \(3, 7, 5\) in sample 1; res",
        ),
        ([(torch.randn(3, 4, 4) * 3, 0)], {}, r"runs from -.*leave normalisation to the model"),
        (
            [(photo(), 0, 1)],
            {"groups": 5},
            r"sample 0 of 'x' is a tuple without 5: name the key of the groups with gro",
        ),
        ([{"img": photo(), "y": 0}], {}, r"is a dict without 0; it has img, y: name the key of the image with image="),
        ([(photo(), [0, 1])], {}, r"the label of sample 0 of 'x' is \[0, 1\]: give a whole number or text"),
        ([(photo(), "emu")], {"class_names": ["ant"]}, r"has the label 'emu', which class_names do not name"),
        ([(photo(), 0)], {"groups": ["a", "b"]}, r"'x' has 1 samples and 2 groups are given: give one for each"),
        ([("cat.png", 0)], {}, r"the image of sample 0 of 'x' is a str of shape \(\): give a picture of Pillow"),
        ([(photo(), 3)], {"class_names": ["a", "b"]}, r"labels of 'x' run from 3 to 3: with 2 names they must lie in"),
        ([(Image.new("I;16", (4, 4)), 0)], {}, r"has more than 8 bits per channel \(mode I;16\): scale it to 8"),
    ],
)
def test_what_cannot_be_read_is_named(samples: list[Any], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_torch(samples, name="x", **fields)


def test_something_that_is_no_data_set() -> None:
    with pytest.raises(ValueError, match=r"3 is no data set of PyTorch: give an object with len\(\) and \[i\]"):
        from_torch(3)


def test_it_trains_and_audits_with_groups(tmp_path: Path) -> None:
    def samples(seed: int) -> list[Any]:
        generator = torch.Generator().manual_seed(seed)
        return [
            (0.5 * (i % 2) + 0.5 * torch.rand(1, 3, 3, generator=generator), i % 2, "ab"[i // 2 % 2]) for i in range(24)
        ]

    data = cw.Dataset("pairs", from_torch(samples(0), groups=2), lambda: from_torch(samples(1), groups=2, start=24))
    config = cw.recipe(
        "digits-pgd-at",
        model=cw.models.Linear(),
        split=Split(at_least=2),
        epochs=1,
        adversary=cw.attacks.PGD(steps=1),
        validation_attack=cw.attacks.PGD(steps=1),
    )
    run = cw.train(config, tmp_path / "run", data=data, progress=Silent())
    assert run.audit(attacks="fgsm", progress=Silent()).table().names == ("a", "b")


def test_training_and_test_classes_in_another_order() -> None:
    samples = [(torch.rand(1, 2, 2), name) for name in ("a", "b")]
    data = cw.Dataset("x", from_torch(samples), lambda: from_torch(samples, class_names=["b", "a"]))
    with pytest.raises(ValueError, match=r"classes of 'x' are \('a', 'b'\) in training and \('b', 'a'\) in test: name"):
        _ = data.test


def test_group_names_let_roles_agree() -> None:
    samples = [(torch.rand(1, 2, 2), k % 2, group) for k, group in enumerate("abcc")]
    train = from_torch(samples, groups=2)
    assert train.group_names == ("a", "b", "c")
    test = from_torch(samples[2:], groups=2, group_names=train.group_names, start=4)
    assert (test.group_names, test.groups.tolist()) == (train.group_names, [2, 2])
    other = [(torch.rand(1, 2, 2), k % 2, "c") for k in range(2)]
    narrow = cw.Dataset("x", train, lambda: from_torch(other, groups=2, start=4))
    with pytest.raises(ValueError, match=r"groups of 'x' are \('a', 'b', 'c'\) in training and \('c',\) in test: name"):
        _ = narrow.test
    with pytest.raises(ValueError, match="has the group 'c', which group_names do not name: name every group"):
        from_torch(samples, groups=2, group_names=["a", "b"])
    with pytest.raises(ValueError, match="is given group_names and no groups: say with groups="):
        from_torch(samples, group_names=["a", "b"])


# --- torchvision ---


class Photos(Pairs):
    """A data set after https://docs.pytorch.org/vision/stable/datasets.html, with named splits."""

    def __init__(self, root: str, split: str = "train", transform: Any = None, download: bool = False) -> None:
        if not Path(root, "photos").exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        numbers = {"train": range(9), "val": range(9, 12), "test": range(12, 18)}
        if split not in numbers:
            raise ValueError(f"Unknown value '{split}' for argument split.")
        generator = np.random.default_rng(1)
        images = [Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(18)]
        super().__init__([(images[i], i % 3) for i in numbers[split]], ["x", "y", "z"])


class Halves(Photos):
    """The same with ``train=True`` and ``train=False``."""

    def __init__(self, root: str, train: bool = True) -> None:
        super().__init__(root, "train" if train else "test")


class Plain(Pairs):
    """One without splits."""

    def __init__(self, root: str) -> None:
        super().__init__([])


@pytest.fixture
def catalogue(stand_in: Callable[..., types.ModuleType], tmp_path: Path) -> Path:
    datasets = stand_in("torchvision.datasets", Photos=Photos, Halves=Halves, Plain=Plain, helper=len)
    stand_in("torchvision", datasets=datasets)
    (tmp_path / "photos").mkdir()
    return tmp_path


def test_torchvision_splits_become_roles(catalogue: Path) -> None:
    data = TorchvisionData(dataset="Photos", folder=str(catalogue), validation="val").load()
    whole = TorchvisionData(dataset="Halves", folder=str(catalogue)).load()
    assert (data.name, data.class_names, len(data.train), len(data.test)) == ("Photos", ("x", "y", "z"), 9, 6)
    assert data.validation is not None
    assert data.validation.index.tolist() == [9, 10, 11]
    assert data.test.index.tolist() == list(range(12, 18))
    assert whole.validation is None
    assert torch.equal(torch.as_tensor(whole.test.images), torch.as_tensor(data.test.images))
    assert load("torchvision", dataset="Photos", folder=catalogue, size=4, channels=1).train.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "Photo"}, r"torchvision has no data set 'Photo': did you mean 'Photos'"),
        ({"dataset": "helper"}, r"torchvision has no data set 'helper'"),
        ({"dataset": "Photos"}, r"torchvision's 'Photos' needs a folder for its files: give it with --data\.folder"),
        ({"dataset": "Plain", "folder": "."}, r"'Plain' takes neither split nor train: .* classwise\.data\.from_torch"),
        (
            {"dataset": "Photos", "folder": "gone"},
            r"cannot read its 'Photos' in 'gone' .*not found.*: check the folder",
        ),
    ],
)
def test_what_torchvision_cannot_give(catalogue: Path, fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchvisionData(**fields).load()


def test_the_real_torchvision_reads_its_files(real: Callable[[str], Any], tmp_path: Path) -> None:
    real("torchvision")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    digits = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    for part, rows in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        images = digits[rows]
        head = struct.pack(">iiii", 2051, len(images), 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = bytes(i % 10 for i in range(len(images)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, len(images)) + labels)
    data = TorchvisionData(dataset="FashionMNIST", folder=str(tmp_path), channels=1).load()
    assert torch.equal(torch.as_tensor(data.train.images)[:, 0], torch.from_numpy(digits[:20]))
    assert torch.equal(torch.as_tensor(data.test.images)[:, 0], torch.from_numpy(digits[20:]))
    assert data.class_names[0] == "T-shirt/top"


# --- Hugging Face ---


def encoded(number: int) -> bytes:
    import io

    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class FakeImage:
    def __init__(self, decode: bool = True) -> None:
        assert decode is False


class FakeSplit:
    """What the adapter uses of a split, after https://huggingface.co/docs/datasets/package_reference/main_classes."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        self.rows, self.features = rows, features

    @property
    def column_names(self) -> list[str]:
        return list(self.features)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.rows[number]

    def select_columns(self, names: list[str]) -> "FakeSplit":
        rows = [{name: row[name] for name in names} for row in self.rows]
        return FakeSplit(rows, {name: self.features[name] for name in names})

    def cast_column(self, name: str, feature: Any) -> "FakeSplit":
        assert isinstance(feature, FakeImage)
        return FakeSplit(self.rows, self.features | {name: feature})


@pytest.fixture
def hub(stand_in: Callable[..., types.ModuleType]) -> list[Any]:
    """A stand-in hub with one data set; the list holds the calls."""
    calls: list[Any] = []
    names = types.SimpleNamespace(names=["ant", "bee"])
    features = {"image": None, "label": names, "site": None, "text": None}

    def rows(numbers: range) -> list[dict[str, Any]]:
        return [
            {
                "image": {"bytes": encoded(i), "path": None},
                "label": i % 2,
                "site": f"s{i // 2 % 2}",
                "text": "ab"[i % 2],
            }
            for i in numbers
        ]

    def load_dataset(path: str, name: str | None = None, revision: str | None = None) -> Any:
        calls.append((path, name, revision))
        if path != "org/insects":
            raise FileNotFoundError(f"Couldn't find any data file at {path}.")
        return {"train": FakeSplit(rows(range(8)), features), "test": FakeSplit(rows(range(8, 12)), features)}

    stand_in("datasets", load_dataset=load_dataset, Image=FakeImage)
    return calls


def test_hugging_face_rows_become_images_classes_and_groups(hub: list[Any]) -> None:
    data = HuggingFaceData(dataset="org/insects", revision="abc", groups="site").load()
    assert hub == [("org/insects", None, "abc")]
    assert (data.name, data.class_names, data.train.group_names) == ("insects", ("ant", "bee"), ("s0", "s1"))
    assert data.train.groups.tolist() == [0, 0, 1, 1] * 2
    assert data.test.index.tolist() == [8, 9, 10, 11]
    for row in range(8):
        expected = np.random.default_rng(row).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        assert torch.equal(torch.as_tensor(data.train.images)[row], torch.from_numpy(expected).permute(2, 0, 1))
    by_text = load("huggingface", dataset="org/insects", label="text").train
    assert (by_text.class_names, by_text.labels.tolist()) == (("a", "b"), [0, 1] * 4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"'huggingface' needs a data set: name one on the hub with --data\.dataset, or give a folder"),
        ({"dataset": "org/gone"}, r"'org/gone' cannot be loaded \(Couldn't find any .*\): check its name"),
        ({"dataset": "org/insects", "test": "tset"}, r"has no split 'tset': did you mean 'test'\? \(--data\.test\)"),
        (
            {"dataset": "org/insects", "label": "labels"},
            r"no column 'labels': did you mean 'label'\? \(--data\.label\)",
        ),
        ({"dataset": "org/insects", "groups": "sites"}, r"no column 'sites': did you mean 'site'\? \(--data\.groups\)"),
    ],
)
def test_what_the_hub_cannot_give(hub: list[Any], fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HuggingFaceData(**fields).load()


@pytest.mark.filterwarnings("ignore")
def test_the_real_datasets_package_saves_and_is_read(real: Callable[[str], Any], tmp_path: Path) -> None:
    datasets = real("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"]), "site": datasets.Value("string")}
    )

    def split(count: int) -> Any:
        rows = {"image": [Image.fromarray(photo()) for _ in range(count)], "label": [i % 2 for i in range(count)]}
        return datasets.Dataset.from_dict(rows | {"site": ["ab"[i // 2 % 2] for i in range(count)]}, features=features)

    made = datasets.DatasetDict(train=split(8), test=split(4))
    made.save_to_disk(str(tmp_path / "saved"))
    data = HuggingFaceData(folder=str(tmp_path / "saved"), groups="site").load()
    assert (data.class_names, data.train.group_names) == (("x", "y"), ("a", "b"))
    for role, images in (("train", data.train), ("test", data.test)):
        for row in range(len(images)):
            expected = np.asarray(made[role][row]["image"])
            assert torch.equal(torch.as_tensor(images.images)[row], torch.from_numpy(expected.copy()).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("source", "name"),
    [(HuggingFaceData(dataset="a/b"), "datasets"), (TorchvisionData(dataset="MNIST"), "torchvision")],
)
def test_a_missing_package_is_named(source: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in list(sys.modules):
        if each.partition(".")[0] == name:
            monkeypatch.delitem(sys.modules, each)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [each for each in sys.meta_path if "importlib" in repr(each)])
    with pytest.raises(
        ValueError, match=f"this data set needs the package {name}, which is not installed: pip install"
    ):
        source.load()
