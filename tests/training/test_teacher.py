"""Training with a teacher: from the checkpoint of a run to the loss of a step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from classwise import Run
from classwise.attacks import PGD
from classwise.averaging import EpochEMA
from classwise.models import Linear, ResNetCIFAR
from classwise.objectives import Distillation, Trades
from classwise.policies import CalibratedTemperature, Fixed, Hedge
from classwise.runs import RunDirectory
from classwise.trained import find_model
from classwise.training.loop import Trainer
from classwise.training.optimizer import SGD
from classwise.training.step import Stepper

Train = Callable[..., Run]


@pytest.fixture
def teacher(toy_run: Train, tmp_path: Path) -> Run:
    """A run whose network has BatchNorm, so that a teacher in train mode would be noticed."""
    return toy_run(tmp_path / "teacher", model=ResNetCIFAR(depth=8), epochs=1)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    """The teacher of every trainer that is made, and a copy of its state when it was."""
    seen: list[tuple[nn.Module, dict[str, Tensor]]] = []
    ours = Trainer.__init__

    def noting(self: Trainer, *arguments: Any) -> None:
        ours(self, *arguments)
        made = self.stepper.teacher
        assert made is not None
        seen.append((made, {key: value.clone() for key, value in made.state_dict().items()}))

    monkeypatch.setattr(Trainer, "__init__", noting)
    return seen


def distil(run: Run, **changes: Any) -> dict[str, Any]:
    policy = CalibratedTemperature(rate=0.2, drops=(3,))
    return {"objective": Distillation(), "policy": policy, "teacher": str(run.path), "epochs": 4, **changes}


def test_a_run_learns_from_a_run(teacher: Run, toy_run: Train, tmp_path: Path, watched: list[Any]) -> None:
    run = toy_run(tmp_path / "student", **distil(teacher))
    history = run.history
    assert len(history) == 4
    (network, before), stored = watched[0], find_model(teacher.path).network.state_dict()
    assert before.keys() == stored.keys()
    assert any("running_mean" in key for key in before)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
        assert torch.equal(value, stored[key])
    assert not any(module.training for module in network.modules())
    assert not any(weight.requires_grad for weight in network.parameters())
    assert all(set(entry["train"]["terms"]) == {"label", "robust"} for entry in history)
    assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]


def test_temperatures_follow_the_losses_of_the_epoch_before(teacher: Run, toy_run: Train, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "student", **distil(teacher))
    history, measures = run.history, {"temperature": "clean_cross_entropy", "robust_temperature": "cross_entropy"}
    assert run.acted == {"temperature": 1, "robust_temperature": 1}
    for knob, measure in measures.items():
        expected = [1.0, 1.0, 1.0]
        for epoch, entry in enumerate(history):
            assert entry["knobs"][knob] == pytest.approx(expected, abs=1e-6)
            total = [mean * count for mean, count in zip(entry["train"][measure], entry["train"]["count"], strict=True)]
            gap = [each - sum(total) / 3 for each in total]
            rate = 0.02 if epoch + 1 >= 3 else 0.2
            scale = rate / max(abs(each) for each in gap)
            expected = [min(5.0, max(0.5, old - scale * each)) for old, each in zip(expected, gap, strict=True)]
        assert min(expected) < 0.9
        assert max(expected) > 1.1


def test_a_student_with_the_teachers_weights_has_nothing_to_learn(toy_run: Train, tmp_path: Path) -> None:
    """Without attack, the soft labels are the student's own predictions: loss 0, and the weights stay."""
    teacher = toy_run(tmp_path / "teacher", epochs=1)
    fields = {"objective": Distillation(robust_share=0), "optimizer": SGD(lr=0.1, weight_decay=0)}
    same = toy_run(tmp_path / "same", network=teacher.model(), teacher=str(teacher.path), epochs=1, **fields)
    assert same.history[0]["train"]["loss"] == pytest.approx(0, abs=1e-6)
    for one, other in zip(teacher.model().parameters(), same.model("last").parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-5)


