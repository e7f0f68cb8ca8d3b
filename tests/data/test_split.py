"""Which images are held out, against the slices of published scripts."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from classwise import ClassData
from classwise.data import Split


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
