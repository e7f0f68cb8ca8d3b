"""Similarity transfer (DAFA) against its published multipliers and against its definition, pair by pair."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from classwise import TrainConfig
from classwise.objectives import AdversarialTraining, Natural, Trades
from classwise.policies import SimilarityTransfer
from classwise.policies.base import all_knobs

GROUPS = [2, 3, 10, 43, 200]
KNOBS = {"radius", "step", "label"}


def stats(similarity: Tensor, epoch: int, count: Tensor | None = None) -> dict[str, Tensor]:
    return {
        "epoch": torch.tensor(epoch),
        "train_probabilities": similarity.double(),
        "train_count": torch.ones(len(similarity), dtype=torch.float64) if count is None else count.double(),
    }


def drawn(classes: int, seed: int = 0, sharp: float = 2.0) -> Tensor:
    """Mean predictions of classes that are recognised to different degrees."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(classes, classes, generator=generator, dtype=torch.float64)
    return (logits + sharp * torch.rand(classes, generator=generator, dtype=torch.float64).diag()).softmax(1)


def pair_by_pair(similarity: Tensor, strength: float, present: list[bool]) -> list[float]:
    """W_i = 1 + lambda sum over j of (E[i, j] s_j if s_i < s_j, else -E[j, i] s_i), in loops over numbers."""
    e, k = similarity.tolist(), len(similarity)
    made = []
    for i in range(k):
        w = 1.0
        for j in range(k):
            if i != j and present[i] and present[j]:
                w += strength * (e[i][j] * e[j][j] if e[i][i] < e[j][j] else -e[j][i] * e[i][i])
        made.append(max(w, 0.0))
    return made


def weights(policy: SimilarityTransfer, similarity: Tensor, count: Tensor | None = None) -> list[float]:
    state = policy.on_epoch(policy.init(len(similarity)), stats(similarity, policy.warmup - 1, count))
    knobs = policy.knobs(state)
    assert knobs.keys() == KNOBS
    assert all(torch.equal(knobs[name], knobs["radius"]) for name in KNOBS)
    return knobs["radius"].tolist()


def test_published_multipliers(shared: Path) -> None:
    cases = json.loads((shared / "fixtures" / "methods" / "dafa_class_weights.json").read_text())["cases"]
    assert [case["lam"] for case in cases] == [1.0, 1.5, 0.7]
    for case in cases:
        probabilities, labels = torch.tensor(case["probs"], dtype=torch.float64), torch.tensor(case["labels"])
        similarity = torch.stack([probabilities[labels == c].mean(0) for c in range(10)])
        stored = torch.tensor(case["class_similarity"], dtype=torch.float64)
        assert torch.allclose(similarity, stored, rtol=0, atol=1e-9)
        found = weights(SimilarityTransfer(strength=case["lam"]), similarity)
        assert found == pytest.approx(case["class_weights"], rel=0, abs=1e-9)


@pytest.mark.parametrize("classes", GROUPS)
def test_against_loops_over_pairs(classes: int) -> None:
    similarity = drawn(classes)
    found = weights(SimilarityTransfer(strength=0.8), similarity)
    assert found == pytest.approx(pair_by_pair(similarity, 0.8, [True] * classes), abs=1e-12)
    assert max(found) - min(found) > 0.05


@pytest.mark.parametrize("classes", GROUPS)
def test_what_one_class_gains_the_other_loses(classes: int) -> None:
    """Without ties and without a multiplier that would be negative, the mean stays at 1."""
    similarity = drawn(classes)
    assert len(set(similarity.diagonal().tolist())) == classes
    found = weights(SimilarityTransfer(strength=0.1), similarity)
    assert min(found) > 0
    assert sum(found) / classes == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("classes", GROUPS)
def test_permuting_the_classes_permutes_the_multipliers(classes: int) -> None:
    similarity = drawn(classes)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(3))
    found = weights(SimilarityTransfer(), similarity)
    permuted = weights(SimilarityTransfer(), similarity[order][:, order])
    assert [found[i] for i in order] == pytest.approx(permuted, abs=1e-12)


def test_equal_strength_takes_from_both() -> None:
    similarity = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    assert weights(SimilarityTransfer(), similarity) == pytest.approx([1 - 0.4 * 0.6] * 2)


def test_the_weaker_of_two_gains_what_the_stronger_loses() -> None:
    similarity = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    assert weights(SimilarityTransfer(strength=0.5), similarity) == pytest.approx([1 + 0.5 * 0.4, 1 - 0.5 * 0.4])


def test_strength_zero_changes_nothing() -> None:
    assert weights(SimilarityTransfer(strength=0), drawn(5)) == [1] * 5


def test_a_class_without_samples_stays_neutral_and_counts_in_no_sum() -> None:
    """Whatever its row holds, the others get what they would get without it."""
    similarity = drawn(4)
    count = torch.tensor([3, 0, 3, 3])
    found = weights(SimilarityTransfer(), similarity, count)
    assert found[1] == 1
    rest = [0, 2, 3]
    alone = pair_by_pair(similarity[rest][:, rest], 1.0, [True] * 3)
    assert [found[i] for i in rest] == pytest.approx(alone, abs=1e-12)
    assert found == pytest.approx(pair_by_pair(similarity, 1.0, [True, False, True, True]), abs=1e-12)
    emptied = similarity.clone()
    emptied[1] = 0  # as the loop measures a class without samples
    assert weights(SimilarityTransfer(), emptied, count) == found


def test_a_multiplier_below_zero_becomes_zero() -> None:
    """Every class is taken for the first one, which is the strongest: it would owe more than all it has."""
    similarity = torch.full((8, 8), 0.1 / 7)
    similarity[:, 0] = 0.7
    similarity[0, 0] = 0.9
    found = weights(SimilarityTransfer(), similarity)
    assert 1 - 7 * 0.7 * 0.9 < -3
    assert found[0] == 0
    assert min(found[1:]) > 1
    policy = SimilarityTransfer(warmup=1)
    all_knobs(policy, policy.on_epoch(policy.init(8), stats(similarity, 0)), 8, torch.device("cpu"))


def test_it_acts_once_at_the_end_of_the_warmup() -> None:
    policy = SimilarityTransfer(warmup=3)
    state = policy.init(3)
    seen = []
    for epoch in range(6):
        seen.append(policy.knobs(state)["radius"].tolist())
        state = policy.on_epoch(state, stats(drawn(3, seed=epoch), epoch))
    assert seen[:3] == [[1, 1, 1]] * 3
    assert seen[3] == pytest.approx(pair_by_pair(drawn(3, seed=2), 1.0, [True] * 3))
    assert seen[3] == seen[4] == seen[5]


def test_wrong_fields_and_objectives_are_refused() -> None:
    for fields, message in (
        ({"strength": -1.0}, "strength -1.0 must be a finite number of at least 0"),
        ({"strength": math.nan}, "strength nan"),
        ({"warmup": 0}, "warmup 0 must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            SimilarityTransfer(**fields)
    with pytest.raises(ValueError, match=r"observes 'train_probabilities', which objective '[a-z-]+' does not compute"):
        TrainConfig(policy=SimilarityTransfer(), objective=Natural())
    for objective in (AdversarialTraining(), Trades()):
        assert TrainConfig(policy=SimilarityTransfer(), objective=objective).policy.wants_labels()
