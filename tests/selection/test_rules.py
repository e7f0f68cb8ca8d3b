"""Scores of an epoch, from class tables whose figures are known."""

import numpy as np
import pytest

from classwise.configuration import from_plain, to_plain
from classwise.metrics import ClassTable, class_table
from classwise.selection import BestSum, Selection


def table(robust: list[int], n: int = 10) -> ClassTable:
    """Classes of n samples each, so many of which are right under attack."""
    group = np.repeat(np.arange(len(robust)), n)
    right = np.concatenate([np.arange(n) < each for each in robust])
    return class_table(group, np.ones_like(right), right, [f"class {i}" for i in range(len(robust))])


@pytest.mark.parametrize(
    ("robust", "lowest"),
    [
        ([1, 2, 5, 9, 9, 9, 9, 9, 9, 9], (0.1 + 0.2) / 2),  # two of ten
        ([5, 4, 3, 2, 9, 9], (0.2 + 0.3) / 2),  # a fifth of six, rounded up
        ([5, 4, 3, 7, 9], 0.3),  # one of five: the worst class
    ],
)
def test_the_worst_fifth_can_stand_for_the_worst_class(robust: list[int], lowest: float) -> None:
    found, mean = table(robust), np.mean(robust) / 10
    assert BestSum(added="worst-fifth").score(found, 0) == pytest.approx(mean + lowest)
    assert BestSum().score(found, 0) == pytest.approx(mean + min(robust) / 10)


def test_they_can_prefer_different_epochs() -> None:
    one, other = table([0, 6, 7, 7, 7, 7]), table([2, 3, 7, 7, 7, 7])
    assert BestSum().score(one, 0) < BestSum().score(other, 1)
    fifth = BestSum(added="worst-fifth")
    assert fifth.score(one, 0) > fifth.score(other, 1)


def test_a_rule_written_before_there_was_a_choice_adds_the_worst_class() -> None:
    assert from_plain(Selection, {"name": "best-sum"}) == BestSum(added="worst")
    assert from_plain(Selection, to_plain(BestSum(added="worst-fifth"))) == BestSum(added="worst-fifth")
    with pytest.raises(ValueError, match=r"added: 'worst-fith' is not one of its values: did you mean 'worst-fifth'"):
        from_plain(Selection, {"name": "best-sum", "added": "worst-fith"})
