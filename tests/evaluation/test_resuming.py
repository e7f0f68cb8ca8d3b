"""An audit that is killed goes on where it was and ends with the same outcomes, without doing finished work again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import classwise as cw
from classwise import ClassData
from classwise.evaluation import journal as journal_module
from classwise.evaluation.journal import Journal
from classwise.progress import Silent

SUITE = "apgd-ce-6+apgd-t-3+fab-t-3+square-12"
HOW: dict[str, Any] = {
    "threat": [cw.linf("0.12"), cw.linf("0.06")],
    "attacks": SUITE,
    "batch_size": 48,
    "precision": "exact",
    "progress": Silent(),
}


def outcomes_equal(one: cw.AuditResult, other: cw.AuditResult) -> bool:
    columns = vars(one.outcomes)
    return all(np.array_equal(value, getattr(other.outcomes, name)) for name, value in columns.items())


def pieces(folder: Path) -> tuple[list[int], list[tuple[int, int, int, int]]]:
    """Rows with clean verdicts, and (threat, attack, row, run) of the finished runs, as the journal tells them."""
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]]
    clean = [row for each in events if each["event"] == "clean" for row in each["rows"]]
    runs = [
        (each["threat"], each["attack"], row, task)
        for each in events
        if each["event"] == "attack"
        for row, task in zip(each["rows"], each["tasks"], strict=True)
    ]
    return clean, runs


@pytest.fixture(scope="module")
def few(data: ClassData) -> ClassData:
    return data.subset(torch.arange(0, len(data), 2))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verdict is written at once and not after a second."""
    monkeypatch.setattr(journal_module, "EVERY", 0.0)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int, int]]:
    """Finished runs as they are handed to the journal."""
    told: list[tuple[int, int, int, int]] = []
    real = Journal.attack

    def spy(self, threat, attack, rows, tasks, prediction, margin):  # type: ignore[no-untyped-def]
        told.extend((threat, attack, row, task) for row, task in zip(rows.tolist(), tasks.tolist(), strict=True))
        real(self, threat, attack, rows, tasks, prediction, margin)

    monkeypatch.setattr(Journal, "attack", spy)
    return told


@pytest.mark.parametrize("precision", ["exact", "mixed"])
def test_a_killed_audit_goes_on_and_ends_the_same(
    precision: str, few: ClassData, counted: Callable, at_once: None, noted: list, tmp_path: Path
) -> None:
    how = {**HOW, "precision": precision}
    model = counted()
    whole = cw.audit(model, few, **how)
    total = len(type(model).sizes)
    assert 0.1 < whole.mean.value < 0.9
    assert set(whole.outcomes.broken_by[0]) >= {-1, 0}
    early = 12  # the model is still being looked at
    for stop in (early, *(int(share * total) for share in (0.1, 0.5, 0.97))):
        out = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            cw.audit(counted(stop_at=stop), few, **how, out=out)
        assert not (out / "summary.json").exists()
        clean, done = pieces(out)
        assert len(set(clean)) == len(clean)
        assert len(set(done)) == len(done)
        assert (len(done) > 0) == (stop > early)
        noted.clear()
        model = counted()
        resumed = cw.audit(model, few, **how, out=out)
        assert outcomes_equal(resumed, whole), stop
        assert np.array_equal(resumed.examples.perturbed, whole.examples.perturbed)
        assert not set(done) & set(noted)  # nothing that was finished is done again
        assert len(set(noted)) == len(noted)
        calls = len(type(model).sizes)
        assert calls < total if stop > early else calls == total
        if stop > 0.9 * total:
            assert calls < 0.25 * total
        assert not (out / "journal.jsonl").exists()
        assert outcomes_equal(cw.AuditResult.load(out), whole)


