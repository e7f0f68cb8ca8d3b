"""Live networks and data sets: told apart by what they hold, and usable again through the run."""

from pathlib import Path

import pytest
import torch
from torch import nn

import classwise as cw
from classwise.configuration import replace
from classwise.data import CIFAR10, Split
from classwise.models import Linear
from classwise.policies import CalibratedRadius
from classwise.progress import Silent
from classwise.runs import checkpoints
from classwise.training import SGD, Hardware

pytestmark = pytest.mark.filterwarnings("ignore:the start model is not robust")


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Linear().build(2, (1, 2, 2)).eval()


def dataset() -> cw.Dataset:
    images = torch.rand(40, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    data = cw.ClassData(images, torch.arange(40) % 2, ("left", "right"), name="toy")
    return cw.Dataset("toy", train=data, test=lambda: data)


def config(**changes: object) -> cw.TrainConfig:
    fields = {"split": Split(at_least=5), "optimizer": SGD(lr=0.1), "epochs": 1, "batch_size": 10}
    return cw.TrainConfig(hardware=Hardware(device="cpu", precision="fp32"), **{**fields, **changes})


def train(seed: int, out: Path) -> cw.Run:
    return cw.train(config(), out, data=dataset(), network=network(seed), progress=Silent())


def test_another_network_of_the_same_class_is_another_run(tmp_path: Path) -> None:
    train(1, tmp_path / "run")
    assert train(1, tmp_path / "run").directory.status["state"] == "finished"
    with pytest.raises(ValueError, match=r"holds another run \(model\.sha256"):
        train(2, tmp_path / "run")


def test_the_callers_network_is_left_alone(tmp_path: Path) -> None:
    net = network(1)
    before = [weight.detach().clone() for weight in net.parameters()]
    cw.train(config(), tmp_path / "run", data=dataset(), network=net, progress=Silent())
    assert all(torch.equal(one, other) for one, other in zip(before, net.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:the repair did not succeed")
def test_a_run_of_live_objects_can_be_audited_and_repaired_through_the_run(tmp_path: Path) -> None:
    run = train(1, tmp_path / "run")
    assert cw.audit(run, attacks="pgd-2", progress=Silent()).plan.split == "test"
    repaired = cw.finetune(run, recipe=config(), out=tmp_path / "repair", progress=Silent())
    assert repaired.audit(attacks="pgd-2", progress=Silent()).plan.samples == 40


def test_images_that_are_no_test_set_are_not_called_one() -> None:
    result = cw.audit(network(1), dataset().train, attacks="pgd-2", progress=Silent())
    assert result.plan.split == "given"


@pytest.mark.parametrize("threat", ["8/255", 0.03, ["8/255"]])
def test_a_radius_is_no_threat_model(threat: object) -> None:
    with pytest.raises(ValueError, match=r"is no threat model: write classwise\.linf"):
        cw.audit(network(1), dataset(), threat=threat, progress=Silent())


def test_what_was_set_by_hand_in_a_repair_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cw.train(cw.recipe("digits-pgd-at", epochs=1), tmp_path / "run", progress=Silent())
    seen = []
    monkeypatch.setattr("classwise.api.train", lambda made, *rest, **options: seen.append(made) or run)
    cw.finetune(run, recipe=cw.recipe("digits-faal", threat=cw.linf("0.05")), out=tmp_path / "repair")
    cw.finetune(run, recipe="digits-faal", out=tmp_path / "repair")
    assert [str(each.threat) for each in seen] == ["linf 0.05", "linf 0.18"]
    assert all(Path(each.start).is_absolute() for each in seen)


def test_a_loaded_data_set_knows_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classwise.data.cifar10.official_folder", lambda *_: Path())
    monkeypatch.setattr("classwise.data.cifar10._read", lambda files: dataset().train)
    assert CIFAR10(folder="x").load().source == CIFAR10(folder="x")
    assert cw.data.load("digits").source == cw.data.Digits()


def test_the_state_of_a_run_comes_back_on_the_cpu(tmp_path: Path) -> None:
    made = config(policy=CalibratedRadius(begin=0), epochs=1)
    run = cw.train(made, tmp_path / "run", data=dataset(), network=network(1), progress=Silent())
    found = checkpoints.load(run.checkpoint("last")[0])
    assert {value.device.type for value in found.state["policy"].values()} == {"cpu"}
    assert found.state["policy"]["radius"].shape == (2,)


def test_an_average_may_not_look_at_training(tmp_path: Path) -> None:
    class Nosy(cw.averaging.EpochEMA):
        needs = ("train_robust",)

    with pytest.raises(ValueError, match="validation statistics only"):
        cw.train(replace(config(), averaging=Nosy()), tmp_path / "run", data=dataset(), progress=Silent())
