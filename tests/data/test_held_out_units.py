"""Test images held out as whole units: how near to the share of each class, at random, and what cannot be divided."""

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from classwise.data.stratify import check_apart, hold_out


def held_out(labels: list[int], units: list[int], fraction: float = 0.2, seed: int = 0, groups: Any = None) -> set[int]:
    """The units that hold_out takes, each of them whole."""
    names, label, unit = tuple(f"class {i}" for i in range(max(labels) + 1)), torch.tensor(labels), torch.tensor(units)
    group = label if groups is None else torch.tensor(groups)
    group_names = names if groups is None else tuple(f"group {i}" for i in range(max(groups) + 1))
    is_test = hold_out(label, group, names, group_names, fraction, seed, unit)
    test, rest = set(unit[is_test].tolist()), set(unit[~is_test].tolist())
    assert not test & rest
    for numbers in (label, group):
        assert set(numbers[is_test].tolist()) == set(numbers[~is_test].tolist()) == set(numbers.tolist())
    return test


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(1, 30), min_size=2, max_size=9), min_size=2, max_size=4),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
)
def test_no_other_unit_would_bring_a_class_nearer(sizes: list[list[int]], fraction: float, seed: int) -> None:
    """Where no unit has two classes; every class is divided, whatever its units."""
    size = dict(enumerate(each for of_class in sizes for each in of_class))
    label = dict(enumerate(i for i, of_class in enumerate(sizes) for _ in of_class))
    labels = [label[unit] for unit in size for _ in range(size[unit])]
    test = held_out(labels, [unit for unit in size for _ in range(size[unit])], fraction, seed)
    for number, of_class in enumerate(sizes):
        wanted = min(max(1, int(fraction * sum(of_class) + 0.5)), sum(of_class) - 1)
        taken = [size[unit] for unit in test if label[unit] == number]
        left = [size[unit] for unit in size if label[unit] == number and unit not in test]
        assert len(left) >= min(2, len(of_class) - 1)  # so that training can hold out validation images
        if len(left) > min(2, len(of_class) - 1):
            assert all(abs(wanted - sum(taken) - each) >= abs(wanted - sum(taken)) for each in left)
        if abs(wanted - sum(taken)) >= wanted:  # none would be as near, but a class needs one
            assert taken == [min(of_class)]


@pytest.mark.parametrize(("units", "fraction", "expected"), [(10, 0.2, 2), (10, 0.33, 3), (10, 0.01, 1), (4, 0.9, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_units_of_equal_size(units: int, fraction: float, expected: int, seed: int) -> None:
    labels = [i // (6 * units) for i in range(12 * units)]
    test = held_out(labels, [i // 6 for i in range(12 * units)], fraction, seed)
    assert [sum(unit // units == label for unit in test) for label in (0, 1)] == [expected] * 2


def test_the_choice_is_random_by_its_seed_and_heeds_no_names() -> None:
    labels, units = [i // 60 for i in range(120)], [i // 3 for i in range(120)]
    chosen = [held_out(labels, units, seed=seed) for seed in range(6)]
    assert len({frozenset(each) for each in chosen}) == 6
    assert held_out(labels, units, seed=4) == chosen[4]
    assert held_out(labels, [10**12 - 7 * unit for unit in units], seed=4) == {10**12 - 7 * unit for unit in chosen[4]}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 14)), min_size=60, max_size=90), st.integers(0, 3))
def test_units_of_several_classes_stay_whole(pairs: list[tuple[int, int]], seed: int) -> None:
    labels = [label for label, _ in pairs]
    units = {label: {unit for each, unit in pairs if each == label} for label in range(3)}
    assume(all(len(each) > 4 for each in units.values()))
    assert held_out(labels, [unit for _, unit in pairs], seed=seed)  # it looks at both roles


def test_classes_of_shared_units_get_their_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, units = [i % 10 for i in range(4000)], torch.randint(0, 300, (4000,), generator=generator).tolist()
    test = held_out(labels, units)
    shares = torch.bincount(torch.tensor([labels[i] for i in range(4000) if units[i] in test])) / 400
    assert float((shares - 0.2).abs().max()) < 0.04
    assert abs(float(shares.mean()) - 0.2) < 0.01


def test_groups_take_turns() -> None:
    units = [i // 5 for i in range(600)]
    groups = [unit % 4 // 3 for unit in units]  # three quarters of the units, and one
    for seed in range(4):
        test = held_out([i // 300 for i in range(600)], units, seed=seed, groups=groups)
        assert len(test) == 24
        assert [sum(unit % 4 // 3 == group for unit in test) for group in (0, 1)] == [18, 6]
    few = [int(unit in (3, 70)) for unit in units]  # one unit of each class
    test = held_out([i // 300 for i in range(600)], units, groups=few)
    assert len(test & {3, 70}) == 1


@pytest.mark.parametrize(
    ("labels", "units", "groups", "message"),
    [
        (
            [0, 0, 0, 1, 1, 1],
            [1, 1, 1, 2, 2, 3],
            None,
            (
                r"class 'class 0' has 3 images in 1 unit\(s\) that stay together, too few to divide into training and test images: "
                r"add units, leave the class out, or divide the images yourself"
            ),
        ),
        (
            [0, 0, 0, 0, 1, 1, 1, 1],
            [1, 1, 2, 3, 4, 5, 6, 7],
            [1, 1, 0, 0, 0, 0, 0, 0],
            r"group 'group 1' has 2 images in 1 unit\(s\) .*: add units, leave the group out, or divide the images yourself",
        ),
        ([0, 0, 1], [1, 2, 3], None, r"class 'class 1' has 1 image, too few to divide"),
        ([0, 0, 2, 2], [1, 2, 3, 4], None, r"class_names names 'class 1', which no label uses: leave it out"),
    ],
)
def test_what_cannot_be_divided(labels: list[int], units: list[int], groups: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        held_out(labels, units, groups=groups)


def test_classes_that_share_all_their_units_may_ask_for_another_seed() -> None:
    labels, units = [0, 1, 0, 2, 1, 2], [1, 1, 2, 2, 3, 3]  # any one unit leaves a class without test images
    with pytest.raises(
        ValueError,
        match=r"no division into training and test images was found: class 'class .' has 2 images in 2 units that stay together, "
        r"and giving .*: another test_seed may find one; otherwise add units, leave the class out, or divide the images",
    ):
        held_out(labels, units)


def test_another_seed_may_find_a_division() -> None:
    labels, units = [0, 0, 1, 1, 2, 2], [1, 2, 2, 3, 3, 4]
    assert held_out(labels, units, seed=1)
    with pytest.raises(
        ValueError, match=r"no division .* was found: .* in 2 units .*: another test_seed may find one"
    ) as found:
        held_out(labels, units, seed=0)
    assert "too few" not in str(found.value)


def test_roles_apart() -> None:
    check_apart("patient", {"train": ["a", "a", "b"], "test": {"c"}}, "here")
    with pytest.raises(
        ValueError, match=r"unit '9' \(patient\) has images in train and validation and test in 'here' \(2 "
    ):
        check_apart("patient", {"train": ["9", "10"], "validation": {"9"}, "test": ("9", "10")}, "here")
