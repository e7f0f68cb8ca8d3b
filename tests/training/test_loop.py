"""The loop: what is logged, what is selected, what a policy does to a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from classwise import ClassData, ClassPolicy, Run, Selection, config, linf, register
from classwise.attacks import PGD
from classwise.averaging import EpochEMA
from classwise.data import Roles
from classwise.evaluation.collect import Evaluator
from classwise.metrics import ClassTable
from classwise.models.modes import mode
from classwise.objectives import Natural, Trades
from classwise.policies import KLDRO, KNOBS, CalibratedRadius, Combined, Fixed, Uniform
from classwise.progress import Silent
from classwise.runs import RunDirectory
from classwise.training import SGD, OneCycle, Runtime, Steps
from classwise.training.loop import Trainer
from classwise.training.observe import uncomputed
from classwise.training.step import Stepper

Train = Callable[..., Run]
Data = Callable[..., ClassData]


def weights(run: Run, which: str = "last") -> dict[str, Tensor]:
    return run.model(which).state_dict()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first)


def test_history_holds_every_epoch(toy_run: Train, tmp_path: Path) -> None:
    run = toy_run(
        tmp_path / "run",
        epochs=3,
        objective=Trades(beta=2.0),
        averaging=EpochEMA(decay=0.5, start=1),
        policy=Combined(members=(KLDRO(tau=0.3), CalibratedRadius(begin=1, offset=0.4))),
        schedule=Steps(drops=(1, 2), by=0.5),
        keep_epochs=(1, 2, 3),
    )
    assert [each["epoch"] for each in run.history] == [0, 1, 2]
    assert [each["step"] for each in run.history] == [5, 10, 15]
    assert [each["lr"] for each in run.history] == pytest.approx([0.1, 0.05, 0.025])
    for epoch, entry in enumerate(run.history):
        assert 0 < entry["seconds"]["train"] <= entry["seconds"]["all"]
        assert entry["time"] > 1.6e9
        train = entry["train"]
        assert train["loss"] > 0
        assert train["terms"].keys() == {"label", "robust"}
        assert train["count"] == [12, 12, 12]
        assert all(0 <= each <= 1 for each in train["robust"])
        assert max(train["batch_weight"]) > 1.05 * min(train["batch_weight"]) > 0
        assert set(entry["knobs"]) == set(KNOBS)
        assert entry["knobs"]["step"] == [1, 1, 1]
        previous = run.history[epoch - 1]["train"]["robust"] if epoch else [0.6] * 3
        assert entry["knobs"]["radius"] == pytest.approx([0.4 + each for each in previous])
        assert set(entry["validation"]) == ({"raw", "averaged"} if epoch >= 1 else {"raw"})
        for kind, table in entry["validation"].items():
            assert table["n"] == [4, 4, 4]
            assert len(table["clean"]) == len(table["robust"]) == 3
            best = entry["scores"]["best" if kind == "raw" else "averaged"]
            assert best == pytest.approx(np.mean(table["robust"]) + min(table["robust"]))


def test_validation_figures_are_those_of_the_weights_kept(toy_run: Train, toy_data: Data, tmp_path: Path) -> None:
    """Recomputed from the checkpoints, raw and averaged."""
    run = toy_run(tmp_path / "run", averaging=EpochEMA(decay=0.5), keep_epochs=(1, 2))
    data = toy_data().at(json.loads((tmp_path / "run" / "splits.json").read_text())["validation"]["index"])
    evaluator = Evaluator((run.config.threat,), (run.config.validation_attack,), seed=run.config.seed)
    for epoch in (1, 2):
        entry = run.history[epoch - 1]["validation"]
        found = torch.nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        for kind, file in (("raw", "model"), ("averaged", "averaged")):
            path = run.directory.checkpoints.path(epoch) / f"{file}.safetensors"
            found.load_state_dict(safetensors.torch.load_file(path))
            table = evaluator.collect(found, data).table(0, data.class_names)
            assert entry[kind]["clean"] == table.clean.tolist()
            assert entry[kind]["robust"] == table.robust.tolist()


def test_the_average_in_a_run_is_its_formula(toy_run: Train, tmp_path: Path) -> None:
    """And averaging changes nothing of the live network."""
    plain = toy_run(tmp_path / "plain", epochs=3, keep_epochs=(1, 2, 3))
    run = toy_run(tmp_path / "run", epochs=3, keep_epochs=(1, 2, 3), averaging=EpochEMA(decay=0.6))
    raw = [weights(run, str(i)) for i in (1, 2, 3)]
    assert all(equal(weights(plain, str(i)), raw[i - 1]) for i in (1, 2, 3))
    average = safetensors.torch.load_file(run.directory.checkpoints.path(3) / "averaged.safetensors")
    for key, value in average.items():
        expected = 0.36 * raw[0][key] + 0.6 * 0.4 * raw[1][key] + 0.4 * raw[2][key]
        assert torch.allclose(value, expected, atol=1e-6)


@config
class Told(Selection):
    """Scores that are given."""

    scores: tuple[float, ...]

    def score(self, table: ClassTable, epoch: int) -> float:
        return self.scores[epoch]


register("selection", "test-told")(Told)


@pytest.mark.parametrize(
    ("scores", "best"), [((1.0, 3.0, 2.0), 2), ((1.0, 3.0, 3.0), 3), ((5.0, 3.0, 4.0), 1), ((0.0, 0.0, 0.0), 3)]
)
def test_the_epoch_with_the_highest_score_is_kept_ties_go_to_the_later(
    scores: tuple[float, ...], best: int, toy_run: Train, tmp_path: Path
) -> None:
    run = toy_run(tmp_path / "run", epochs=3, selection=Told(scores=scores))
    folder, averaged = run.checkpoint()
    assert (folder.name, averaged) == (str(best), False)
    assert run.directory.status["selected"] == {"best": best}
    assert run.score() == max(scores)
    averaging = toy_run(tmp_path / "average", epochs=3, selection=Told(scores=scores), averaging=EpochEMA(decay=0.5))
    folder, averaged = averaging.checkpoint()
    assert (folder.name, averaged) == (str(best), True)


def test_the_rate_of_every_step_follows_the_schedule(
    toy_run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, call = [], Stepper.__call__

    def watched(self: Stepper, *arguments: Any) -> Any:
        rates.extend(group["lr"] for group in self.optimizer.param_groups)
        return call(self, *arguments)

    monkeypatch.setattr(Stepper, "__call__", watched)
    run = toy_run(tmp_path / "run", epochs=2, schedule=OneCycle(peak=0.4), optimizer=SGD(lr=0.3))
    shares = [i / 10 for i in range(10)]
    expected = [0.3 * (share / 0.4 if share < 0.4 else (1 - share) / 0.6) for share in shares]
    assert rates == pytest.approx(expected)
    assert [each["lr"] for each in run.history] == pytest.approx([expected[4], expected[9]])


@pytest.mark.parametrize("objective", [Trades(beta=3.0), None], ids=["trades", "pgd-at"])
def test_kl_dro_with_tau_zero_is_the_base_method_step_by_step(
    objective: Any, toy_run: Train, toy_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten classes in batches of six: every batch lacks some."""
    seen: list[Tensor] = []
    present: list[int] = []
    call = Stepper.__call__

    def watched(self: Stepper, batch: Any, *arguments: Any) -> Any:
        state = call(self, batch, *arguments)
        seen.append(torch.cat([each.detach().flatten().clone() for each in self.network.inner.parameters()]))
        present.append(len(batch.y.unique()))
        return state

    monkeypatch.setattr(Stepper, "__call__", watched)
    axes = {"objective": objective} if objective else {}
    steps: dict[str, list[Tensor]] = {}
    for name, policy in (
        ("base", Uniform()),
        ("zero", KLDRO(tau=0)),
        ("tiny", KLDRO(tau=1e-9)),
        ("some", KLDRO(tau=0.1)),
    ):
        seen.clear()
        toy_run(tmp_path / name, data=toy_data(classes=10, per_class=16), policy=policy, epochs=1, batch_size=6, **axes)
        steps[name] = list(seen)
    assert max(present) < 10
    assert len(steps["base"]) == len(steps["zero"]) == 20
    assert all(torch.equal(*pair) for pair in zip(steps["base"], steps["zero"], strict=True))
    # tau = 1e-9 goes through the solver and the factor "classes present": it must be near, and 0.1 must not.
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(steps["base"], steps["tiny"], strict=True))
    assert not torch.allclose(steps["base"][-1], steps["some"][-1], atol=1e-3)


