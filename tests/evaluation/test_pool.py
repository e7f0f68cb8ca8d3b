"""Survivors only, re-packed into full batches; broken samples leave at once; never the whole set; progress that adds up."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise import ClassData
from classwise.attacks.stepwise import Rows
from classwise.evaluation.collect import Collected

Seen = list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]
"""Of every step: (sample, run) of the rows that take part, and of those that are fooled after it."""


@pytest.fixture
def watch(data: ClassData, monkeypatch: pytest.MonkeyPatch) -> Callable[[type], Seen]:
    """Takes down who takes part in the steps of a kind of attack."""
    position = {image.numpy().tobytes(): row for row, image in enumerate(data.images)}
    assert len(position) == len(data)

    def watched(kind: type) -> Seen:
        seen: Seen = []
        real = kind.step

        def spy(self: Any, model: Any, threat: Any, rows: Rows, noise: Any) -> Rows:
            who = [(position[x.numpy().tobytes()], int(task)) for x, task in zip(rows.x, rows.task, strict=True)]
            after = real(self, model, threat, rows, noise)
            seen.append((who, [each for each, fooled in zip(who, after.fooled.tolist(), strict=True) if fooled]))
            return after

        monkeypatch.setattr(kind, "step", spy)
        return seen

    return watched


def broken_by(found: Collected, number: int) -> set[int]:
    return set((found.outcomes.broken_by[0] == number).nonzero()[0].tolist())


@pytest.mark.parametrize("attack", ["pgd-8", "apgd-ce-8", "square-60"])
def test_broken_samples_leave_at_once(attack: str, watch: Callable, evaluate: Callable, data: ClassData) -> None:
    kind = {"pgd": cw.attacks.PGD, "apgd": cw.attacks.APGD, "square": cw.attacks.Square}[attack.split("-")[0]]
    seen = watch(kind)
    found = evaluate(attack, batch_size=32)
    gone: set[tuple[int, int]] = set()
    for rows, fooled in seen:
        assert not set(rows) & gone
        gone |= set(fooled)
    assert {sample for sample, _ in gone} == broken_by(found, 0)
    assert len(gone) >= 10
    length = {"pgd-8": 8, "apgd-ce-8": 9, "square-60": 61}[attack]
    steps = {row: sum(row in rows for rows, _ in seen) for row in {row for rows, _ in seen for row in rows}}
    survivors = found.outcomes.robust_correct(0).nonzero()[0].tolist()
    assert all(steps[sample, 0] == length for sample in survivors)
    assert sum(steps[sample] < length for sample in gone) > 5


def test_batches_are_full_while_anyone_waits(watch: Callable, evaluate: Callable, data: ClassData) -> None:
    seen = watch(cw.attacks.PGD)
    found = evaluate("pgd-8", batch_size=32)
    waiting = int(found.outcomes.clean_correct.sum())
    before: set[tuple[int, int]] = set()
    for rows, _ in seen:
        waiting -= len(set(rows) - before)
        before |= set(rows)
        assert len(rows) == 32 or waiting == 0
    assert waiting == 0
    assert 32 * 3 < len(before) < len(data)  # those wrong without attack are never attacked


def test_later_attacks_see_survivors_only(watch: Callable, evaluate: Callable, data: ClassData) -> None:
    seen = watch(cw.attacks.FAB)
    found = evaluate("pgd-3+apgd-t-3+fab-t-3+square-5")
    attacked = {sample for rows, _ in seen for sample, _ in rows}
    wrong = set((~found.outcomes.clean_correct).nonzero()[0].tolist())
    assert not attacked & (broken_by(found, 0) | broken_by(found, 1) | wrong)
    assert attacked == broken_by(found, 2) | broken_by(found, 3) | set(found.outcomes.robust_correct(0).nonzero()[0])
    assert len(broken_by(found, 0)) > 5


def test_target_classes_are_tried_one_after_the_other_while_there_are_many_samples(
    watch: Callable, evaluate: Callable, data: ClassData
) -> None:
    """No second run of a sample begins while first runs wait; a sample broken in its first has no other."""
    seen = watch(cw.attacks.APGD)
    found = evaluate("apgd-t-4", batch_size=16)
    begun = [row for rows, _ in seen for row in rows]
    first_of = {run: next(i for i, row in enumerate(begun) if row[1] == run) for run in range(9)}
    assert sorted(first_of.values()) == [first_of[run] for run in range(9)]
    survivors = found.outcomes.robust_correct(0).nonzero()[0].tolist()
    for sample in survivors:
        assert {run for at, run in begun if at == sample} == set(range(9))
    runs = {sample: {run for at, run in begun if at == sample} for sample in broken_by(found, 0)}
    assert sum(len(each) == 1 for each in runs.values()) > 5


def test_a_sample_is_broken_by_the_first_run_that_breaks_it_alone(
    evaluate: Callable, data: ClassData, watch: Callable
) -> None:
    """Also where a later run that shares its batches breaks it in fewer steps."""
    seen = watch(cw.attacks.APGD)
    images = data.subset(torch.arange(0, len(data), 3))
    found = evaluate("apgd-t-6", images, threat=cw.l2(0.7), batch_size=512)  # all nine runs at once
    shown = {}
    overtaken = 0
    for _, fooled in seen:
        for sample, run in fooled:
            shown.setdefault(sample, []).append(run)
    position = {int(i): row for row, i in enumerate(data.index)}
    for row, index in enumerate(images.index.tolist()):
        runs = shown.get(position[index], [])
        overtaken += bool(runs) and runs[0] != min(runs)
        assert (found.outcomes.broken_by[0][row] == 0) == bool(runs)
    assert overtaken > 0
    one_by_one = evaluate("apgd-t-6", images, threat=cw.l2(0.7), batch_size=8)
    assert np.array_equal(found.outcomes.prediction, one_by_one.outcomes.prediction)
    assert np.allclose(found.outcomes.margin, one_by_one.outcomes.margin, atol=1e-4)


@pytest.mark.parametrize("batch_size", [8, 20, 64])
def test_never_more_than_a_batch_at_once(
    batch_size: int, network: nn.Module, data: ClassData, evaluate: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    moved: list[int] = []
    real, real_to = ClassData.batch, Tensor.to

    def batch(self: ClassData, rows: Tensor | slice, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        asked.append(len(self.labels[rows]))
        return real(self, rows, device)

    def to(self: Tensor, *words: Any, **more: Any) -> Tensor:
        if self.dim() == 4 and self.shape[1:] == data.images.shape[1:]:
            moved.append(len(self))
        return real_to(self, *words, **more)

    monkeypatch.setattr(ClassData, "batch", batch)
    monkeypatch.setattr(Tensor, "to", to)
    sizes: list[int] = []

    def model(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return network(x)

    evaluate("pgd-3+apgd-t-2+square-3", model=model, batch_size=batch_size)
    assert max(asked) <= batch_size
    assert max(moved) <= batch_size
    assert max(sizes) == batch_size
    assert sum(asked) > 2 * len(data)


def test_progress_adds_up_and_names_the_weakest_class(
    evaluate: Callable, watched: Any, data: ClassData, network: nn.Module
) -> None:
    radii = [cw.linf("0.12"), cw.linf("0.05")]
    found = evaluate("pgd-4+apgd-t-3+fab-t-2+square-9", threat=radii, progress=watched)
    assert [label for label, *_ in watched.tasks] == ["audit, clean"] + [
        f"audit, linf {radius}, {attack}"
        for radius in ("0.12", "0.05")
        for attack in ("pgd-4", "apgd-t-3", "fab-t-2", "square-9")
    ]
    for label, total, units, _ in watched.tasks:
        assert sum(units) == total, label
        assert len(units) > 1 or total < 64, label
    clean, survivors = len(data), int(found.outcomes.clean_correct.sum())
    after_pgd = survivors - int((found.outcomes.broken_by[0] == 0).sum())
    assert [total for _, total, *_ in watched.tasks[:3]] == [clean, survivors, 9 * after_pgd]
    shown = [note for _, _, _, notes in watched.tasks for note in notes if note]
    assert all(re.fullmatch(r"robust: at most \d+\.\d %, [0-9] \d+\.\d %", note) for note in shown)
    for radius, last in ((0, 4), (1, 8)):
        table = found.outcomes.table(radius, data.group_names)
        notes = [note for _, _, _, notes in watched.tasks[last - 3 : last + 1] for note in notes if note]
        robust = np.array([row["robust"] for row in table.rows()])
        weakest, rate = table.weakest, robust.min()
        assert notes[-1] == f"robust: at most {100 * table.mean.value:.1f} %, {weakest} {100 * rate:.1f} %"
        bounds = [float(note.split()[3]) for note in notes]
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[0] > bounds[-1]


def test_progress_of_a_resumed_audit_adds_up(counted: Callable, data: ClassData, watched: Any, tmp_path: Any) -> None:
    how = {"attacks": "pgd-4+apgd-t-3", "threat": cw.linf("0.12"), "batch_size": 32, "out": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        cw.audit(counted(stop_at=60), data, **how, progress=type(watched)())
    cw.audit(counted(), data, **how, progress=watched)
    totals = [total for _, total, *_ in watched.tasks]
    assert totals[:2] == [0, 0]
    assert totals[2] > 0
    assert all(sum(units) == total for _, total, units, _ in watched.tasks)


def test_groups_are_what_the_note_is_about(
    network: nn.Module, data: ClassData, evaluate: Callable, watched: Any
) -> None:
    grouped = ClassData(data.images, data.labels, data.class_names, data.index, data.labels % 2, ("even", "odd"))
    evaluate("pgd-4", grouped, progress=watched)
    notes = [note for *_, notes in watched.tasks for note in notes if note]
    assert {note.split(", ")[1].split()[0] for note in notes} <= {"even", "odd"}


def test_perturbed_images_are_those_of_the_verdicts(evaluate: Callable, network: nn.Module, data: ClassData) -> None:
    """Each attack is run again alone, on what it broke."""
    from classwise.attacks import attack_list
    from classwise.evaluation import Evaluator

    threat, suite = cw.linf("0.12"), "square-60+apgd-t-6"
    outcomes = evaluate(suite).outcomes
    again = Evaluator([threat], attack_list(suite), batch_size=32)
    for number in range(2):
        rows = (outcomes.broken_by[0] == number).nonzero()[0]
        chosen = data.subset(torch.from_numpy(rows))
        images = again.perturb(network, chosen, number)
        with torch.no_grad():
            logits = network(images)
        assert np.array_equal(logits.argmax(1).numpy(), outcomes.prediction[0][rows])
        assert float((images - chosen.images).abs().max()) <= 0.12 + 1e-6
        own = logits.gather(1, chosen.labels[:, None])[:, 0]
        rest = logits.scatter(1, chosen.labels[:, None], float("-inf")).amax(1)
        assert np.allclose((own - rest).numpy(), outcomes.margin[0][rows], atol=1e-4)
        assert len(rows) >= 5
    assert len(again.perturb(network, data.subset(torch.arange(0)), 0)) == 0
