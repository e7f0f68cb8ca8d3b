"""A verdict depends on the sample alone: not on order, company, batches or when the host looks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

import classwise as cw
from classwise import ClassData
from classwise.evaluation import pool

NORMS = {"linf": cw.linf("0.12"), "l2": cw.l2(0.7), "l1": cw.l1(3)}
CASES = [
    *[("linf", attack, p) for attack in ("pgd-10", "apgd-ce-10", "apgd-t-5", "fab-t-5", "fab-5", "square-40")
      for p in ("exact", "mixed")],
    *[("l2", attack, "exact") for attack in ("pgd-10", "apgd-ce-10", "apgd-t-5", "fab-t-5", "square-40")],
    *[("l1", attack, "exact") for attack in ("pgd-10", "apgd-t-5")],
]  # fmt: skip


def others(data: ClassData) -> list[ClassData]:
    """The same samples in another order, a third of them in that order, two, and one alone."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    return [data.subset(order), data.subset(order[: len(order) // 3]), data.subset(order[7:9]), data.subset(order[:1])]


@pytest.mark.parametrize(("norm", "attack", "precision"), CASES)
def test_order_and_company_change_nothing(
    norm: str, attack: str, precision: str, data: ClassData, evaluate: Callable, by_index: Callable
) -> None:
    """Of targeted attacks several runs of one sample share a batch when few samples are left: the first one counts."""
    how = {"threat": NORMS[norm], "precision": precision}
    found = evaluate(attack, **how)
    whole = by_index(found.outcomes)
    broken = found.outcomes.clean_correct & ~found.outcomes.robust_correct(0)
    assert 3 < broken.sum() < len(data)
    for images in others(data):
        assert by_index(evaluate(attack, images, **how).outcomes) == {int(i): whole[int(i)] for i in images.index}


@pytest.mark.parametrize("attack", ["pgd-10", "apgd-t-5", "square-30", "fab-t-9"])
def test_looking_seldom_changes_nothing_either(
    attack: str, data: ClassData, evaluate: Callable, by_index: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator, where the host looks every few steps; runs of these lengths end between two looks."""
    often = evaluate(attack)
    monkeypatch.setattr(pool, "between_looks", lambda device: 8)
    found = evaluate(attack)
    whole = by_index(found.outcomes)
    for images in others(data):
        assert by_index(evaluate(attack, images).outcomes) == {int(i): whole[int(i)] for i in images.index}
    assert np.array_equal(often.outcomes.robust_correct(0), found.outcomes.robust_correct(0))


def test_a_seldom_looking_pool_runs_no_more_steps_than_a_run_has(
    evaluate: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    real = cw.attacks.PGD.step

    def spy(self, model, threat, rows, noise):  # type: ignore[no-untyped-def]
        steps.append(int(rows.step.max()))
        return real(self, model, threat, rows, noise)

    monkeypatch.setattr(cw.attacks.PGD, "step", spy)
    monkeypatch.setattr(pool, "between_looks", lambda device: 8)
    evaluate("pgd-11")
    assert max(steps) == 10
    assert len(steps) > 22  # more than one filling of the batch


def test_every_attack_run_and_step_draws_its_own_noise(
    data: ClassData, evaluate: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two equal attacks the second would otherwise repeat the first, and so would restarts and proposals."""
    drawn: list[tuple[float, ...]] = []

    def drawing(real):  # type: ignore[no-untyped-def]
        def call(self, model, threat, rows, noise):  # type: ignore[no-untyped-def]
            drawn.extend(map(tuple, noise.uniform(torch.empty(len(rows), 3)).tolist()))
            return real(self, model, threat, rows, noise)

        return call

    for name in ("begin", "step"):
        monkeypatch.setattr(cw.attacks.Square, name, drawing(getattr(cw.attacks.Square, name)))
    attack = cw.attacks.Square(queries=3, restarts=2)
    few = data.subset(torch.arange(30))
    robust = evaluate([attack, attack], few, threat=cw.linf("0.001")).outcomes.robust_correct(0).sum()
    assert robust > 20
    assert len(drawn) == robust * 2 * 2 * (1 + 4)
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_another_seed_draws_other_starts(precision: str, evaluate: Callable, by_index: Callable) -> None:
    first, second = (by_index(evaluate("pgd-3", seed=seed, precision=precision).outcomes) for seed in (0, 1))
    assert sum(first[i][3] != second[i][3] for i in first) > len(first) / 2


def test_noise_belongs_to_the_sample_and_not_to_its_position(data: ClassData, evaluate: Callable) -> None:
    """The same image under two indices starts elsewhere, and under one index at the same place."""
    twice = ClassData(data.images[[0, 0]], data.labels[[0, 0]], data.class_names, torch.tensor([3, 4]))
    margin = evaluate("pgd-1", twice).outcomes.margin[0]
    assert margin[0] != margin[1]
    other = ClassData(data.images[[1, 0]], data.labels[[1, 0]], data.class_names, torch.tensor([3, 4]))
    assert evaluate("pgd-1", other).outcomes.margin[0][1] == margin[1]


@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_other_batch_sizes_agree_on_the_small_set(precision: str, evaluate: Callable) -> None:
    verdicts = [
        evaluate("pgd-10", batch_size=size, precision=precision).outcomes.robust_correct(0) for size in (64, 8, 17, 300)
    ]
    assert 10 < verdicts[0].sum() < 110
    for each in verdicts[1:]:
        assert np.array_equal(each, verdicts[0])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_other_batch_sizes_agree_on_999_of_1000_verdicts(
    precision: str, test_images: ClassData, evaluate: Callable
) -> None:
    """Over 596 images, clean and at two radii."""
    how = {"threat": [cw.linf("0.12"), cw.linf("0.08")], "precision": precision}
    verdicts = []
    for size in (64, 8, 17, 300):
        outcomes = evaluate("apgd-ce-5+apgd-t-2+fab-t-2+square-10", test_images, batch_size=size, **how).outcomes
        verdicts.append(np.concatenate([outcomes.clean_correct, *(outcomes.robust_correct(r) for r in (0, 1))]))
    assert len(verdicts[0]) == 3 * 596
    for each in verdicts[1:]:
        assert (each == verdicts[0]).mean() >= 0.999
