"""Batches, augmentation and the split into roles."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from classwise import ClassData
from classwise.data import CropFlip, Loader, NoAugmentation, Split
from classwise.randomness import GeneratorNoise

CPU = torch.device("cpu")
Data = Callable[..., ClassData]


def loader(data: ClassData, augmentation: Any = None, rank: int = 0, world: int = 1, seed: int = 0) -> Loader:
    order, augment = (torch.Generator().manual_seed(seed + i) for i in range(2))
    return Loader(data, 10, augmentation or NoAugmentation(), CPU, order, augment, rank, world)


def test_an_epoch_holds_every_sample_once_in_a_new_order(toy_data: Data) -> None:
    data = toy_data()
    batches = loader(data)
    epochs = [torch.cat([batch.index for batch in batches]) for _ in range(2)]
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, data.index)
    assert not torch.equal(*epochs)
    assert [len(batch.y) for batch in batches] == [10, 10, 10, 10, 8]
    for batch in batches:
        assert batch.total == len(batch.y)
        assert torch.equal(batch.x, data.images[batch.index])
        assert torch.equal(batch.y, data.labels[batch.index])


def test_the_state_of_the_generators_is_all_there_is(toy_data: Data) -> None:
    data = toy_data()
    first = loader(data, CropFlip(padding=1))
    list(first)
    states = first.order.get_state(), first.augment.get_state()
    expected = [(batch.index, batch.x) for batch in first]
    second = loader(data, CropFlip(padding=1), seed=77)
    second.order.set_state(states[0])
    second.augment.set_state(states[1])
    for (index, x), batch in zip(expected, second, strict=True):
        assert torch.equal(batch.index, index)
        assert torch.equal(batch.x, x)


@pytest.mark.parametrize("world", [2, 3])
def test_the_number_of_processes_changes_neither_order_nor_augmentation(world: int, toy_data: Data) -> None:
    data = toy_data(groups=toy_data().labels // 2, group_names=("low", "high"))
    whole = loader(data, CropFlip(padding=2))
    parts = [loader(data, CropFlip(padding=2), rank, world) for rank in range(world)]
    for batch, *shares in zip(whole, *parts, strict=True):
        for rank, share in enumerate(shares):
            assert share.total == batch.total
            for mine, all_of_it in ((share.x, batch.x), (share.y, batch.y), (share.group, batch.group)):
                assert torch.equal(mine, all_of_it[rank::world])
        assert sum(len(share.y) for share in shares) == batch.total


def test_bytes_become_floats_in_the_unit_interval(toy_data: Data) -> None:
    images = toy_data().images.mul(255).byte()
    data = ClassData(images, toy_data().labels, toy_data().class_names)
    batch = next(iter(loader(data, CropFlip(padding=1))))
    assert batch.x.dtype == torch.float32
    assert float(batch.x.max()) <= 1
    assert torch.equal((batch.x * 255).round() / 255, batch.x)


class Drawn:
    """Hands out stored draws."""

    def __init__(self, draws: Tensor) -> None:
        self.draws = draws

    def uniform(self, like: Tensor) -> Tensor:
        assert like.shape == self.draws.shape
        return self.draws

    normal = uniform


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("flip", [True, False])
def test_crop_and_flip_equal_a_loop(kind: torch.dtype, mode: Any, flip: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (50, 2, 6, 7), generator=generator).to(kind)
    draws = torch.rand(50, 3, generator=generator)
    ours = CropFlip(padding=2, mode=mode, flip=flip)(images, Drawn(draws))
    assert ours.dtype == kind
    shifts, flips = set(), 0
    for image, draw, made in zip(images, draws, ours, strict=True):
        down, right = int(draw[0] * 5), int(draw[1] * 5)
        padded = F.pad(image[None].float(), (2, 2, 2, 2), mode="constant" if mode == "zeros" else "reflect")[0]
        expected = padded[:, down : down + 6, right : right + 7]
        if flip and draw[2] < 0.5:
            expected, flips = expected.flip(2), flips + 1
        assert torch.equal(made, expected.to(kind))
        shifts.add((down, right))
    assert len(shifts) > 15
    assert (10 < flips < 40) == flip


def test_crops_and_flips_are_equally_likely() -> None:
    image = torch.arange(1.0, 10).view(1, 1, 3, 3).expand(6000, 1, 3, 3)
    made = CropFlip(padding=1)(image, GeneratorNoise(torch.Generator().manual_seed(0)))
    _, counts = made.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 18  # nine crops, each plain or mirrored
    assert 250 < int(counts.min()) <= int(counts.max()) < 420


def test_split_is_stratified_disjoint_and_the_same_each_time() -> None:
    labels = torch.tensor([0] * 100 + [1] * 45 + [2] * 21)[
        torch.randperm(166, generator=torch.Generator().manual_seed(1))
    ]
    data = ClassData(torch.rand(166, 1, 2, 2), labels, ("a", "b", "c"), index=torch.arange(166) * 3)
    roles = Split(fraction=0.31, at_least=20).apply(data)
    assert torch.bincount(roles.validation.labels).tolist() == [31, 20, 20]
    assert torch.bincount(roles.train.labels).tolist() == [69, 25, 1]
    together = torch.cat([roles.train.index, roles.validation.index])
    assert torch.equal(together.sort().values, data.index)
    again = Split(fraction=0.31, at_least=20).apply(data)
    assert torch.equal(again.validation.index, roles.validation.index)
    other = Split(fraction=0.31, at_least=20, seed=1).apply(data)
    assert not torch.equal(other.validation.index, roles.validation.index)
    for role in (roles.train, roles.validation):
        rows = role.index // 3
        assert torch.equal(role.images, data.images[rows])
        assert torch.equal(role.labels, data.labels[rows])


def test_the_default_split_is_five_per_cent_of_each_class_and_at_least_twenty() -> None:
    labels = torch.tensor([0] * 1000 + [1] * 60)
    roles = Split().apply(ClassData(torch.rand(1060, 1, 1, 1), labels, ("a", "b")))
    assert torch.bincount(roles.validation.labels).tolist() == [50, 20]


def test_the_split_takes_groups_in_proportion_within_each_class() -> None:
    labels, groups = torch.arange(80) % 2, torch.arange(80) // 20
    data = ClassData(torch.rand(80, 1, 1, 1), labels, ("a", "b"), groups=groups, group_names=tuple("wxyz"))
    roles = Split(at_least=5).apply(data)
    assert torch.bincount(roles.validation.labels).tolist() == [5, 5]
    assert torch.bincount(roles.validation.groups).tolist() == [3, 3, 2, 2]


@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_class_too_small_to_split_is_named(count: int) -> None:
    labels = torch.tensor([0] * 50 + [1] * count)
    data = ClassData(torch.rand(len(labels), 1, 1, 1), labels, ("many", "few"))
    with pytest.raises(ValueError, match=rf"class 'few' has {count} training images, too few to hold out 20"):
        Split().apply(data)
    with pytest.raises(ValueError, match=r"fraction 1\.0 must lie in"):
        Split(fraction=1.0)
