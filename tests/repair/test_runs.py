"""Runs that repair: what they hand out, what they record, and that they go on after a kill."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import classwise as cw
from classwise import ClassData, Dataset, Run, TrainConfig
from classwise.averaging import EpochEMA
from classwise.cli.show import run_summary, start_summary
from classwise.configuration import from_yaml, replace
from classwise.data.roles import roles_of
from classwise.evaluation.collect import Evaluator
from classwise.models.export import load_exported, read_facts
from classwise.progress import Silent
from classwise.recipes import recipe
from classwise.repair import Interpolation, LastLayerScale, LogitBias, NoRepair, Repair
from classwise.repair.bench import score
from classwise.runs import checkpoints
from classwise.training import SGD

Make = Callable[..., Any]
ALONE = [LogitBias(), LastLayerScale()]
EVERY = [*ALONE, Interpolation()]
pytestmark = [
    pytest.mark.filterwarnings("ignore:the start model is not robust"),
    pytest.mark.filterwarnings("ignore:the repair did not succeed"),
]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def validation_table(run: Run, data: ClassData, model: nn.Module) -> Any:
    """As the loop makes it, but from what is on disk."""
    images = roles_of(Dataset("toy", train=data, test=lambda: data), run.config.split).validation
    evaluator = Evaluator((run.config.threat,), (run.config.validation_attack,), run.config.seed, run.config.batch_size)
    return evaluator.collect(model, images).table(0, images.group_names)


@pytest.mark.parametrize("repair", ALONE, ids=lambda each: each.registered_name)
def test_a_run_of_no_epochs_only_repairs(
    repair: Repair, repaired: Make, network: Make, toy_data: Make, tmp_path: Path
) -> None:
    """Test images raise when they are read; the last layer alone differs; figures are those of the weights on disk."""
    start = network()
    run = repaired(tmp_path / "run", start, repair=repair, epochs=0)
    assert run.directory.status["state"] == "finished"
    assert run.directory.status["repaired"] is True
    assert run.history == []
    found = run.repair
    assert found["better"]
    assert found["scores"]["after"] > found["scores"]["before"] + (0.3 if isinstance(repair, LogitBias) else 0)
    assert found["tried"] <= repair.passes() / 2
    (values,) = found["fitted"].values()
    assert values[0] == max(values) or isinstance(repair, LastLayerScale)  # class a was answered too rarely
    folder, averaged = run.checkpoint()
    assert (folder.name, averaged) == ("0-repaired", False)
    assert run.checkpoint("repaired") == run.checkpoint("0-repaired") == run.checkpoint()
    before, after = (run.model(each).state_dict() for each in ("best", "selected"))
    assert same(before, start.state_dict())
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == ({"4.bias"} if isinstance(repair, LogitBias) else {"4.bias", "4.weight"})
    if isinstance(repair, LogitBias):
        assert (after["4.bias"] - before["4.bias"]).tolist() == pytest.approx(values, abs=1e-6)
        assert sum(values) == pytest.approx(0, abs=1e-9)
    else:
        assert (after["4.weight"] / before["4.weight"]).mean(1).tolist() == pytest.approx(values, rel=1e-5)
        assert math.prod(values) == pytest.approx(1)
    for which, when in (("best", "before"), ("selected", "after")):
        table = validation_table(run, toy_data(), run.model(which))
        assert table.robust.tolist() == found["validation"][when]["robust"]
        assert score(table) == found["scores"][when]
        assert table.n.tolist() == [12, 12, 12]
    assert run.score() == pytest.approx(found["scores"]["after"])


def test_what_is_fitted_is_told(repaired: Make, network: Make, tmp_path: Path) -> None:
    run = repaired(tmp_path / "run", network(), repair=LogitBias(), epochs=0)
    text = run_summary(run)
    assert start_summary(run).startswith("Start model, on 36 validation images:")
    assert "The repair logit-bias chose among" in text
    assert "each attacked anew on 36 validation images" in text
    assert "Fitted: bias a +" in text
    assert "after epoch" not in text
    assert "The repair logit-bias chose among" in run.report().read_text(encoding="utf-8")


@pytest.mark.parametrize("repair", EVERY, ids=lambda each: each.registered_name)
@pytest.mark.parametrize("averaging", [cw.averaging.NoAveraging(), EpochEMA(decay=0.5)], ids=["raw", "averaged"])
def test_a_repair_after_training_leaves_training_as_it_was(
    repair: Repair, averaging: Any, repaired: Make, network: Make, tmp_path: Path
) -> None:
    """Weights, average, optimiser, generators and history are those of a run without a repair, bit for bit."""
    fields = {"averaging": averaging, "keep_epochs": (0,)}
    plain = repaired(tmp_path / "plain", network(), **fields)
    run = repaired(tmp_path / "run", network(), repair=repair, **fields)
    for number in (0, 1, 2):
        one, other = (checkpoints.load(each.directory.checkpoints.path(number)) for each in (plain, run))
        assert same(dict(one.model), dict(other.model))
        assert same(dict(one.averaged), dict(other.averaged))
        assert one.state["best"] == other.state["best"]
        assert all(
            torch.equal(one.state["generators"][key], other.state["generators"][key]) for key in one.state["generators"]
        )
    told = [
        [{k: v for k, v in each.items() if k not in ("time", "seconds")} for each in r.history] for r in (plain, run)
    ]
    assert told[0] == told[1]
    selected = plain.checkpoint()
    which = "averaged" if selected[1] else "raw"
    assert run.repair["of"] == {"weights": which, "epochs": int(selected[0].name)}
    assert which == ("raw" if isinstance(averaging, cw.averaging.NoAveraging) else "averaged")


def test_without_a_repair_nothing_of_it_is_left(
    config: TrainConfig, repaired: Make, network: Make, tmp_path: Path
) -> None:
    run = repaired(tmp_path / "run", network())
    assert run.config.repair == NoRepair()
    assert run.repair == {}
    assert "repaired" not in run.directory.status
    assert {each["event"] for each in run.directory.events.read()} == {"start", "epoch"}
    assert run.directory.checkpoints.repaired() is None
    text = (run.path / "config.yaml").read_text(encoding="utf-8")
    older = text.replace("repair:\n  name: none\n", "")  # as it was written before there were repairs
    assert older != text
    (tmp_path / "older.yaml").write_text(older, encoding="utf-8")
    assert from_yaml(TrainConfig, tmp_path / "older.yaml") == run.config


@pytest.mark.parametrize("repair", EVERY, ids=lambda each: each.registered_name)
def test_nothing_worse_is_handed_out(
    repair: Repair, repaired: Make, network: Make, toy_data: Make, tmp_path: Path
) -> None:
    """Networks that are off balance or not, on few images: the selected weights score at least what they began from."""
    outcomes = []
    for seed, shift in ((0, 0.0), (1, 0.0), (2, 0.3), (3, -2.0)):
        epochs = 1 if repair.needs_start else 0
        run = repaired(tmp_path / f"{seed}", network(shift, seed), repair=repair, epochs=epochs)
        found, trained = run.repair, run.model("best")
        after = validation_table(run, toy_data(), run.model())
        assert score(after) >= score(validation_table(run, toy_data(), trained)) == found["scores"]["before"]
        assert score(after) == found["scores"]["after"]
        if found["better"]:
            assert score(after) > found["scores"]["before"]
        else:
            assert run.checkpoint() == run.checkpoint("best")
            assert "found nothing better" in run_summary(run)
        outcomes.append(found["better"])
    assert any(outcomes)


def test_training_that_did_harm_is_undone_by_interpolation(
    repaired: Make, network: Make, toy_data: Make, tmp_path: Path
) -> None:
    start = network(shift=0.0)
    run = repaired(tmp_path / "run", start, repair=Interpolation(), optimizer=SGD(lr=3.0), epochs=1)
    assert run.repair["better"]
    (share,) = run.repair["fitted"]["share"]
    assert share < 1
    first = validation_table(run, toy_data(), start)
    assert run.repair["scores"]["after"] >= score(first) > run.repair["scores"]["before"]


class Stop(Exception):
    """Raised in the middle of a repair."""


class StopRepair:
    """Progress that raises after some attacks of a repair."""

    def __init__(self, attacks: int) -> None:
        self.left = attacks

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Any]:
        def advance(units: int = 1, note: str = "") -> None:
            self.left -= units if label.startswith("repair") else 0
            if self.left < 0:
                raise Stop

        yield advance


@pytest.mark.parametrize("repair", EVERY, ids=lambda each: each.registered_name)
def test_a_killed_repair_ends_like_one_that_was_left_alone(
    repair: Repair, repaired: Make, network: Make, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"repair": repair, "epochs": 1 if repair.needs_start else 0}
    whole = repaired(tmp_path / "whole", network(), **fields)
    for attacks in (1, 3):
        with pytest.raises(Stop):
            repaired(tmp_path / "parts", network(), progress=StopRepair(attacks), **fields)
        assert Run(tmp_path / "parts").repair == {}
        assert Run(tmp_path / "parts").directory.status["state"] == "running"
    parts = repaired(tmp_path / "parts", network(), **fields)
    assert same(parts.model().state_dict(), whole.model().state_dict())
    told = [
        {key: value for key, value in each.repair.items() if key not in ("time", "seconds")} for each in (whole, parts)
    ]
    assert told[0] == told[1]
    assert len(parts.directory.events.read("repair")) == 1
    again = repaired(tmp_path / "parts", network(), **fields)  # finished: read, not done again
    assert again.repair == parts.repair


def test_killed_after_the_repaired_weights_were_written(
    repaired: Make, network: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from classwise.runs import RunDirectory

    def died(self: RunDirectory, state: str, **facts: Any) -> None:
        if state == "finished":
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "set_status", died)
        with pytest.raises(Stop):
            repaired(tmp_path / "run", network(), repair=LogitBias(), epochs=0)
    assert (tmp_path / "run" / "checkpoints" / "0-repaired").is_dir()
    before = Run(tmp_path / "run", network=network()).model().state_dict()
    run = repaired(tmp_path / "run", network(), repair=LogitBias(), epochs=0)
    assert run.directory.status["state"] == "finished"
    assert same(run.model().state_dict(), before)
    assert len(run.directory.events.read("repair")) == 1


@pytest.mark.parametrize("repair", ALONE, ids=lambda each: each.registered_name)
def test_groups_are_what_counts_and_classes_are_what_is_changed(
    repair: Repair, repaired: Make, network: Make, toy_data: Make, tmp_path: Path
) -> None:
    groups = (torch.arange(90) // 3) % 2
    data = toy_data(groups=groups, group_names=("north", "south"))
    run = repaired(tmp_path / "run", network(), data=data, repair=repair, epochs=0)
    found = run.repair
    assert [len(values) for values in found["fitted"].values()] == [3]
    assert [len(values) for values in found["validation"]["after"].values()] == [2, 2, 2]
    north, south = found["validation"]["after"]["robust"]
    assert found["scores"]["after"] == pytest.approx((north + south) / 2 + min(north, south))
    assert found["better"]
    assert "weakest class north" in run_summary(run) or "weakest class south" in run_summary(run)


def test_a_repaired_run_is_audited_compared_and_exported_like_any_other(
    repaired: Make, network: Make, toy_data: Make, tmp_path: Path
) -> None:
    reads: list[int] = []

    def test_images() -> ClassData:
        reads.append(1)
        return toy_data(seed=4)

    run = repaired(tmp_path / "run", network(), test=test_images, repair=LogitBias(), epochs=0)
    assert reads == []
    result, start = (run.audit(attacks="pgd-2", checkpoint=each, progress=Silent()) for each in ("selected", "start"))
    assert result.plan.model == "run (raw weights, after epoch 0, repaired by logit-bias)"
    images = toy_data(seed=4)
    live = cw.audit(run.model(), images, threat=run.config.threat, attacks="pgd-2", progress=Silent())
    assert live.outcomes.prediction.tolist() == result.outcomes.prediction.tolist()
    assert "repaired by logit-bias" in str(cw.compare(start, result))
    cw.export(run, tmp_path / "exported")
    facts = read_facts(tmp_path / "exported")
    assert facts["weights"]["which"] == "raw, repaired by logit-bias"
    assert facts["weights"]["epochs"] == 0
    exported = load_exported(tmp_path / "exported", network())
    assert same(exported.state_dict(), run.model().state_dict())


def test_a_repair_can_be_repaired_further(repaired: Make, network: Make, toy_data: Make, tmp_path: Path) -> None:
    data = Dataset("toy", train=toy_data(per_class=60), test=lambda: toy_data(seed=4))
    first = cw.train(
        replace(recipe("digits-pgd-at"), model=cw.models.Linear(), epochs=1, batch_size=16, threat=cw.linf("0.02")),
        tmp_path / "trained",
        data=data,
        progress=Silent(),
    )
    second = cw.finetune(first, recipe="digits-logit-bias", out=tmp_path / "second", progress=Silent())
    third = cw.finetune(second, recipe="last-layer-scale", out=tmp_path / "third", progress=Silent())
    assert second.config.start == str(first.path.resolve())
    assert third.repair["scores"]["before"] == second.repair["scores"]["after"]
    assert same(third.model("start").state_dict(), second.model().state_dict())


def test_what_makes_no_sense_is_refused(
    config: TrainConfig, repaired: Make, network: Make, toy_data: Make, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="epochs 0 and batch_size 16 must be at least 1"):
        replace(config, epochs=0)
    with pytest.raises(ValueError, match="epochs 0 leave repair 'interpolation' nothing to do"):
        replace(config, epochs=0, repair=Interpolation())
    with pytest.raises(ValueError, match="epochs -1"):
        replace(config, epochs=-1, repair=LogitBias())
    with pytest.raises(ValueError, match="rounds 0 must be at least 1"):
        LogitBias(rounds=0)
    with pytest.raises(ValueError, match="steps 0 must be at least 1"):
        Interpolation(steps=0)
    data = Dataset("toy", train=toy_data(), test=toy_data)
    with pytest.raises(ValueError, match=r"'logit-bias' with 0 epochs trains nothing: .* classwise finetune"):
        cw.train(replace(config, epochs=0, repair=LogitBias()), tmp_path / "no start", data=data, progress=Silent())
    bare = network()
    bare[-1] = nn.Linear(64, 3, bias=False)
    with pytest.raises(ValueError, match=r"last layer '4' of this network has no bias .* use last-layer-scale"):
        repaired(tmp_path / "bare", bare, repair=LogitBias(), epochs=0)
    assert {each.name for each in (tmp_path / "bare").iterdir()} <= {"run.lock"}
    assert repaired(tmp_path / "bare", bare, repair=LastLayerScale(), epochs=0).repair["tried"] >= 1
    headless = nn.Sequential(*copy.deepcopy(network())[:3], nn.Conv2d(4, 3, 4), nn.Flatten())
    with pytest.raises(ValueError, match="not the output of one linear layer"):
        repaired(tmp_path / "headless", headless, repair=LastLayerScale(), epochs=0)


@pytest.mark.parametrize(
    ("name", "repair"),
    [
        ("logit-bias", LogitBias()),
        ("last-layer-scale", LastLayerScale()),
        ("digits-logit-bias", LogitBias()),
        ("digits-last-layer-scale", LastLayerScale()),
        ("digits-interpolation", Interpolation()),
    ],
)
def test_recipes(name: str, repair: Repair) -> None:
    made = recipe(name)
    assert made.repair == repair
    assert made.epochs == (10 if repair.needs_start else 0)
