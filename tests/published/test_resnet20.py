"""A published adversarially trained ResNet-20 on the real CIFAR-10, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

import classwise as cw
from classwise.cli import NOT_REPAIRED, OK, run

pytestmark = pytest.mark.slow

# Class-wise PGD-7 accuracy at 8/255 measured when the checkpoint was stored with the reference data, airplane … truck.
MEASURED = np.array([31.7, 40.8, 14.1, 5.5, 8.6, 16.8, 16.0, 29.1, 30.0, 31.8]) / 100


def test_the_audit_gives_the_published_figures(cifar10: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = ["audit", str(checkpoint), "--network", "resnet20", "--data", "cifar10", "--data-dir", str(cifar10)]
    assert run([*words, "--attacks", "pgd-7", "--step-size", "0.01", "--out", str(tmp_path / "audit")]) == 0
    summary = json.loads((tmp_path / "audit" / "summary.json").read_text(encoding="utf-8"))
    (table,) = summary["tables"]
    assert summary["plan"]["split"] == "test"
    assert table["clean"]["n"] == 10_000
    assert table["clean"]["value"] == pytest.approx(0.8803, abs=1e-9)
    assert table["mean"]["value"] == pytest.approx(0.223, abs=0.004)
    # Another random start changes few verdicts of a class: 1.2 points are 12 of its 1,000 images.
    assert np.abs(np.array(table["classes"]["robust"]) - MEASURED).max() <= 0.012
    assert table["weakest"] == "cat"


def test_a_repair_is_measured_before_and_after(cifar10: Path, checkpoint: Path, tmp_path: Path) -> None:
    data = cw.data.load("cifar10", folder=cifar10)
    network = cw.models.ResNetCIFAR(depth=20)
    before = cw.audit(checkpoint, data.test.first_per_class(20), network=network, attacks="pgd-10").save(tmp_path / "a")
    words = ["finetune", str(checkpoint), "--use", "model=resnet20", "--data.folder", str(cifar10)]
    small = ["--split.train-per-class", "30", "--split.fraction", "0", "--epochs", "1"]
    assert run([*words, *small, "--out", str(tmp_path / "repair")]) in (OK, NOT_REPAIRED)  # a few steps may do harm
    repair = cw.Run(tmp_path / "repair")
    (start,) = repair.directory.events.read("start")
    assert 0.1 < np.mean(start["validation"]["raw"]["robust"]) < 0.4
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "repair")]) == 0
    assert cw.compare(before, repair.audit(like=before)).robust.n.tolist() == [20] * 10


@pytest.mark.filterwarnings("always:the start model is not robust:UserWarning")
def test_a_natural_start_is_called_not_robust(
    cifar10: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    natural = shared / "data" / "checkpoints" / "cifar10_resnet20_natural.pth"
    words = ["finetune", str(natural), "--use", "model=resnet20", "--data.folder", str(cifar10)]
    small = ["--split.train-per-class", "13", "--split.fraction", "0", "--epochs", "1"]
    assert run([*words, *small, "--out", str(tmp_path / "repair")]) in (OK, NOT_REPAIRED)  # a few steps may do harm
    said = capsys.readouterr()
    assert "Note: the start model is not robust: 0.0 %" in said.err
    assert "Start model, on 200 validation images" in said.out
