"""``classwise certify``."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from classwise import Run, recipe, train
from classwise.api import certify
from classwise.cli.certify import main
from classwise.data import Split
from classwise.evaluation.certificates import CertifyResult
from classwise.models import Linear
from classwise.progress import Silent
from classwise.training import Hardware

QUICK = ["--sigma", "0.25", "--n", "200", "--every", "20", "--device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    changes = {
        "model": Linear(),
        "epochs": 1,
        "split": Split(at_least=4),
        "hardware": Hardware(device="cpu", threads=1),
    }
    config = recipe("digits-gaussian-noise", **changes)
    return train(config, tmp_path_factory.mktemp("certify") / "run", progress=Silent())


def test_a_run_is_certified_on_its_own_images_and_keeps_the_result(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.path), *QUICK, "--radius", "0", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "certified % at 0.1" in printed
    assert "weakest at 0.1" in printed
    (folder,) = (run.path / "certificates").iterdir()
    assert f"Saved in {folder}" in printed
    saved = CertifyResult.load(folder)
    assert saved.plan.samples == len(saved.certificates.index) < 40
    direct = certify(run.model(), run.dataset.test, sigma="0.25", n=200, every=20).certificates
    for name, values in vars(direct).items():
        assert np.array_equal(getattr(saved.certificates, name), values)
    before = (folder / "summary.json").stat().st_mtime_ns
    assert main([str(run.path), *QUICK]) == 0  # read, not made again
    assert (folder / "summary.json").stat().st_mtime_ns == before


def test_weights_are_certified_where_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(dict(run.model().state_dict()), tmp_path / "net.safetensors")
    words = [str(tmp_path / "net.safetensors"), *QUICK, "--data", "digits", "--network", "linear"]
    assert main([*words, "--out", str(tmp_path / "out"), "--stop", "split-alpha", "--enough", "0.1"]) == 0
    assert "stop split-alpha" in capsys.readouterr().out
    saved = CertifyResult.load(tmp_path / "out")
    assert set(saved.certificates.votes.tolist()) <= {3, 12, 50, 200}
    folder, _ = run.checkpoint()
    assert main([str(folder), *QUICK]) == 0
    assert "Saved" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sigma", "0"], "sigma must be above 0"),
        (["--sigma", "0.25", "--every", "0"], "at least every 1st"),
        (["--sigma", "0.25", "--stop", "split-alpha"], "set enough"),
        (["--sigma", "0.25", "--checkpoint", "7"], "no checkpoint '7'"),
    ],
)
def test_mistakes_are_named(run: Run, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main([str(run.path), *words])


def test_what_other_models_need_is_asked_for(run: Run, tmp_path: Path) -> None:
    torch.save(run.model().state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match="say which images"):
        main([str(tmp_path / "net.pt"), *QUICK])
    with pytest.raises(ValueError, match="--checkpoint names a checkpoint of a run"):
        main([str(tmp_path / "net.pt"), *QUICK, "--checkpoint", "best"])