def test_an_audit_may_be_killed_again_and_again(
    few: ClassData, counted: Callable, at_once: None, noted: list, tmp_path: Path
) -> None:
    model = counted()
    whole = cw.audit(model, few, **HOW)
    total, kills, calls, finished = len(type(model).sizes), 0, 0, []
    noted.clear()
    while True:
        model = counted(stop_at=total // 4)
        try:
            result = cw.audit(model, few, **HOW, out=tmp_path)
            break
        except KeyboardInterrupt:
            kills += 1
            calls += len(type(model).sizes)
            clean, done = pieces(tmp_path)
            assert len(set(clean)) == len(clean) == len(few)
            assert len(set(done)) == len(done)
            assert set(finished) <= set(done)
            assert len(done) > len(finished)
            finished = done
        assert kills < 20
    assert kills >= 3
    assert outcomes_equal(result, whole)
    assert len(set(noted)) == len(noted)
    assert calls < 2 * total


def test_an_interruption_between_two_writes_loses_nothing(
    few: ClassData, counted: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts are written now and then, and when the audit is interrupted, here in the middle of its first attack."""
    monkeypatch.setattr(journal_module, "EVERY", 1e9)
    with pytest.raises(KeyboardInterrupt):
        cw.audit(counted(stop_at=27), few, **HOW, out=tmp_path)
    clean, done = pieces(tmp_path)
    assert sorted(clean) == list(range(len(few)))
    assert {(threat, attack) for threat, attack, _, _ in done} == {(0, 0)}


def test_verdicts_are_written_while_nothing_more_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second after a verdict it is on disk, also when the next one takes an hour."""
    now = [0.0]
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: now[0])
    kept = Journal(tmp_path / "journal.jsonl", {"plan": 1})
    one = torch.tensor([4])
    kept.attack(0, 0, one, one, one, one.float())
    kept.tick()
    assert pieces(tmp_path) == ([], [])
    now[0] = 1.1
    kept.tick()
    assert pieces(tmp_path) == ([], [(0, 0, 4, 4)])


def test_a_quiet_attack_lets_the_journal_write(
    data: ClassData, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = []
    monkeypatch.setattr(Journal, "tick", lambda self: ticks.append(1))
    cw.audit(
        network, data.first_per_class(1), threat=cw.linf("0.001"), attacks="square-25", progress=Silent(), out=tmp_path
    )
    assert len(ticks) >= 26


def test_margins_come_back_bit_for_bit(data: ClassData, tmp_path: Path) -> None:
    """Floats are written as decimals, and 9 digits would be needed for them all: json writes enough."""
    from classwise.evaluation.board import Board

    margin = torch.rand(len(data), generator=torch.Generator().manual_seed(3)) ** 7 - 1e-3
    rows, prediction = torch.arange(len(data)), data.labels
    kept = Journal(tmp_path / "journal.jsonl", {})
    kept.clean(rows, prediction, margin + 1)
    kept.attack(0, 1, rows, torch.zeros_like(rows), prediction, margin)
    kept.flush()
    board = Board(data, 1)
    assert Journal(tmp_path / "journal.jsonl", {}).replay(board, {0: 1, 1: 1}) == 2 * len(data)
    assert torch.equal(board.margin[0], margin)
    assert torch.equal(board.clean_margin, margin + 1)
    assert board.finished(0, 1, 1).all()
    assert not board.finished(0, 0, 1).any()


@pytest.mark.parametrize("torn", [b'{"event": "attack", "time": 1.0, "threat": 0, "att', b"{", b'{"event": "clean"}'])
def test_a_torn_last_line_is_survived(
    torn: bytes, few: ClassData, counted: Callable, at_once: None, tmp_path: Path
) -> None:
    whole = cw.audit(counted(), few, **HOW)
    with pytest.raises(KeyboardInterrupt):
        cw.audit(counted(stop_at=100), few, **HOW, out=tmp_path)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    with pytest.raises(KeyboardInterrupt):
        cw.audit(counted(stop_at=60), few, **HOW, out=tmp_path)
    for line in path.read_bytes().splitlines():
        json.loads(line)  # the torn one did not spoil the next
    assert outcomes_equal(cw.audit(counted(), few, **HOW, out=tmp_path), whole)


def test_a_kill_within_the_very_first_line(few: ClassData, counted: Callable, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"event": "aud')
    result = cw.audit(counted(), few, **HOW, out=tmp_path)
    assert outcomes_equal(result, cw.audit(counted(), few, **HOW))


def test_a_damaged_line_is_named(few: ClassData, counted: Callable, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cw.audit(counted(stop_at=100), few, **HOW, out=tmp_path)
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], b"nonsense", *lines[3:]]))
    with pytest.raises(ValueError, match=r"line 3 of .*journal\.jsonl.* is damaged: delete this line"):
        cw.audit(counted(), few, **HOW, out=tmp_path)


