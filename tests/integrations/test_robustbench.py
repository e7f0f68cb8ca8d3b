"""The RobustBench adapter: against a stand-in with its documented functions, and against it where it is installed."""

import enum
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import classwise as cw
from classwise.models import RobustBench
from classwise.progress import Silent


class Data(enum.Enum):
    cifar_10 = "cifar10"
    cifar_100 = "cifar100"
    imagenet = "imagenet"


class Threat(enum.Enum):
    Linf = "Linf"
    L2 = "L2"
    corruptions = "corruptions"


@pytest.fixture
def loads(stand_in: Callable[..., types.ModuleType]) -> list[dict[str, Any]]:
    """A stand-in after https://github.com/RobustBench/robustbench; the list holds the calls of load_model."""
    calls: list[dict[str, Any]] = []

    def fresh() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))

    def never() -> nn.Module:
        raise AssertionError("this one would be downloaded")

    def load_model(**options: Any) -> nn.Module:
        calls.append(options)
        return fresh().eval()

    zoo = {"Wong2020Fast": {"model": fresh, "gdrive_id": "x"}, "FromTimm": {"model": never, "gdrive_id": None}}
    models = {data: {threat: {} for threat in Threat} for data in Data}
    models[Data.cifar_10] = {Threat.Linf: zoo, Threat.L2: {}, Threat.corruptions: {}}
    stand_in("robustbench")
    stand_in("robustbench.model_zoo", model_dicts=models)
    stand_in("robustbench.model_zoo.enums", BenchmarkDataset=Data, ThreatModel=Threat)
    stand_in("robustbench.utils", load_model=load_model)
    return calls


def test_weights_are_loaded_only_when_asked_for(loads: list[Any]):
    net = RobustBench(model="Wong2020Fast").build(10, (3, 32, 32))
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert not loads
    RobustBench(model="Wong2020Fast", pretrained=True, folder="here").build(10, (3, 32, 32))
    assert loads == [{"model_name": "Wong2020Fast", "model_dir": "here", "dataset": "cifar10", "threat_model": "Linf"}]


def test_networks_that_come_from_elsewhere_need_their_weights(loads: list[Any]):
    with pytest.raises(ValueError, match=r"'FromTimm' comes only with its weights: give pretrained=true"):
        RobustBench(model="FromTimm").build(10, (3, 32, 32))
    RobustBench(model="FromTimm", pretrained=True).build(10, (3, 32, 32))
    assert loads[0]["model_name"] == "FromTimm"


def test_what_is_not_in_the_zoo_is_refused(loads: list[Any]):
    with pytest.raises(ValueError, match=r"no cifar10 Linf network 'Wong2020Fats': did you mean 'Wong2020Fast'"):
        RobustBench(model="Wong2020Fats").build(10, (3, 32, 32))
    with pytest.raises(ValueError, match=r"no cifar10 L2 network 'Wong2020Fast': known are none"):
        RobustBench(model="Wong2020Fast", threat="L2").build(10, (3, 32, 32))
    with pytest.raises(ValueError, match="tell 100 classes apart and the data has 10"):
        RobustBench(model="Wong2020Fast", dataset="cifar100").build(10, (3, 32, 32))
    with pytest.raises(ValueError, match="take 3 channels and the images have 1"):
        RobustBench(model="Wong2020Fast").build(10, (1, 8, 8))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Wong2020Fast", "Sehwag2021Proxy_R18"])
def test_real_networks_are_audited(real: Callable[[str], Any], name: str):
    real("robustbench")
    torch.manual_seed(0)
    net = RobustBench(model=name).build(10, (3, 32, 32)).eval()
    data = cw.ClassData(torch.rand(10, 3, 32, 32), torch.arange(10), tuple("abcdefghij"))
    result = cw.audit(net, data, attacks="fgsm", batch_size=8, progress=Silent())
    assert len(result.outcomes.label) == 10


@pytest.mark.filterwarnings("ignore")
def test_the_real_package_refuses_with_us(real: Callable[[str], Any]):
    real("robustbench")
    with pytest.raises(ValueError, match="did you mean 'Wong2020Fast'"):
        RobustBench(model="Wong2020Fats").build(10, (3, 32, 32))
    with pytest.raises(ValueError, match="comes only with its weights"):
        RobustBench(model="Debenedetti2022Light_XCiT-S12").build(10, (3, 32, 32))