def test_fixed_knobs_act(toy_run: Train, tmp_path: Path) -> None:
    base = weights(toy_run(tmp_path / "base"))
    neutral = toy_run(tmp_path / "neutral", policy=Fixed(radius=(1, 1, 1), weight=(1, 1, 1), step=(1, 1, 1)))
    assert equal(weights(neutral), base)
    for i, policy in enumerate([Fixed(radius=(0, 1, 2)), Fixed(weight=(0.5, 1, 1.5)), Fixed(step=(0.5, 1, 1))]):
        assert not equal(weights(toy_run(tmp_path / str(i), policy=policy)), base), policy
    clean = weights(toy_run(tmp_path / "clean", objective=Natural()))
    no_radius = weights(toy_run(tmp_path / "zero", policy=Fixed(radius=(0, 0, 0))))
    assert all(torch.allclose(no_radius[key], clean[key], atol=1e-6) for key in clean)


def test_a_class_of_weight_zero_is_not_learnt(toy_run: Train, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", policy=Fixed(weight=(0, 1, 1)), epochs=8, objective=Natural())
    clean = run.history[-1]["validation"]["raw"]["clean"]
    assert clean[0] == 0
    assert min(clean[1:]) > 0.6


def test_permuting_the_labels_of_a_run_permutes_its_knobs(
    toy_data: Data, toy_config: Callable[..., Any], tmp_path: Path
) -> None:
    """Same images, same order, same network with its outputs permuted: only the names of the classes differ."""
    config = toy_config(epochs=3, policy=Combined(members=(KLDRO(tau=0.3), CalibratedRadius(begin=1))))
    straight, new = config.split.apply(toy_data()), torch.tensor([2, 0, 1])
    permuted = Roles(
        *(
            ClassData(role.images, new[role.labels], role.class_names, role.index)
            for role in (straight.train, straight.validation)
        )
    )
    histories = []
    for i, roles in enumerate((straight, permuted)):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        if i:
            for parameter in network.parameters():
                parameter.data[new] = parameter.data.clone()
        directory = RunDirectory(tmp_path / str(i))
        Trainer(config, directory, roles, network, Runtime(config.hardware), {}).fit(Silent())
        histories.append(directory.events.read("epoch"))
    for one, other in zip(*histories, strict=True):
        for first, second in (
            (one["knobs"]["radius"], other["knobs"]["radius"]),
            (one["train"]["batch_weight"], other["train"]["batch_weight"]),
            (one["validation"]["raw"]["robust"], other["validation"]["raw"]["robust"]),
        ):
            assert first == pytest.approx([second[i] for i in new.tolist()], abs=1e-4)
        assert len(set(one["train"]["batch_weight"])) == 3
    assert len(set(histories[0][2]["knobs"]["radius"])) > 1


def test_groups_equal_to_labels_change_nothing(toy_run: Train, toy_data: Data, tmp_path: Path) -> None:
    data = toy_data()
    explicit = toy_data(groups=data.labels.clone(), group_names=data.class_names)
    policy = Combined(members=(KLDRO(tau=0.3), CalibratedRadius(begin=1)))
    first = toy_run(tmp_path / "first", data=data, policy=policy)
    second = toy_run(tmp_path / "second", data=explicit, policy=policy)
    assert equal(weights(first), weights(second))
    assert first.history[1]["knobs"] == second.history[1]["knobs"]


def test_superclasses_drive_knobs_and_tables(toy_run: Train, toy_data: Data, tmp_path: Path) -> None:
    labels = toy_data(classes=4).labels
    data = toy_data(classes=4, groups=labels // 2, group_names=("low", "high"))
    policy = Combined(members=(CalibratedRadius(begin=1, offset=0.2), KLDRO(tau=0.3)))
    run = toy_run(tmp_path / "run", data=data, policy=policy, epochs=3)
    assert run.class_names == ("low", "high")
    for entry in run.history:
        assert entry["validation"]["raw"]["n"] == [8, 8]  # at_least counts classes, two in each group
        assert entry["train"]["count"] == [24, 24]
        assert all(len(values) == 2 for values in entry["knobs"].values())
        assert len(entry["train"]["batch_weight"]) == 2
    assert run.history[1]["knobs"]["radius"] == pytest.approx(
        [0.2 + each for each in run.history[0]["train"]["robust"]]
    )
    assert run.model().state_dict()["1.weight"].shape == (4, 16)  # the network still tells four classes apart
    with pytest.raises(ValueError, match=r"policy\.radius has 4 values: give one for each of the 2 groups"):
        toy_run(tmp_path / "wrong", data=data, policy=Fixed(radius=(1, 1, 1, 1)))


@config
class Curious(ClassPolicy):
    wish: str = "train_happiness"

    def observes(self) -> frozenset[str]:
        return frozenset({self.wish})


register("policy", "test-curious")(Curious)


@pytest.mark.parametrize(
    ("wish", "objective", "message"),
    [
        ("train_happiness", None, "unknown statistic 'train_happiness'"),
        ("test_robust", None, "unknown statistic 'test_robust'"),
        ("validation_margin", None, "unknown statistic 'validation_margin'"),
        ("robust", None, "unknown statistic 'robust'"),
        ("train_clean", None, "observes 'train_clean', which objective '[a-z-]+' does not compute"),
        ("batch_robust", Natural(), "observes 'batch_robust', which objective '[a-z-]+' does not compute"),
        ("train_robust_loss", None, "observes 'train_robust_loss', which objective '[a-z-]+' does not compute"),
    ],
)
def test_statistics_that_cannot_be_had_are_refused_before_training(
    wish: str, objective: Any, message: str, toy_run: Train, tmp_path: Path
) -> None:
    axes = {"objective": objective} if objective else {}
    with pytest.raises(ValueError, match=message):
        toy_run(tmp_path / "run", policy=Curious(wish=wish), **axes)


def test_statistics_that_can_be_had_are_accepted() -> None:
    assert not uncomputed({"train_robust", "batch_count", "validation_clean"}, {"adversarial"}, ("label",))
    assert not uncomputed({"train_clean", "batch_robust_loss"}, {"adversarial", "clean"}, ("label", "robust"))


def test_a_shifted_start_model_that_is_not_robust_is_pointed_out(
    toy_run: Train, toy_data: Data, tmp_path: Path
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        network[1].weight.mul_(50)
    with pytest.warns(UserWarning, match="the start model is not robust"):
        run = toy_run(tmp_path / "run", network=network, start="given", epochs=1, threat=linf("0.5"))
    assert run.directory.events.read("start")[0]["validation"]["raw"]["n"] == [4, 4, 4]
    assert equal(weights(run, "start"), network.state_dict())


def test_frozen_batchnorm_is_put_back_after_validation() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    network[1].eval()
    with mode(network, training=False):
        assert not network.training
    assert [each.training for each in network] == [True, False]


def test_the_loss_logged_is_the_weighted_mean(toy_run: Train, tmp_path: Path) -> None:
    """With weights (1, 2, 3), equal class counts and no learning to speak of, loss and term are tied."""
    run = toy_run(
        tmp_path / "run",
        policy=Fixed(weight=(2, 2, 2)),
        epochs=1,
        optimizer=SGD(lr=1e-9, weight_decay=0.0),
        adversary=PGD(steps=1),
    )
    train = run.history[0]["train"]
    assert train["loss"] == pytest.approx(2 * train["terms"]["label"], rel=1e-5)