@pytest.mark.parametrize("changed", ["seed", "threat", "attacks", "batch_size", "precision", "data", "weights"])
def test_a_journal_of_another_audit_is_refused(
    changed: str, few: ClassData, counted: Callable, network: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        cw.audit(counted(stop_at=100), few, **HOW, out=tmp_path)
    before = (tmp_path / "journal.jsonl").read_bytes()
    other = {
        "seed": 1,
        "threat": [cw.linf("0.12"), cw.linf("0.07")],
        "attacks": "apgd-ce-6+apgd-t-3+fab-t-3+square-13",
        "batch_size": 47,
        "precision": "mixed",
    }
    images = few.subset(torch.arange(len(few)).flip(0)) if changed == "data" else few
    model = counted()
    if changed == "weights":
        import copy

        model.net = copy.deepcopy(network)
        with torch.no_grad():
            model.net[1].running_mean[0] += 1e-4  # a buffer is enough
    how = HOW | {key: value for key, value in other.items() if key == changed}
    with pytest.raises(ValueError, match="unfinished audit of another model, or with other settings") as told:
        cw.audit(model, images, **how, out=tmp_path)
    assert "give another folder, or delete this one" in str(told.value)
    assert str(tmp_path) in str(told.value)
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_finished_audit_is_read_and_the_model_only_recognised(
    few: ClassData, counted: Callable, tmp_path: Path
) -> None:
    """By its answers to the first eight images, once together for its shape and once one by one."""
    how = HOW | {"attacks": "pgd-2"}
    first = cw.audit(counted(), few, **how, out=tmp_path)
    model = counted()
    assert outcomes_equal(cw.audit(model, few, **how, out=tmp_path), first)
    assert type(model).sizes == [8] + 8 * [1]
    with pytest.raises(ValueError, match="holds another audit"):
        cw.audit(counted(), few, **how | {"seed": 2}, out=tmp_path)


def test_a_kill_between_the_files_of_the_result(
    few: ClassData, counted: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes are on disk, the summary that seals them is not: nothing but the examples is computed again."""
    how = HOW | {"attacks": "apgd-ce-6"}
    model = counted()
    whole = cw.audit(model, few, **how)
    total = len(type(model).sizes)

    def killed(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("classwise.evaluation.result.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            cw.audit(counted(), few, **how, out=tmp_path)
    assert (tmp_path / "outcomes.npz").is_file()
    with pytest.raises(ValueError, match="holds no finished audit"):
        cw.AuditResult.load(tmp_path)
    model = counted()
    assert outcomes_equal(cw.audit(model, few, **how, out=tmp_path), whole)
    assert len(type(model).sizes) < 0.6 * total


def test_a_run_that_broke_its_sample_does_not_hide_earlier_ones(
    few: ClassData, counted: Callable, evaluate: Callable, by_index: Callable, at_once: None, tmp_path: Path
) -> None:
    """Killed while several target classes of one sample share a batch: the first one that breaks it still counts."""
    how = HOW | {"attacks": "apgd-t-4", "threat": cw.l2(0.7)}
    model = counted()
    whole = cw.audit(model, few, **how)
    total = len(type(model).sizes)
    for stop in range(15, total, 20):
        out = tmp_path / str(stop)
        try:
            cw.audit(counted(stop_at=stop), few, **how, out=out)
        except KeyboardInterrupt:
            assert outcomes_equal(cw.audit(counted(), few, **how, out=out), whole), stop


class Tempered(nn.Module):
    """Has a setting that is no weight."""

    def __init__(self, net: nn.Module, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) - self.temperature * x.flatten(1)[:, :10]


def test_models_without_weights_or_with_settings_are_told_apart(
    few: ClassData, network: nn.Module, tmp_path: Path
) -> None:
    """By their answers: the same function is read again, another function or setting is refused."""
    how = HOW | {"attacks": "pgd-2"}
    first = cw.audit(lambda x: network(x), few, **how, out=tmp_path / "function")
    assert outcomes_equal(cw.audit(lambda x: network(x), few, **how, out=tmp_path / "function"), first)
    with pytest.raises(ValueError, match="holds another audit"):
        cw.audit(lambda x: network(x).flip(1), few, **how, out=tmp_path / "function")
    model = Tempered(network, 0.0)
    cw.audit(model, few, **how, out=tmp_path / "module")
    assert cw.audit(model, few, **how, out=tmp_path / "module").folder == tmp_path / "module"
    model.temperature = 5.0
    with pytest.raises(ValueError, match="holds another audit"):
        cw.audit(model, few, **how, out=tmp_path / "module")


def test_an_attack_that_would_change_the_model_is_refused(few: ClassData, network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an attack with bn_mode 'train' would change the audited model's BatchNorm"):
        cw.audit(network, few, **HOW | {"attacks": cw.attacks.PGD(steps=1, bn_mode="train")}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
