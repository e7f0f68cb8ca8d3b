"""Which images are held out, against the slices of published scripts."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from classwise import ClassData
from classwise.data import Split
from classwise.data.stratify import hold_out


def data(labels: list[int]) -> ClassData:
    names = tuple(str(each) for each in range(max(labels) + 1))
    return ClassData(torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels), names)


@pytest.mark.parametrize(("choice", "script"), [("first", "cfa"), ("last", "frl")])
def test_first_and_last_of_each_class(choice: Literal["first", "last"], script: str, shared: Path) -> None:
    case: dict[str, Any] = json.loads((shared / "fixtures" / "methods" / "splits.json").read_text())
    roles = Split(choice=choice, fraction=0, at_least=case["per_class"]).apply(data(case["labels"]))
    assert roles.validation.index.tolist() == sorted(case[f"{script}_valid"])
    assert roles.train.index.tolist() == sorted(case[f"{script}_train"])


def test_the_head_of_a_permutation(shared: Path) -> None:
    case = json.loads((shared / "fixtures" / "methods" / "splits_rice_cifar10.json").read_text())
    labels = [number % 10 for number in range(50_000)]
    roles = Split(choice="permutation", fraction=0.02, at_least=0).apply(data(labels))
    assert roles.validation.index.tolist() == sorted(case["first_1000_validation_indices"])
    assert len(roles.train) == 49_000
    assert not set(roles.train.index.tolist()) & set(roles.validation.index.tolist())


def test_the_choice_leaves_the_number_of_images_alone() -> None:
    images = data([number % 3 for number in range(60)])
    held_out = set()
    for choice in ("random", "first", "last"):
        roles = Split(choice=choice, at_least=4, train_per_class=7).apply(images)
        assert torch.bincount(roles.validation.labels).tolist() == [4, 4, 4]
        assert torch.bincount(roles.train.labels).tolist() == [7, 7, 7]
        held_out.add(tuple(roles.validation.index.tolist()))
    assert len(held_out) == 3


# --- groups that are not the classes ---


def at_sites(*cells: list[int], units: int = 0) -> ClassData:
    """Images of cat, dog, emu …, so many at each site; with units, so many side by side in each unit."""
    labels = torch.tensor([label for label, sizes in enumerate(cells) for n in sizes for _ in range(n)])
    sites = torch.tensor([site for sizes in cells for site, n in enumerate(sizes) for _ in range(n)])
    return ClassData(
        torch.zeros(len(labels), 1, 1, 1),
        labels,
        ("cat", "dog", "emu", "fox")[: len(cells)],
        groups=sites,
        group_names=tuple(f"site {each}" for each in range(len(cells[0]))),
        units=torch.arange(len(labels)) // units if units else None,
    )


def table(images: ClassData) -> list[list[int]]:
    cells = torch.bincount(
        images.labels * images.num_groups + images.groups, minlength=images.num_classes * images.num_groups
    )
    return cells.view(images.num_classes, -1).tolist()


@pytest.mark.parametrize("choice", ["random", "first", "last"])
def test_a_rare_class_keeps_its_images_in_both_roles(choice: Literal["random", "first", "last"]) -> None:
    images = at_sites([19, 19], [19, 19], [2, 2])
    for seed in range(20):
        roles = Split(at_least=2, choice=choice, seed=seed).apply(images)
        assert table(roles.validation) == [[1, 1], [1, 1], [1, 1]]
        assert table(roles.train) == [[18, 18], [18, 18], [1, 1]]
    with pytest.raises(
        ValueError, match=r"'emu' has 4 .* too few to hold out 20 .*: lower split.at_least \(--split.at-least 2\)"
    ):
        Split(choice=choice).apply(images)


@pytest.mark.parametrize("units", [0, 1])
def test_groups_of_a_class_are_held_out_in_proportion(units: int) -> None:
    images = at_sites([60, 30, 10], [10, 40, 50], units=units)
    assert table(Split(fraction=0.2, at_least=1).apply(images).validation) == [[12, 6, 2], [2, 8, 10]]
    roles = Split(per_class=10, train_per_class=20).apply(images)
    assert table(roles.validation) == [[6, 3, 1], [1, 4, 5]]
    assert units or table(roles.train) == [[12, 6, 2], [2, 8, 10]]


def test_small_groups_have_images_in_both_roles() -> None:
    roles = Split(fraction=0.1, at_least=2).apply(at_sites([40, 1, 1, 1], [40, 1, 1, 1]))
    held_out = torch.tensor(table(roles.validation))
    assert held_out.sum(1).tolist() == [5, 5]
    assert held_out.sum(0).tolist() == [7, 1, 1, 1]
    with pytest.raises(
        ValueError, match=r"group 'site 1' has 1 training image, and the split leaves none for validation"
    ):
        Split(at_least=2).apply(at_sites([40, 1], [40, 0]))
    with pytest.raises(
        ValueError, match=r"group 'site \d' has 20 training images, and the split leaves none for validation"
    ):
        Split(fraction=0, at_least=1).apply(at_sites([20, 20, 20]))


def test_units_stay_whole_and_every_group_gives_one() -> None:
    images = at_sites([30, 30, 30], [60, 60, 60], units=10)
    roles = Split(at_least=10).apply(images)
    assert not set(roles.train.units.tolist()) & set(roles.validation.units.tolist())
    held_out = torch.tensor(table(roles.validation))
    assert bool((held_out.sum(0) >= 10).all())
    assert bool((held_out.sum(1) >= 10).all())
    assert len(roles.train) + len(roles.validation) == len(images)


@pytest.mark.parametrize("choice", ["random", "first", "last"])
def test_groups_within_one_another_change_nothing_where_a_class_has_one(
    choice: Literal["random", "first", "last"],
) -> None:
    """Against the rule in short: of each class in turn, a permutation, its head held out."""
    labels = torch.arange(90) % 3
    plain = ClassData(torch.zeros(90, 1, 1, 1), labels, ("a", "b", "c"))
    coarse = ClassData(plain.images, labels, plain.class_names, groups=labels // 2, group_names=("ab", "c"))
    generator = torch.Generator().manual_seed(3)
    expected, kept = [], []
    for label in range(3):
        rows = (labels == label).nonzero()[:, 0]
        shuffled = rows[torch.randperm(30, generator=generator)].tolist()
        order = {"random": shuffled, "first": rows.tolist(), "last": rows.tolist()[::-1]}[choice]
        expected += order[:6]
        kept += [row for row in shuffled if row not in order[:6]][:9]
    for images in (plain, coarse):
        roles = Split(fraction=0.2, at_least=1, train_per_class=9, seed=3, choice=choice).apply(images)
        assert roles.validation.index.tolist() == sorted(expected)
        assert roles.train.index.tolist() == sorted(kept)


def test_mends_name_numbers_that_work() -> None:
    images = data([0] * 50 + [1] * 21 + [2] * 15)
    with pytest.raises(ValueError, match=r"class '2' .*--split.at-least 7\), or drop the class"):
        Split(at_least=20).apply(images)
    assert torch.bincount(Split(at_least=7).apply(images).validation.labels).tolist() == [7, 7, 7]
    with pytest.raises(ValueError, match=r"lower split.fraction \(--split.fraction 0.5\)"):
        Split(fraction=0.99, at_least=1).apply(images)
    with pytest.raises(ValueError, match=r"nothing would be held out .*--split.at-least 20"):
        Split(fraction=0, at_least=0).apply(images)
    with pytest.raises(
        ValueError, match=r"class '\d' has \d+ training images, and the split leaves none for validation"
    ):
        Split(fraction=0.01, at_least=0, choice="permutation").apply(images)


def test_a_class_name_that_no_label_uses() -> None:
    labels = torch.tensor([0] * 5 + [1] * 5)
    with pytest.raises(ValueError, match=r"class_names names 'never', which no label uses: leave it out"):
        hold_out(labels, labels, ("a", "b", "never"), ("a", "b", "never"), 0.2, 0)
