"""The validation attack may have a radius of its own; training keeps the threat's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

from classwise import ClassData, Run, TrainConfig, l2, linf
from classwise.averaging import EpochEMA, Gated
from classwise.configuration import from_plain, from_yaml, replace, to_plain
from classwise.evaluation.collect import Evaluator
from classwise.experiments.sizes import DIGITS_SCALE, small
from classwise.radius import Radius
from classwise.recipes import recipe
from classwise.report.html import _validation_conditions

Train = Callable[..., Run]
Data = Callable[..., ClassData]


def test_the_history_is_that_of_the_radius_given(toy_run: Train, toy_data: Data, tmp_path: Path) -> None:
    """Recomputed from the checkpoints; the weights are those of a run without it, so training looks at the threat alone."""
    usual = toy_run(tmp_path / "usual", keep_epochs=(1, 2))
    other = toy_run(tmp_path / "other", keep_epochs=(1, 2), validation_radius="0.25")
    data = toy_data().at(json.loads((tmp_path / "other" / "splits.json").read_text())["validation"]["index"])
    evaluator = Evaluator((linf("0.25"),), (other.config.validation_attack,), seed=other.config.seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    differs = False
    for epoch in (1, 2):
        first, second = (
            safetensors.torch.load_file(each.checkpoint(str(epoch))[0] / "model.safetensors") for each in (usual, other)
        )
        assert all(torch.equal(first[key], second[key]) for key in first)
        network.load_state_dict(second)
        entry = other.history[epoch - 1]["validation"]["raw"]
        assert entry["robust"] == evaluator.collect(network, data).table(0, data.class_names).robust.tolist()
        before = usual.history[epoch - 1]["validation"]["raw"]
        assert entry["clean"] == before["clean"]
        assert all(now <= then for now, then in zip(entry["robust"], before["robust"], strict=True))
        differs |= entry["robust"] != before["robust"]
    assert differs


def test_it_is_written_and_read_and_old_files_have_none(toy_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    config = toy_config(validation_radius="8/255", threat=linf("4/255"))
    assert config.validation_threat == linf("8/255")
    assert to_plain(config)["validation_radius"] == "8/255"
    assert from_plain(TrainConfig, to_plain(config)) == config
    plain = to_plain(toy_config())
    assert plain.pop("validation_radius") is None
    assert plain["selection"].pop("added") == "worst"
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert from_yaml(TrainConfig, path) == toy_config()
    assert toy_config().validation_threat == toy_config().threat


def test_it_follows_the_norm_of_the_threat(toy_config: Callable[..., TrainConfig]) -> None:
    assert toy_config(threat=l2(0.5), validation_radius=2).validation_threat == l2(2)
    with pytest.raises(ValueError, match=r"validation_radius: radius 8 is larger than .* write 8/255"):
        toy_config(validation_radius=8)
    with pytest.raises(ValueError, match=r"radius '-1' must be a finite number of at least 0"):
        toy_config(validation_radius=-1)


def test_small_experiments_scale_it_with_the_other_radii() -> None:
    config = small(replace(recipe("cifar10-prn18-pgd-at"), threat=linf("4/255"), validation_radius=Radius("8/255")))
    assert float(config.validation_threat.radius) == pytest.approx(8 / 255 * DIGITS_SCALE)
    assert float(config.validation_threat.radius) == pytest.approx(2 * float(config.threat.radius), rel=1e-5)
    assert small(recipe("cifar10-prn18-pgd-at")).validation_radius is None


def test_the_report_says_it(toy_config: Callable[..., TrainConfig]) -> None:
    assert "linf 0.1, " in _validation_conditions(to_plain(toy_config()), [])
    assert "linf 0.25, " in _validation_conditions(to_plain(toy_config(validation_radius="0.25")), [])


def test_the_final_weights_are_the_average_where_there_is_one(toy_run: Train, tmp_path: Path) -> None:
    """Whatever was selected, and also where a gate let nothing in."""
    plain, averaged = toy_run(tmp_path / "plain"), toy_run(tmp_path / "averaged", averaging=EpochEMA(decay=0.5))
    closed = toy_run(tmp_path / "closed", averaging=Gated(threshold=1.0, start=1))
    assert [(folder.name, average) for folder, average in (each.checkpoint("final") for each in (plain, averaged))] == [
        ("2", False),
        ("2", True),
    ]
    assert closed.checkpoint("final")[1] == ("averaged" in closed.history[-1]["validation"])
    weights = safetensors.torch.load_file(averaged.checkpoint("last")[0] / "averaged.safetensors")
    assert all(torch.equal(weights[key], value) for key, value in averaged.model("final").state_dict().items())
