"""A checkpoint picked on test images is called that, and is the one a search by hand finds."""

from pathlib import Path

import pytest
import torch

import classwise as cw
from classwise.averaging import EpochEMA
from classwise.cli import run as command
from classwise.picked import candidates, picked_on_test
from classwise.progress import Silent
from classwise.selection import BestAverage, BestSum, BestWorst, Last


def images(seed: int, per_class: int = 20) -> cw.ClassData:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3 * per_class) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(99))
    x = (0.4 * pattern[labels] + 0.6 * torch.rand(len(labels), 1, 4, 4, generator=generator)).clamp(0, 1)
    return cw.ClassData(x, labels, ("a", "b", "c"))


@pytest.fixture
def finished(tmp_path: Path) -> cw.Run:
    config = cw.TrainConfig(
        split=cw.data.Split(at_least=4),
        model=cw.models.Linear(),
        threat=cw.linf("0.05"),
        adversary=cw.attacks.PGD(steps=1),
        validation_attack=cw.attacks.PGD(steps=1),
        averaging=EpochEMA(decay=0.7, start=1),
        epochs=4,
        batch_size=8,
        keep_every=1,
    )
    return cw.train(
        config, tmp_path / "run", data=cw.Dataset("toy", images(0), lambda: images(1, 40)), progress=Silent()
    )


@pytest.mark.parametrize("rule", [BestAverage(), BestWorst(), BestSum()])
def test_the_best_on_test_images(finished: cw.Run, rule: cw.selection.Selection) -> None:
    assert candidates(finished) == ["1", "2", "2-averaged", "3", "3-averaged", "4", "4-averaged"]
    picked = picked_on_test(finished, rule, attacks="pgd-1", progress=Silent())
    scores = []
    for name in candidates(finished):
        robust = finished.audit(checkpoint=name, attacks="pgd-1", progress=Silent()).table().robust
        average, worst = float(robust.mean()), float(robust.min())
        scores.append({"best-average": average, "best-worst": worst, "best-sum": average + worst}[rule.registered_name])
    table = picked.table().robust
    found = {"best-average": table.mean(), "best-worst": table.min(), "best-sum": table.mean() + table.min()}
    assert found[rule.registered_name] == pytest.approx(max(scores), abs=1e-12)
    assert len(set(scores)) > 1
    first = str(picked).splitlines()[0]
    assert first.startswith(
        f"PICKED ON TEST IMAGES ({rule.registered_name} of 7 checkpoints), so its figures are too high"
    )
    assert picked.folder is not None
    assert str(cw.AuditResult.load(picked.folder)).splitlines()[0] == first


def test_the_selected_checkpoint_and_its_audit_stay_as_they_were(finished: cw.Run) -> None:
    before, honest = finished.checkpoint(), finished.audit(attacks="pgd-1", progress=Silent())
    picked_on_test(finished, attacks="pgd-1", progress=Silent())
    again = finished.audit(attacks="pgd-1", progress=Silent())
    assert finished.checkpoint() == before
    assert again.plan == honest.plan
    assert "PICKED" not in str(again)


def test_the_command_refuses_flags_that_contradict_it(finished: cw.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["audit", str(finished.path), "--picked-on-test", "--checkpoint", "best"]) == 2
    assert "leave --checkpoint and --shard out" in capsys.readouterr().err


def test_what_cannot_be_picked_is_refused(finished: cw.Run, tmp_path: Path) -> None:
    every = cw.configuration.replace(finished.config, selection=Last())
    data = cw.Dataset("toy", images(0), lambda: images(1, 40))
    run = cw.train(every, tmp_path / "last", data=data, progress=Silent())
    assert "(best-sum of 7 checkpoints)" in picked_on_test(run, attacks="pgd-1", progress=Silent()).plan.model
    with pytest.raises(ValueError, match="the rule 'last' picks nothing"):
        picked_on_test(finished, Last(), progress=Silent())
    with pytest.raises(ValueError, match="holds no averaged weights"):
        finished.model("1-averaged")
    for number in (1, 2, 3):
        finished.directory.checkpoints.path(number).rename(tmp_path / str(number))
    with pytest.raises(ValueError, match="no checkpoint '3'"):
        finished.checkpoint("3")
    config = cw.configuration.replace(finished.config, averaging=cw.averaging.NoAveraging(), keep_every=0, epochs=1)
    data = cw.Dataset("toy", images(0), lambda: images(1, 40))
    single = cw.train(config, tmp_path / "single", data=data, progress=Silent())
    with pytest.raises(
        ValueError, match=r"kept only its last and its selected checkpoints: .* train with keep_every 1"
    ):
        picked_on_test(single, progress=Silent())
