"""Samples that belong together: whole units are held out, never parts of one."""

from collections import Counter
from itertools import chain, combinations
from typing import Literal

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from classwise import ClassData
from classwise.data import Split


def data(groups: list[int], units: list[int] | None) -> ClassData:
    names = tuple(f"class {each}" for each in range(max(groups) + 1))
    return ClassData(
        torch.zeros(len(groups), 1, 1, 1),
        torch.tensor(groups),
        names,
        units=None if units is None else torch.tensor(units),
    )


def tracks(*lengths: list[int]) -> ClassData:
    """One class for each list of unit lengths; units are numbered through."""
    groups = [group for group, each in enumerate(lengths) for length in each for _ in range(length)]
    units = [unit for unit, length in enumerate(chain(*lengths)) for _ in range(length)]
    return data(groups, units)


def units_of(role: ClassData) -> set[int]:
    assert role.units is not None
    return set(role.units.tolist())


# --- ClassData ---


def test_units_follow_their_samples() -> None:
    images = data([0, 1, 0, 1], [7, 5, 7, 9])
    assert images.subset(torch.tensor([3, 0])).units.tolist() == [9, 7]
    assert images.at([1, 2]).units.tolist() == [5, 7]
    assert images.first_per_class(1).units.tolist() == [7, 5]
    assert data([0, 1], None).subset(torch.tensor([1])).units is None


def test_units_are_part_of_the_checksum_only_where_there_are_any() -> None:
    plain, one, other = (data([0, 1], units).checksum() for units in (None, [3, 4], [3, 3]))
    assert len({plain, one, other}) == 3
    assert data([0, 1], [3, 4]).checksum() == one


@pytest.mark.parametrize("units", [[0, 1], torch.tensor([0]), torch.tensor([0.0, 1.0]), torch.tensor([[0], [1]])])
def test_units_that_do_not_fit_are_refused(units: object) -> None:
    with pytest.raises(ValueError, match=r"units of 'data' must be a tensor of one int64 per image, shape \(2,\)"):
        ClassData(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), ("a", "b"), units=units)  # type: ignore[arg-type]


# --- whole units ---


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 11)), min_size=30, max_size=60),
    st.sampled_from(["random", "first", "last"]),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_no_unit_is_in_two_roles(
    pairs: list[tuple[int, int]], choice: Literal["random", "first", "last"], seed: int, at_least: int
) -> None:
    """Also where a unit has samples of several classes, as a patient with images of several findings."""
    images = data([group for group, _ in pairs], [unit for _, unit in pairs])
    try:
        roles = Split(fraction=0.1, at_least=at_least, choice=choice, seed=seed).apply(images)
    except ValueError:  # a class with too few units for two roles
        reject()
    assert not units_of(roles.train) & units_of(roles.validation)
    assert sorted(roles.train.index.tolist() + roles.validation.index.tolist()) == list(range(len(images)))
    held_out = torch.bincount(roles.validation.groups, minlength=images.num_groups)
    kept = torch.bincount(roles.train.groups, minlength=images.num_groups)
    assert bool((held_out >= at_least).all())
    assert bool((kept > 0).all())


def test_no_more_units_are_held_out_than_needed() -> None:
    roles = Split(at_least=20).apply(tracks([30] * 7, [30] * 75))
    assert torch.bincount(roles.validation.groups).tolist() == [30, 120]  # 5 % of 2,250 is 113: four tracks
    assert torch.bincount(roles.train.groups).tolist() == [180, 2130]


def test_first_and_last_take_units_from_either_end_and_random_by_its_seed() -> None:
    images = tracks([3] * 10)
    held_out = {
        choice: units_of(Split(at_least=5, choice=choice).apply(images).validation) for choice in ("first", "last")
    }
    assert held_out == {"first": {0, 1}, "last": {8, 9}}
    random = [units_of(Split(at_least=5, seed=seed).apply(images).validation) for seed in range(8)]
    assert all(len(each) == 2 for each in random)
    assert len({frozenset(each) for each in random}) > 3
    assert units_of(Split(at_least=5, seed=3).apply(images).validation) == random[3]


def test_every_sample_a_unit_of_its_own_is_the_plain_split_in_order() -> None:
    groups = [number % 3 for number in range(60)]
    for choice in ("random", "first", "last"):
        split = Split(at_least=4, choice=choice)
        plain, alone = split.apply(data(groups, None)), split.apply(data(groups, list(range(60))))
        assert plain.validation.index.tolist() == alone.validation.index.tolist()
        assert plain.train.index.tolist() == alone.train.index.tolist()


def test_fewer_training_images_are_taken_from_training_units() -> None:
    roles = Split(at_least=4, train_per_class=5).apply(tracks([3] * 6, [2] * 9))
    assert torch.bincount(roles.train.groups).tolist() == [5, 5]
    assert not units_of(roles.train) & units_of(roles.validation)


def test_a_class_with_one_unit_is_named() -> None:
    with pytest.raises(
        ValueError,
        match=r"class 'class 1' has 30 training images in 1 unit\(s\) that stay together, too few to hold out 20 .*drop the",
    ):
        Split().apply(tracks([30, 30], [30], [30, 30]))


def test_a_permutation_and_units_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"'permutation' looks at single images: use random, first or last"):
        Split(choice="permutation", at_least=1).apply(tracks([3] * 10))


# --- an exact number of each class ---


@pytest.mark.parametrize("choice", ["random", "first", "last"])
def test_exactly_so_many_of_each_class(choice: Literal["random", "first", "last"]) -> None:
    images = data([0] * 50 + [1] * 12, None)
    roles = Split(per_class=9, choice=choice).apply(images)
    assert torch.bincount(roles.validation.labels).tolist() == [9, 9]
    assert torch.bincount(roles.train.labels).tolist() == [41, 3]
    by_number = Split(fraction=0, at_least=9, choice=choice).apply(images)
    assert roles.validation.index.tolist() == by_number.validation.index.tolist()


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=8), st.integers(1, 25), st.integers(0, 3))
def test_units_make_up_an_exact_number_whenever_they_can(sizes: list[int], number: int, seed: int) -> None:
    sums = {sum(each) for n in range(1, len(sizes)) for each in combinations(sizes, n)}
    images = tracks(sizes)
    if number in sums:
        roles = Split(per_class=number, seed=seed).apply(images)
        assert len(roles.validation) == number
        assert not units_of(roles.train) & units_of(roles.validation)
        assert Counter(images.units.tolist()).items() >= Counter(roles.validation.units.tolist()).items()
    else:
        with pytest.raises(ValueError, match=r"cannot make up exactly|too few to hold out"):
            Split(per_class=number, seed=seed).apply(images)


def test_a_number_that_tracks_cannot_make_up_says_what_to_do() -> None:
    with pytest.raises(
        ValueError,
        match=r"units of class 'class 0', .* cannot make up exactly 40 images: choose another split.per_class",
    ):
        Split(per_class=40).apply(tracks([30] * 5))
    roles = Split(per_class=60).apply(tracks([30] * 5, [29, 30, 30, 30]))  # one official track has 29 frames
    assert torch.bincount(roles.validation.groups).tolist() == [60, 60]


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"per_class -1 must not be negative"):
        Split(per_class=-1)
    with pytest.raises(ValueError, match=r"does not heed classes"):
        Split(per_class=5, choice="permutation")
    with pytest.raises(ValueError, match=r"class 'class 1' has 4 training images, too few .*lower split.per_class"):
        Split(per_class=4).apply(data([0] * 9 + [1] * 4, None))
