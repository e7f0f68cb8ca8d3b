"""Whether a policy did anything is told from the history, and a policy that did nothing is called that."""

from pathlib import Path
from typing import Any

import pytest

import classwise as cw
from classwise.cli.show import run_summary
from classwise.policies import KLDRO, CalibratedRadius, Combined
from classwise.progress import Silent
from classwise.runs.acted import action, first_acts, inaction


def entry(epoch: int, knobs: dict[str, list[float]], weight: list[float] | None = None) -> dict[str, Any]:
    train: dict[str, Any] = {"count": [5, 5, 0]}
    return {"epoch": epoch, "knobs": knobs, "train": train | ({"batch_weight": weight} if weight else {})}


def test_the_first_epoch_of_each_knob() -> None:
    history = [
        entry(0, {"radius": [1, 1, 1], "step": [1, 1, 1]}, [1.0, 1.0, 0.0]),  # the third class has no samples
        entry(1, {"radius": [1, 1 + 1e-9, 1], "step": [1, 1, 1]}, [1.2, 0.8, 0.0]),
        entry(2, {"radius": [1, 1.5, 0.5], "step": [1, 1, 1]}, [1.0, 1.0, 0.0]),
    ]
    assert first_acts(history) == {"radius": 2, "batch_weight": 1}
    assert action("mine", history) == "The policy mine acted: batch weights from epoch 2, radius from epoch 3 of 3 on."
    assert inaction("mine", history) == ""
    assert first_acts(history[:1]) == {}
    assert "The policy mine never acted: every class knob stayed at 1 in all 1 epochs" in action("mine", history[:1])
    assert inaction("mine", history[:1]) == "; policy mine never acted"
    assert action("uniform", history[:1]) == inaction("uniform", history[:1]) == action("mine", []) == ""


@pytest.fixture
def toy() -> cw.Dataset:
    import torch

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=generator)
    images = (0.4 * pattern[labels] + 0.6 * torch.rand(48, 1, 4, 4, generator=generator)).clamp(0, 1)
    data = cw.ClassData(images, labels, ("a", "b", "c"))
    return cw.Dataset("toy", train=data, test=lambda: data)


def trained(toy: cw.Dataset, out: Path, policy: cw.ClassPolicy) -> cw.Run:
    config = cw.TrainConfig(
        split=cw.data.Split(at_least=4),
        model=cw.models.Linear(),
        threat=cw.linf("0.1"),
        adversary=cw.attacks.PGD(steps=1),
        validation_attack=cw.attacks.PGD(steps=1),
        policy=policy,
        epochs=2,
        batch_size=12,
    )
    return cw.train(config, out, data=toy, progress=Silent())


def test_a_policy_that_never_acted_is_named_wherever_its_model_is(
    toy: cw.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = trained(toy, tmp_path / "late", CalibratedRadius(begin=10))
    plain = trained(toy, tmp_path / "plain", cw.policies.Uniform())
    early = trained(toy, tmp_path / "early", Combined(members=(CalibratedRadius(begin=1), KLDRO(tau=0.5))))
    assert (late.acted, plain.acted) == ({}, {})
    assert early.acted == {"radius": 1, "batch_weight": 0}
    assert early.directory.status["acted"] == early.acted
    audits = {run.path.name: run.audit(attacks="pgd-1", progress=Silent()) for run in (late, plain, early)}
    compared = str(cw.compare(audits["plain"], audits["late"]))
    assert "policy calibrated-radius never acted" in " ".join(compared.split())
    assert "never acted" not in str(cw.compare(audits["plain"], audits["early"]))
    assert "The policy calibrated-radius never acted" in run_summary(late)
    assert "The policy combined acted: batch weights from epoch 1, radius from epoch 2 of 2 on." in run_summary(early)
    assert "The policy" not in run_summary(plain)
    page = late.report(tmp_path / "late.html").read_text(encoding="utf-8")
    assert "The policy calibrated-radius never acted" in page
    live = cw.audit(tmp_path / "late", attacks="pgd-1", progress=Silent(), data=toy)
    assert live.plan.model.endswith("; policy calibrated-radius never acted)")


def test_an_average_that_took_in_nothing_is_told(toy: cw.Dataset, tmp_path: Path) -> None:
    config = cw.TrainConfig(
        split=cw.data.Split(at_least=4),
        model=cw.models.Linear(),
        adversary=cw.attacks.PGD(steps=1),
        validation_attack=cw.attacks.PGD(steps=1),
        averaging=cw.averaging.Gated(threshold=1.0),
        epochs=1,
        batch_size=12,
    )
    shut = cw.train(config, tmp_path / "shut", data=toy, progress=Silent())
    assert "The average gated-ema took in no epoch" in run_summary(shut)
    wide = cw.configuration.replace(config, averaging=cw.averaging.Gated(threshold=0.0))
    assert "took in no epoch" not in run_summary(cw.train(wide, tmp_path / "open", data=toy, progress=Silent()))