def test_temperature_is_that_of_the_policy(teacher: Run, toy_run: Train, tmp_path: Path) -> None:
    """A fixed multiplier is a temperature of the objective; and another one trains something else."""
    fields = {"adversary": PGD(steps=2, relative_step=0.5), "epochs": 1, "teacher": str(teacher.path)}
    twice = Fixed(temperature=(2.0,) * 3, robust_temperature=(2.0,) * 3)
    by_knob = toy_run(tmp_path / "knob", objective=Distillation(), policy=twice, **fields)
    by_field = toy_run(tmp_path / "field", objective=Distillation(temperature=2), **fields)
    plain = toy_run(tmp_path / "plain", objective=Distillation(), **fields)
    for one, other, else_ in zip(*(run.model("last").parameters() for run in (by_knob, by_field, plain)), strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, else_)


def test_an_interrupted_run_goes_on_with_its_teacher(
    teacher: Run, toy_run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: list[Any]
) -> None:
    fields = distil(teacher, averaging=EpochEMA(decay=0.5))
    whole = toy_run(tmp_path / "whole", **fields)
    ours, left = Stepper.__call__, [2 * 5 + 3]

    def failing(self: Stepper, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return ours(self, *arguments)

    monkeypatch.setattr(Stepper, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        toy_run(tmp_path / "resumed", **fields)
    monkeypatch.setattr(Stepper, "__call__", ours)
    assert Run(tmp_path / "resumed").directory.checkpoints.numbers() == [1, 2]
    resumed = toy_run(tmp_path / "resumed", **fields)
    assert len(watched) == 3
    one, other = (run.directory.checkpoints.path(4) for run in (whole, resumed))
    for name in ("model.safetensors", "averaged.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert [each["knobs"] for each in whole.history] == [each["knobs"] for each in resumed.history]


def test_the_validation_losses_of_a_taught_objective(teacher: Run, toy_run: Train, tmp_path: Path) -> None:
    """A policy may observe the terms on validation images here too; there the teacher is asked as well."""
    run = toy_run(tmp_path / "student", **distil(teacher, policy=Hedge(rate=5.0), epochs=3))
    assert all(0 < each < 5 for each in run.history[-1]["policy"]["cumulative_cost"])
    assert run.acted == {"weight": 1}


def test_no_teacher_is_refused(toy_run: Train, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="'robust-distillation' learns from a teacher: name the checkpoint of a robust"
    ):
        toy_run(tmp_path / "run", objective=Distillation())
    assert not RunDirectory(tmp_path / "run").exists


def test_a_teacher_without_use_is_refused(teacher: Run, toy_run: Train, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="objective 'trades' learns from no teacher: leave teacher empty"):
        toy_run(tmp_path / "run", objective=Trades(), teacher=str(teacher.path))


def test_a_teacher_of_other_classes_is_refused_before_training(
    toy_run: Train, toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    other = toy_run(tmp_path / "teacher", data=toy_data(classes=5), epochs=1, model=Linear())
    with pytest.raises(ValueError, match=r"name one that was trained on the same classes: the model answers .*, 5"):
        toy_run(tmp_path / "run", **distil(other))
    assert not RunDirectory(tmp_path / "run").exists


def test_a_teacher_that_does_not_exist_is_refused(toy_run: Train, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist: give a run directory"):
        toy_run(tmp_path / "run", objective=Distillation(), teacher=str(tmp_path / "nobody"))
    assert not RunDirectory(tmp_path / "run").exists


def test_a_checkpoint_of_a_run_may_teach(teacher: Run, toy_run: Train, tmp_path: Path) -> None:
    folder = teacher.directory.checkpoints.path(1)
    by_folder = toy_run(tmp_path / "folder", **distil(teacher, teacher=str(folder), epochs=1))
    by_run = toy_run(tmp_path / "run", **distil(teacher, epochs=1))
    assert all(
        torch.equal(one, other)
        for one, other in zip(by_folder.model("last").parameters(), by_run.model("last").parameters(), strict=True)
    )
