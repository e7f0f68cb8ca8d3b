"""Certificates depend on the sample alone: not on order, company, batches, or how often the run was killed."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classwise import ClassData
from classwise.api import certify
from classwise.evaluation.certificates import Certificates, CertifyResult
from classwise.evaluation.certify import run_certify
from classwise.evaluation.smoothing import SELECTION, Smoothed

SETTINGS: dict[str, Any] = {"sigma": 0.3, "n0": 50, "n": 400, "every": 1, "batch_size": 128}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    with torch.no_grad():
        model[3].weight.mul_(3)
    return model.eval()


@pytest.fixture(scope="module")
def data(model: nn.Module) -> ClassData:
    images = torch.rand(70, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    return ClassData(images, model(images).argmax(1), ("a", "b", "c", "d"), groups=torch.arange(70) % 2,
                     group_names=("even", "odd"))  # fmt: skip


def by_index(found: Certificates) -> dict[int, tuple[float, ...]]:
    columns = (found.prediction, found.radius, found.votes, found.hits)
    return dict(zip(found.index.tolist(), zip(*(each.tolist() for each in columns), strict=True), strict=True))


@pytest.fixture(scope="module")
def reference(model: nn.Module, data: ClassData) -> dict[int, tuple[float, ...]]:
    found = certify(model, data, **SETTINGS).certificates
    assert 5 < found.abstained.sum() < 65  # verdicts of both kinds, so that comparisons say something
    return by_index(found)


def test_order_and_company_change_nothing(model: nn.Module, data: ClassData, reference: dict) -> None:
    shuffled = torch.randperm(70, generator=torch.Generator().manual_seed(3))
    assert by_index(certify(model, data.subset(shuffled), **SETTINGS).certificates) == reference
    part = shuffled[:23]
    found = by_index(certify(model, data.subset(part), **SETTINGS).certificates)
    assert found == {int(i): reference[int(i)] for i in part}


@pytest.mark.parametrize("batch_size", [50, 100, 1000])
def test_another_batch_size_changes_almost_no_vote(
    model: nn.Module, data: ClassData, reference: dict, batch_size: int
) -> None:
    """The noise is the same; the network may round otherwise, which can flip a vote on the border."""
    other = by_index(certify(model, data, **{**SETTINGS, "batch_size": batch_size}).certificates)
    off = [abs(other[i][3] - reference[i][3]) for i in reference]
    assert max(off) <= 1
    assert sum(off) <= 2


def test_another_seed_draws_other_votes(model: nn.Module, data: ClassData, reference: dict) -> None:
    assert by_index(certify(model, data, **SETTINGS, seed=1).certificates) != reference


def test_votes_add_up_over_copies_and_streams_differ(model: nn.Module, data: ClassData) -> None:
    smoothed = Smoothed(model, 4, 0.3, seed=5, batch_size=64)
    x, index = data.images[:6], data.index[:6]
    whole = smoothed.votes(x, index, range(100), SELECTION)
    assert whole.sum(1).tolist() == [100] * 6
    halves = smoothed.votes(x, index, range(37), SELECTION) + smoothed.votes(x, index, range(37, 100), SELECTION)
    assert np.array_equal(whole, halves)
    assert not np.array_equal(whole, smoothed.votes(x, index, range(100), SELECTION + 1))
    assert not np.array_equal(whole, smoothed.votes(x, index, range(100, 200), SELECTION))
    assert smoothed.predict(x, index, n=300).tolist() == smoothed.predict(x, index, n=300).tolist()


def test_copies_of_an_image_are_independent_and_normal() -> None:
    seen: list[Tensor] = []

    def watch(x: Tensor) -> Tensor:
        seen.append(x.flatten(1))
        return x.flatten(1)[:, :2]

    Smoothed(watch, 2, 0.5, batch_size=2000).votes(torch.full((2, 1, 3, 3), 0.25), torch.tensor([4, 9]), range(1000), 1)
    noise = (torch.cat(seen).double() - 0.25) / 0.5
    assert noise.shape == (2000, 9)
    assert abs(float(noise.mean())) < 4 / (18_000**0.5)
    assert abs(float(noise.var()) - 1) < 4 * (2 / 18_000) ** 0.5
    between_copies = torch.corrcoef(noise.T) - torch.eye(9)
    assert float(between_copies.abs().max()) < 4.5 / 2000**0.5
    assert abs(float((noise[:1000] * noise[1000:]).mean())) < 4 / 9000**0.5
    assert abs(float((noise[:-1] * noise[1:]).mean())) < 4 / 18_000**0.5
    assert len(noise.unique(dim=0)) == 2000


class Killed(Exception):
    pass


class Fragile:
    """A progress display that gives up after so many images."""

    def __init__(self, model_calls: int) -> None:
        self.left = model_calls

    @contextmanager
    def task(self, label: str, total: int):
        def advance(units: int = 1, note: str = "") -> None:
            self.left -= 1
            if self.left < 0:
                raise Killed

        yield advance


@pytest.mark.parametrize("stop", [{}, {"stop": "split-alpha", "enough": 0.1, "looks": 3}])
def test_a_killed_run_goes_on_and_ends_the_same(model: nn.Module, data: ClassData, stop: dict, tmp_path: Path) -> None:
    settings = {**SETTINGS, **stop}
    whole = certify(model, data, **settings)
    for patience in (30, 60, 90):
        with pytest.raises(Killed):
            certify(model, data, **settings, out=tmp_path / "out", progress=Fragile(patience))
        journal = (tmp_path / "out/journal.jsonl").read_bytes()
        assert journal.endswith(b"\n")
        (tmp_path / "out/journal.jsonl").write_bytes(journal + b'{"event": "found", "samp')  # a kill within a line
    events = [json.loads(line) for line in journal.splitlines()]
    finished = [row[0] for event in events if event["event"] == "found" for row in event["samples"]]
    assert 0 < len(finished) < 70
    assert len(set(finished)) == len(finished)  # none was made twice
    resumed = certify(model, data, **settings, out=tmp_path / "out")
    assert by_index(resumed.certificates) == by_index(whole.certificates)
    assert str(resumed) == str(whole)
    again = certify(model, data, **settings, out=tmp_path / "out", progress=Fragile(0))  # nothing is left to do
    assert by_index(again.certificates) == by_index(whole.certificates)


def test_a_folder_of_something_else_is_refused(model: nn.Module, data: ClassData, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        certify(model, data, **SETTINGS, out=out, progress=Fragile(30))
    with pytest.raises(ValueError, match=r"holds another certification \(sampling\.sigma: 0\.3 → 0\.5\)"):
        certify(model, data, **{**SETTINGS, "sigma": 0.5}, out=out)
    torch.manual_seed(9)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    with pytest.raises(ValueError, match=r"holds another certification \(another model\)"):
        certify(other, data, **SETTINGS, out=out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other files \(notes\.txt\)"):
        certify(model, data, **SETTINGS, out=tmp_path / "full")
    certify(model, data, **SETTINGS, out=out)
    with pytest.raises(ValueError, match="holds another certification"):
        certify(model, data, **SETTINGS, seed=4, out=out)


def test_models_that_cannot_be_certified_are_refused(model: nn.Module, data: ClassData, tmp_path: Path) -> None:
    model.train()
    with pytest.raises(ValueError, match="train mode"):
        certify(model, data, **SETTINGS)
    model.eval()
    with pytest.raises(ValueError, match="remove its final softmax"):
        certify(nn.Sequential(model, nn.Softmax(1)).eval(), data, **SETTINGS, out=tmp_path / "out")
    certify(model, data, **SETTINGS, out=tmp_path / "out")  # nothing was written, so the mended call may go there

    def fails_under_noise(x: Tensor) -> Tensor:
        logits = x.flatten(1)[:, :4].clone()
        logits[x.flatten(1).amin(1) < 0] = float("nan")
        return logits

    with pytest.raises(ValueError, match="not finite under noise"):
        certify(fails_under_noise, data, **SETTINGS)


def test_progress_covers_every_vote_also_where_voting_ends_early(model: nn.Module, data: ClassData) -> None:
    for stop in ({}, {"stop": "abstain"}, {"stop": "split-alpha", "enough": 0.1}):
        told: list[int] = []

        class Count:
            @contextmanager
            def task(self, label: str, total: int, told: list[int] = told):
                yield lambda units=1, note="": told.append(units)
                assert sum(told) == total == 20 * 450

        certify(model, data.subset(torch.arange(20)), **SETTINGS, **stop, progress=Count())


def test_the_host_waits_once_per_stage_and_not_per_batch(
    model: nn.Module, data: ClassData, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[str] = []
    to_host: dict[str, Callable] = {name: getattr(Tensor, name) for name in ("__bool__", "cpu", "item", "tolist")}
    for name, real in to_host.items():
        monkeypatch.setattr(Tensor, name, lambda *a, name=name, real=real, **k: waits.append(name) or real(*a, **k))
    smoothed = Smoothed(model, 4, 0.3, batch_size=16)
    x, index = data.images[:3], data.index[:3]
    for copies in (10, 1000):
        waits.clear()
        smoothed.votes(x, index, range(copies), SELECTION)
        assert sorted(waits) == ["__bool__", "cpu"]


def test_a_sealed_result_is_read_and_not_made_again(model: nn.Module, data: ClassData, tmp_path: Path) -> None:
    first = certify(model, data, **SETTINGS, out=tmp_path / "out")
    loaded = CertifyResult.load(tmp_path / "out")
    assert by_index(loaded.certificates) == by_index(first.certificates)
    calls: list[int] = []

    def other(x: Tensor) -> Tensor:
        calls.append(len(x))
        return model(x).flip(1)

    with pytest.raises(ValueError, match=r"holds another certification \(another model\)"):
        run_certify(other, data, first.plan, torch.device("cpu"), folder=tmp_path / "out")
    looks = [8] + 8 * [1]  # asked for its shape and to recognise it, and for nothing else
    assert calls == looks
    calls.clear()
    handle = model.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    again = run_certify(model, data, first.plan, torch.device("cpu"), folder=tmp_path / "out")
    handle.remove()
    assert by_index(again.certificates) == by_index(first.certificates)
    assert calls == looks
