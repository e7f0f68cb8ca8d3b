"""What is known of all perturbed images found so far: intervals and proposals against brute force."""

import itertools

import pytest
import torch
from torch import Tensor

from classwise.repair import LastLayerScale, LogitBias
from classwise.repair.known_points import KnownPoints
from classwise.repair.last_layer import LastLayer


def points(repair: LastLayer, classes: int, n: int = 40, seed: int = 0, groups: Tensor | None = None) -> KnownPoints:
    """Random logits at three points of each sample; the label's is a little higher."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=draw)
    logits = torch.randn(3, n, classes, generator=draw, dtype=torch.float64)
    logits += 1.5 * torch.nn.functional.one_hot(labels, classes) + 0.8 * torch.eye(classes, dtype=torch.float64)[0]
    known = KnownPoints(repair, labels, labels if groups is None else groups, logits[0])
    for each in logits[1:]:
        known.add(each)
    return known


def scored(known: KnownPoints, values: Tensor) -> float:
    right = known.robust(values).double()
    share = [float(right[known.groups == group].mean()) for group in range(len(known.sizes))]
    return sum(share) / len(share) + min(share)


@pytest.mark.parametrize("repair", [LogitBias(), LastLayerScale()])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_sample_is_right_in_its_interval_and_nowhere_else(repair: LastLayer, classes: int) -> None:
    known = points(repair, classes)
    draw = torch.Generator().manual_seed(1)
    ends, right = 0, 0
    for c in range(classes):
        values = 0.3 * torch.randn(classes, generator=draw, dtype=torch.float64)
        low, high = known._intervals(values, c)
        ends += int(low.isfinite().sum() + high.isfinite().sum())
        for place in torch.linspace(-3, 3, 61, dtype=torch.float64):
            moved = values.clone()
            moved[c] = place
            logits = repair.act(known.logits, moved)
            direct = (logits.argmax(-1) == known.labels).all(0)
            assert torch.equal((low < place) & (place < high), direct)
            right += int(direct.sum())
    assert ends > 40
    assert right > 100


@pytest.mark.parametrize("repair", [LogitBias(), LastLayerScale()])
def test_with_two_classes_no_grid_does_better(repair: LastLayer) -> None:
    gained = 0
    for seed in range(8):
        known = points(repair, 2, seed=seed)
        found = known.proposal(torch.zeros(2, dtype=torch.float64), reach=10.0)
        assert float(found.sum()) == pytest.approx(0, abs=1e-12)
        grid = torch.linspace(-2, 2, 4001, dtype=torch.float64)
        best = max(scored(known, torch.stack([each, -each])) for each in grid)
        assert scored(known, found) >= best - 1e-9
        gained += scored(known, found) > scored(known, torch.zeros(2, dtype=torch.float64))
    assert gained >= 6


def test_with_three_classes_it_comes_close_to_the_best_of_a_grid() -> None:
    lost = []
    for seed in range(6):
        known = points(LogitBias(), 3, n=60, seed=seed)
        found = scored(known, known.proposal(torch.zeros(3, dtype=torch.float64), reach=10.0))
        grid = torch.linspace(-2, 2, 41, dtype=torch.float64)
        best = max(scored(known, torch.stack([a, b, -a - b])) for a, b in itertools.product(grid, grid))
        lost.append(best - found)
    assert max(lost) <= 0.05
    assert sum(lost) / len(lost) <= 0.02


def test_a_proposal_stays_within_reach() -> None:
    moved = []
    for seed in range(6):
        start = torch.tensor([0.2, -0.1, -0.1], dtype=torch.float64)
        by = points(LogitBias(), 3, seed=seed).proposal(start, reach=0.1) - start
        moved.append(float(by.max() - by.min()))  # the mean was taken off
    assert 0.01 < max(moved) <= 0.2 + 1e-9


def test_a_group_without_a_sample_is_left_out() -> None:
    groups = torch.tensor([0, 3]).repeat(20)
    known = points(LogitBias(), 3, groups=groups)
    assert known.sizes.tolist() == [20, 20]
    assert scored(known, known.proposal(torch.zeros(3, dtype=torch.float64), reach=10.0)) <= 2
