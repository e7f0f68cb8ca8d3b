"""Orders of an epoch: plain ones as ever, balanced ones with equal shares; and the sentence on imbalance."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import classwise as cw
from classwise.cli import run as command
from classwise.data import ClassData, Dataset, Loader, NoAugmentation, Split
from classwise.data.imbalance import describe_balance, imbalance
from classwise.data.order import epoch_order
from classwise.progress import PlainLines, Silent


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels_of(counts: list[int], seed: int = 4) -> torch.Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=generator(seed))]


def test_a_plain_order_is_the_generators_permutation() -> None:
    labels = labels_of([5, 20, 3])
    order = epoch_order(labels, labels % 2, generator(7))
    assert order.tolist() == torch.randperm(28, generator=generator(7)).tolist()


@pytest.mark.parametrize("counts", [[100, 10, 1], [7, 7, 7], [50, 3], [1, 1, 1, 1, 97], [40]])
def test_a_balanced_epoch_draws_classes_and_their_samples_equally_often(counts: list[int]) -> None:
    labels = labels_of(counts)
    order = epoch_order(labels, labels, generator(), balanced=True)
    assert len(order) == len(labels)
    per_class = torch.bincount(labels[order], minlength=len(counts))
    assert int(per_class.max() - per_class.min()) <= 1
    times = torch.bincount(order, minlength=len(labels))
    for label in range(len(counts)):
        of_class = times[labels == label]
        assert int(of_class.max() - of_class.min()) <= 1


def test_within_a_class_its_groups_are_drawn_equally_often() -> None:
    labels, groups = labels_of([90, 30]), torch.zeros(120, dtype=torch.int64)
    for label, count in ((0, 9), (1, 20)):  # the small site's images of each class
        groups[(labels == label).nonzero()[:count, 0]] = 1
    groups[(labels == 1).nonzero()[20:25, 0]] = 2  # a site that has one class only
    order = epoch_order(labels, groups, generator(), balanced=True)
    drawn = torch.stack([labels[order], groups[order]], 1)
    cells = {(a, b): int((drawn == torch.tensor([a, b])).all(1).sum()) for a in (0, 1) for b in (0, 1, 2)}
    assert cells == {(0, 0): 30, (0, 1): 30, (0, 2): 0, (1, 0): 20, (1, 1): 20, (1, 2): 20}


def test_all_samples_of_a_large_class_get_their_turn() -> None:
    labels, state = labels_of([90, 10]), generator()
    times = sum(torch.bincount(epoch_order(labels, labels, state, balanced=True), minlength=100) for _ in range(200))
    of_large = times[labels == 0] / 200  # mean 50 / 90, standard error 0.035
    assert of_large.min() > 0.40
    assert of_large.max() < 0.71
    assert torch.equal(times[labels == 1], torch.full((10,), 1000))  # five times in each of 200 epochs


def test_groups_that_are_the_labels_and_saved_states_change_nothing() -> None:
    labels = labels_of([30, 5, 8])
    first, second = generator(3), generator(3)
    for _ in range(3):
        a, b = (
            epoch_order(labels, groups, state, True) for groups, state in ((labels, first), (labels.clone(), second))
        )
        assert a.equal(b)
    state = first.get_state()
    after = epoch_order(labels, labels, first, True)
    first.set_state(state)
    assert epoch_order(labels, labels, first, True).equal(after)
    assert not epoch_order(labels, labels, first, True).equal(after)


def toy(counts: list[int], seed: int = 0, **fields: Any) -> ClassData:
    labels = labels_of(counts)
    pixels = torch.rand(len(labels), 1, 3, 3, generator=generator(seed))
    return ClassData(pixels, labels, tuple("abc"[: len(counts)]), **fields)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_loader_walks_the_balanced_order_in_every_process(world: int) -> None:
    data = toy([30, 6])
    expected = epoch_order(data.labels, data.groups, generator(1), balanced=True)
    cpu = torch.device("cpu")
    parts = [
        list(Loader(data, 8, NoAugmentation(), cpu, generator(1), generator(2), rank, world, balanced=True))
        for rank in range(world)
    ]
    assert [len(part) for part in parts] == [5] * world
    for step in range(5):
        whole = torch.empty(parts[0][step].total, dtype=torch.int64)
        for part in parts:
            whole[part[step].rows] = part[step].index
        assert whole.equal(expected[8 * step : 8 * step + 8])


def config(**changes: Any) -> cw.TrainConfig:
    fields = {
        "model": cw.models.Linear(),
        "split": Split(at_least=2),
        "batch_size": 8,
        "epochs": 2,
        "adversary": cw.attacks.PGD(steps=1),
        "validation_attack": cw.attacks.PGD(steps=1),
    }
    return cw.recipe("digits-pgd-at", **(fields | changes))


def test_a_balanced_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    data = Dataset("toy", toy([40, 8]), lambda: pytest.fail("read"))
    whole = cw.train(config(balanced=True), tmp_path / "whole", data=data, progress=Silent())
    plain = cw.train(config(), tmp_path / "plain", data=data, progress=Silent())

    class Stopped(Exception):
        pass

    class StopsAfterAnEpoch(Silent):
        def task(self, label: str, total: int) -> Any:
            from contextlib import contextmanager

            @contextmanager
            def shown() -> Any:
                done = 0

                def advance(units: int = 1, note: str = "") -> None:
                    nonlocal done
                    done += units
                    if done == total // 2 + 2:
                        raise Stopped

                yield advance

            return shown() if label == "train" else super().task(label, total)

    with pytest.raises(Stopped):
        cw.train(config(balanced=True), tmp_path / "halted", data=data, progress=StopsAfterAnEpoch())
    resumed = cw.train(config(balanced=True), tmp_path / "halted", data=data, progress=Silent())
    weights = [run.model("last").state_dict() for run in (whole, resumed, plain)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert not all(weights[0][name].equal(weights[2][name]) for name in weights[0])


def test_statistics_of_a_class_are_over_its_own_images(tmp_path: Path) -> None:
    data = toy([60, 12])
    run = cw.train(
        config(split=Split(fraction=0.25, at_least=0)),
        tmp_path / "run",
        data=Dataset("toy", data, lambda: toy([10, 4], seed=5)),
        progress=Silent(),
    )
    assert run.history[-1]["validation"]["raw"]["n"] == [15, 3]
    table = run.audit(attacks="fgsm", progress=Silent()).table()
    assert table.n.tolist() == [10, 4]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ([5, 5, 5], "The 3 classes are balanced: 5 images each."),
        ([10, 11, 12], "The 3 classes are nearly balanced: 'c' has 12 images and 'a' 10 (1.2 times as many)."),
        (
            [100, 5],
            "The 2 classes are imbalanced: 'a' has 100 images and 'b' 5 (20 times as many). Every figure of a class is",
        ),
        ([4, 0, 4], "The 3 classes are imbalanced: 'a' has 4 images and 'b' none."),
    ],
)
def test_the_sentence_on_imbalance(counts: list[int], sentence: str) -> None:
    data = toy(counts)
    assert describe_balance(data).startswith(sentence)
    assert imbalance(data) == max(counts) / min(count for count in counts if count)


@pytest.mark.parametrize(
    ("counts", "balanced", "said"), [([40, 10], False, True), ([40, 10], True, False), ([20, 20], False, False)]
)
def test_training_says_it_where_nothing_is_done_about_it(
    counts: list[int], balanced: bool, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Dataset("toy", toy(counts), lambda: pytest.fail("read"))
    for name, progress in (("a", PlainLines()), ("b", Silent())):
        cw.train(config(epochs=1, balanced=balanced), tmp_path / name, data=data, progress=progress)
        shown = "are imbalanced" in capsys.readouterr().err
        assert shown == (said and name == "a")


def test_the_flag(tmp_path: Path) -> None:
    words = [
        "train",
        "digits-pgd-at",
        "--balanced",
        "--epochs",
        "1",
        "--use",
        "model=linear",
        "--out",
        str(tmp_path / "run"),
    ]
    assert command([*words, "--adversary.steps", "1", "--validation-attack.steps", "1"]) == 0
    assert cw.Run(tmp_path / "run").config.balanced
    assert "duplicates" in json.loads((tmp_path / "run" / "splits.json").read_text())
