"""CIFAR-100 from small files in the form of the official ones.

Form: https://www.cs.toronto.edu/~kriz/cifar.html ("CIFAR-100 python version"): a pickle of Python 2 with the keys filenames,
batch_label, fine_labels, coarse_labels and data, rows of 1,024 red, 1,024 green and 1,024 blue bytes, row by row.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from classwise.configuration import from_plain, to_plain
from classwise.data import CIFAR100, DataSource, load
from classwise.data.cifar100 import COARSE_NAMES, FINE_NAMES

COARSE_OF_FINE = {  # the table on the official page, as (superclass: classes)
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


def numbers(values) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def official(pixels: np.ndarray, fine: list[int], coarse: list[int]) -> bytes:
    """A pickle of protocol 2 with the strings of Python 2."""
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    array += b"(K\x01J" + len(fine).to_bytes(4, "little") + b"M\x00\x0c\x86"
    array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array += b"\x89T" + pixels.size.to_bytes(4, "little") + pixels.tobytes() + b"tb"
    names = b"](" + b"".join(text(b"apple_s_%06d.png" % number) for number in range(len(fine))) + b"e"
    content = {
        b"filenames": names,
        b"batch_label": text(b"training batch 1 of 1"),
        b"fine_labels": numbers(fine),
        b"coarse_labels": numbers(coarse),
        b"data": array,
    }
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in content.items()) + b"u."


@pytest.fixture
def small(publish) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = {part: rng.integers(0, 256, (n, 3072), dtype=np.uint8) for part, n in (("train", 100), ("test", 3))}
    coarse = [
        next(i for i, name in enumerate(COARSE_NAMES) if each in COARSE_OF_FINE[name].split()) for each in FINE_NAMES
    ]
    publish(
        "cifar100",
        {
            "train": official(pixels["train"], list(range(100)), coarse),
            "test": official(pixels["test"], [99, 0, 4], [13, 4, 0]),
        },
    )
    return pixels


def test_images_and_fine_labels(small, tmp_path: Path):
    data = load("cifar100", folder=tmp_path)
    assert data.train.images.dtype == torch.uint8
    np.testing.assert_array_equal(data.train.images.numpy().reshape(100, 3072), small["train"])
    red, green, blue = data.train.images[7]
    np.testing.assert_array_equal(red.numpy().ravel(), small["train"][7, :1024])
    np.testing.assert_array_equal(blue.numpy().ravel(), small["train"][7, 2048:])
    assert int(green[1, 0]) == small["train"][7, 1024 + 32]
    assert data.train.labels.tolist() == list(range(100))
    assert data.train.class_names == data.train.group_names == FINE_NAMES
    assert torch.equal(data.train.groups, data.train.labels)
    assert data.test.labels.tolist() == [99, 0, 4]
    np.testing.assert_array_equal(data.test.images.numpy().reshape(3, 3072), small["test"])


def test_the_memory_is_its_own(small, tmp_path: Path):
    load("cifar100", folder=tmp_path).test.images.zero_()
    assert load("cifar100", folder=tmp_path).test.images.any()


def test_superclasses_as_labels(small, tmp_path: Path):
    data = load("cifar100", folder=tmp_path, labels="coarse")
    assert data.class_names == COARSE_NAMES
    assert data.train.num_groups == data.train.num_classes == 20
    assert data.train.labels.bincount().tolist() == [5] * 20
    assert data.test.labels.tolist() == [13, 4, 0]


def test_superclasses_as_groups(small, tmp_path: Path):
    train = load("cifar100", folder=tmp_path, groups="coarse").train
    assert train.labels.tolist() == list(range(100))
    assert train.class_names == FINE_NAMES
    assert train.group_names == COARSE_NAMES
    for group, name in enumerate(COARSE_NAMES):
        assert (
            sorted(FINE_NAMES[label] for label in train.labels[train.groups == group]) == COARSE_OF_FINE[name].split()
        )


def test_names_are_the_official_ones():
    assert len(FINE_NAMES) == len(set(FINE_NAMES)) == 100
    assert len(COARSE_NAMES) == len(set(COARSE_NAMES)) == 20
    assert list(FINE_NAMES) == sorted(FINE_NAMES)
    assert list(COARSE_NAMES) == sorted(COARSE_NAMES) == sorted(COARSE_OF_FINE)
    assert sorted(" ".join(COARSE_OF_FINE.values()).split()) == list(FINE_NAMES)


def test_damage_and_bombs_are_refused(small, publish, tmp_path: Path):
    path = tmp_path / "cifar-100-python" / "train"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        ValueError, match=r"train' is damaged \(MD5 .*\): fetch it with `classwise data fetch cifar100`"
    ):
        load("cifar100", folder=tmp_path)

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-run",))

    publish("cifar100", {"train": pickle.dumps(Bomb(), 2), "test": b""})
    with pytest.raises(ValueError, match="nothing in it was run"):
        load("cifar100", folder=tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_it_is_a_component():
    source = CIFAR100(labels="coarse")
    assert to_plain(source) == {"name": "cifar100", "folder": "", "labels": "coarse", "groups": ""}
    assert from_plain(DataSource, to_plain(source)) == source
    with pytest.raises(ValueError, match="labels"):
        from_plain(DataSource, {"name": "cifar100", "labels": "rough"})
