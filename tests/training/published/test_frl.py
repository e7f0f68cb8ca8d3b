"""FRL in our loop: one step, the evaluation before it, rates over epochs, and a whole run that stops by itself."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from classwise import ClassData, linf
from classwise.attacks import PGD
from classwise.evaluation.collect import Evaluator
from classwise.objectives import AdversarialTraining, Natural, Trades
from classwise.policies import Combined, ConstraintRemargin, ConstraintReweight, ErrorReweight, State, Uniform
from classwise.policies.violations import class_errors, violations
from classwise.training import Steps

World = Any
Step = Any
Agrees = Callable[..., None]
Close = Callable[..., None]
WEIGHT = 1e-6
NAMES = tuple("0123456789")


def measured(clean_error: Any, boundary_error: Any, epoch: int = -1) -> dict[str, Tensor]:
    """What the loop measures on a balanced validation split where classes have these errors."""
    clean, boundary = (torch.as_tensor(each, dtype=torch.float64) for each in (clean_error, boundary_error))
    return {
        "epoch": torch.tensor(epoch),
        "validation_clean": 1 - clean,
        "validation_robust": 1 - clean - boundary,
        "validation_count": torch.full((len(clean),), 300),
    }


def frl(normalise: Any) -> tuple[ConstraintReweight, ConstraintRemargin]:
    """The published limits, moved by the raw error, so that one update from 0 leads to given multipliers."""
    reweight = ConstraintReweight(
        slack_clean=0.0, slack_boundary=0.0, rate_clean=1.0, rate_boundary=1.0, relative=False, normalise=normalise
    )
    remargin = ConstraintRemargin(slack_boundary=0.0, rate=2.0, relative=False, low=0.98, high=2.5, windup=True)
    return reweight, remargin


CASES = [
    ("frl_step_rw.npz", "frl_costs_rw.json", "weight-sum", None),
    ("frl_step_rm_hist.npz", "frl_costs_rm_hist.json", "joint-weight-sum", None),
    ("frl_step_rmrw.npz", "frl_costs_rmrw.json", "weight-sum", PGD(steps=10, step_from="batch")),
]


@pytest.mark.parametrize(("name", "costs", "normalise", "adversary"), CASES, ids=["rw", "rm_hist", "rmrw"])
def test_one_step_with_the_knobs_of_the_policies(
    name: str,
    costs: str,
    normalise: Any,
    adversary: Any,
    world: World,
    step: Callable[..., Step],
    agrees: Agrees,
    close: Close,
) -> None:
    case, raw = world.arrays(name), world.numbers(costs)
    reweight, remargin = frl(normalise)
    policy = Combined(members=(reweight, remargin))
    weights = reweight.on_start(reweight.init(10), measured(raw["lam0"], raw["lam1"]))
    radii = remargin.on_start(remargin.init(10), measured([0.0] * 10, raw["lam2"]))
    state = {f"0.{key}": value for key, value in weights.items()} | {f"1.{key}": value for key, value in radii.items()}
    knobs = policy.knobs(state)
    for knob, scale, stored in (("label", 10, "diff0"), ("robust", 10, "diff1"), ("radius", 1, "diff2")):
        assert torch.allclose(knobs[knob], scale * case[stored], rtol=0, atol=1e-8), knob
    objective = Trades(beta=float(case["beta"]))
    draws = (world.normal,)
    ours = step(case, *draws, lr=1e-3, objective=objective, policy=policy, state=state, adversary=adversary)
    agrees(case, ours)
    close(case, "after_", ours.weights, WEIGHT)


def test_the_three_steps_differ(world: World) -> None:
    """Otherwise the test above could not tell one way of weighing, or one step size, from another."""
    rw, rm, rmrw = (world.arrays(name) for name, *_ in CASES)
    assert torch.equal(rw["x_adv"], rm["x_adv"])
    assert float((rw["x_adv"] - rmrw["x_adv"]).abs().max()) > 1e-3
    assert float((rw["grad_fc.weight"] - rm["grad_fc.weight"]).abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "beta"), [("trades_linf_b1", 1.0), ("trades_linf_b6", 6.0)])
@pytest.mark.parametrize("normalise", ["weight-sum", "mean"])
def test_without_violations_it_is_trades(
    name: str, beta: float, normalise: Any, world: World, step: Callable[..., Step], agrees: Agrees
) -> None:
    """Both before anything is known and where every constraint holds."""
    case = world.arrays(f"{name}.npz")
    policy = Combined(members=(ConstraintReweight(normalise=normalise), ConstraintRemargin()))
    for state in (policy.init(10), policy.on_start(policy.init(10), measured([0.3] * 10, [0.2] * 10))):
        assert all(float((values - 1).abs().max()) == 0 for values in policy.knobs(state).values())
        agrees(case, step(case, world.normal, objective=Trades(beta=beta), policy=policy, state=state))


class StoredNoise:
    """Hands each sample its stored uniform draw."""

    draws: Tensor

    def __init__(self, seed: int, key: Tensor, *counters: Any) -> None:
        self.key = key

    def uniform(self, like: Tensor) -> Tensor:
        return self.draws[self.key].to(like.dtype).view(like.shape)


@pytest.mark.parametrize("stop_when_fooled", [False, True])
def test_class_errors_by_our_evaluation(stop_when_fooled: bool, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation pass of the loop from the stored starts; in float32, as audits and validation are."""
    case = world.arrays("frl_evaluate.npz")
    monkeypatch.setattr(StoredNoise, "draws", world.unit_eval, raising=False)
    monkeypatch.setattr("classwise.evaluation.pool.KeyedNoise", StoredNoise)
    attack = PGD(steps=int(case["steps"]), relative_step=0.25, stop_when_fooled=stop_when_fooled)
    assert float(case["step"]) == pytest.approx(0.25 * float(case["eps"]))
    evaluator = Evaluator((linf(repr(float(case["eps"]))),), (attack,), batch_size=64)
    data = ClassData(world.common["x_eval_uint8"], world.y_eval, NAMES)
    table = evaluator.collect(world.net().float(), data).table(0, NAMES)
    clean, boundary = class_errors(
        {"validation_clean": torch.from_numpy(table.clean), "validation_robust": torch.from_numpy(table.robust)}
    )
    assert torch.allclose(clean, case["class_clean_error"], rtol=0, atol=1e-12)
    assert torch.allclose(boundary, case["class_bndy_error"], rtol=0, atol=1e-12)
    count = torch.from_numpy(table.n)
    for errors, total in ((clean, "total_clean_error"), (boundary, "total_bndy_error")):
        beyond = violations(errors, count, 0.05, "samples")
        assert torch.allclose(beyond, errors - case[total] - 0.05, rtol=0, atol=1e-12)


def test_class_errors_in_float64_with_every_sample_attacked(world: World, given_noise: Callable[..., Any]) -> None:
    """As the published evaluation does it: wrong samples too, all steps, the last iterate; it repairs none."""
    case = world.arrays("frl_evaluate.npz")
    net, x, y = world.net(), world.x_eval, world.y_eval
    attack = PGD(steps=int(case["steps"]), step_size=repr(float(case["step"])), start="uniform")
    x_adv = attack(net, x, y, threat=linf(repr(float(case["eps"]))), noise=given_noise(world.unit_eval))
    clean, attacked = net(x).argmax(1) == y, net(x_adv).argmax(1) == y
    assert not bool((attacked & ~clean).any())
    for c in range(10):
        own = y == c
        assert float((~clean)[own].double().mean()) == pytest.approx(float(case["class_clean_error"][c]))
        assert float((clean & ~attacked)[own].double().mean()) == pytest.approx(float(case["class_bndy_error"][c]))


@pytest.mark.parametrize("row", ["frl_rw_epoch_rate1_rate2_lr", "frl_rmrw_epoch_rate1_rate2_lr"])
def test_rates_and_learning_rates_over_120_epochs(row: str, world: World) -> None:
    """Rates as the multipliers move by them, where errors never change."""
    rows = np.array(world.numbers("lr_schedules.json")[row])
    assert rows[:, 0].tolist() == list(range(1, 121))  # the script counts epochs from 1
    reweight = ConstraintReweight(
        slack_clean=0.0,
        slack_boundary=0.0,
        rate_clean=0.05,
        rate_boundary=0.1,
        cap=0.0,
        relative=False,
        rate_decay=0.5,
        decay_epochs=(39, 79, 119),
    )
    remargin = ConstraintRemargin(slack_boundary=0.0, rate=0.4, relative=False, windup=True, decay_epochs=())
    paper = ConstraintReweight(slack_clean=0.0, cap=0.0, relative=False)
    policy = Combined(members=(reweight, remargin, paper))
    state: State = policy.init(2)
    moved = []
    for epoch in range(120):
        before, seen = policy.notes(state), measured([0.5, 0.5], [0.25, 0.25], epoch - 1)
        state = policy.on_start(state, seen) if epoch == 0 else policy.on_epoch(state, seen)
        after = policy.notes(state)
        moved.append({key: float((after[key] - before[key])[0]) for key in after if "violation" not in key})
    assert [each["0.clean_multiplier"] / 0.5 for each in moved] == pytest.approx(rows[:, 1])
    assert [each["0.boundary_multiplier"] / 0.25 for each in moved] == pytest.approx(2 * rows[:, 1])
    assert [each["1.log_radius"] / 0.25 for each in moved] == pytest.approx(2 * rows[:, 2])
    schedule = Steps(drops=(40, 80))
    factors = [schedule.factor(epoch + share, 120) for epoch in range(120) for share in (0.0, 0.99)]
    assert [1e-3 * each for each in factors[::2]] == pytest.approx(rows[:, 3])
    assert [1e-3 * each for each in factors[1::2]] == pytest.approx(rows[:, 3])
    # The paper lets both decay together.
    assert [each["2.clean_multiplier"] / 0.5 for each in moved] == pytest.approx([0.05 * each for each in factors[::2]])


# ---------------------------------------------------------------- whole runs


SLACK, RATE = 0.1, 1.0


def toy_policy(**fields: Any) -> Combined:
    reweight = ConstraintReweight(
        slack_clean=SLACK, slack_boundary=SLACK, rate_clean=RATE, rate_boundary=RATE, **fields
    )
    return Combined(members=(reweight, ConstraintRemargin(slack_boundary=SLACK, rate=RATE)))


@pytest.fixture
def run_until_it_holds(tmp_path: Path, toy_run: Callable[..., Any], toy_data: Callable[..., ClassData]) -> Any:
    """A run of at most 12 epochs that shall end once every constraint holds."""
    data, policy = toy_data(per_class=40), toy_policy(stop=True)
    return toy_run(tmp_path / "until", data=data, epochs=12, objective=Trades(beta=1.5), policy=policy)


def test_a_run_stops_once_every_constraint_holds(run_until_it_holds: Any, tmp_path: Path) -> None:
    history = run_until_it_holds.history
    assert 1 < len(history) < 12
    beyond = [max(*entry["policy"]["0.clean_violation"], *entry["policy"]["0.boundary_violation"]) for entry in history]
    assert all(each > 0 for each in beyond[:-1])
    assert beyond[-1] <= 0
    status = json.loads((tmp_path / "until" / "status.json").read_text())
    assert status["stopped_by_policy"]
    assert status["epochs"] == len(history)


def test_the_history_holds_violations_and_the_knobs_they_lead_to(run_until_it_holds: Any) -> None:
    """Recomputed in NumPy from the accuracies in the event log: evaluated before each epoch, the first included."""
    history = run_until_it_holds.history
    (start,) = run_until_it_holds.directory.events.read("start")
    tables = [start["validation"]["raw"], *(entry["validation"]["raw"] for entry in history)]
    phi, log_radius = {"clean": np.zeros(3), "boundary": np.zeros(3)}, np.zeros(3)
    for epoch, table in enumerate(tables):
        clean, robust = np.array(table["clean"]), np.array(table["robust"])
        beyond = {}
        for kind, error in (("clean", 1 - clean), ("boundary", clean - robust)):
            beyond[kind] = error - error.mean() - SLACK
            phi[kind] = np.maximum(phi[kind] + RATE * beyond[kind], 0)
            phi[kind] *= min(1, 0.5 / max(phi[kind].sum(), 1e-9))
        log_radius = np.clip(log_radius + RATE * beyond["boundary"], 0, np.log(2))
        if epoch > 0:
            notes = history[epoch - 1]["policy"]
            for kind in ("clean", "boundary"):
                assert notes[f"0.{kind}_violation"] == pytest.approx(beyond[kind].tolist(), abs=1e-9)
                assert notes[f"0.{kind}_multiplier"] == pytest.approx(phi[kind].tolist(), abs=1e-9)
            assert notes["1.boundary_violation"] == notes["0.boundary_violation"]
            assert notes["1.log_radius"] == pytest.approx(log_radius.tolist(), abs=1e-9)
        if epoch < len(history):
            knobs = history[epoch]["knobs"]
            for knob, kind in (("label", "clean"), ("robust", "boundary")):
                weights = 3 * (1 / 3 + phi[kind] - phi[kind].mean())
                assert knobs[knob] == pytest.approx(weights.tolist(), abs=1e-6), (epoch, knob)
            assert knobs["radius"] == pytest.approx(np.exp(log_radius).tolist(), abs=1e-6)
    for knob in ("label", "robust", "radius"):
        assert any(max(entry["knobs"][knob]) > 1.05 for entry in history)  # each of them acted
    assert max(history[0]["knobs"]["label"]) > 1.05  # already in the first epoch


def test_without_stop_it_goes_on_and_nothing_else_changes(
    run_until_it_holds: Any, toy_run: Callable[..., Any], toy_data: Callable[..., ClassData], tmp_path: Path
) -> None:
    short = run_until_it_holds.history
    epochs = len(short) + 1
    data = toy_data(per_class=40)
    long = toy_run(tmp_path / "run", data=data, epochs=epochs, objective=Trades(beta=1.5), policy=toy_policy())
    assert len(long.history) == epochs
    for one, other in zip(short, long.history, strict=False):
        assert one["train"]["loss"] == other["train"]["loss"]
        assert one["policy"] == other["policy"]


def test_a_run_in_which_every_constraint_holds_is_trades(toy_run: Callable[..., Any], tmp_path: Path) -> None:
    never = Combined(
        members=(ConstraintReweight(slack_clean=1.0, slack_boundary=1.0), ConstraintRemargin(slack_boundary=1.0))
    )
    ours, plain = (
        toy_run(tmp_path / name, epochs=3, objective=Trades(beta=2.0), policy=policy)
        for name, policy in (("ours", never), ("plain", Uniform()))
    )
    first, second = ours.model("last").state_dict(), plain.model("last").state_dict()
    assert all(torch.allclose(first[key], second[key], rtol=0, atol=1e-7) for key in first)


def test_what_it_does_not_fit_is_refused(toy_run: Callable[..., Any], tmp_path: Path) -> None:
    """And weights of clean errors alone fit a loss without a robust term."""
    with pytest.raises(ValueError, match="sets the multiplier of the robust term, which neither objective"):
        toy_run(tmp_path / "a", objective=AdversarialTraining(), policy=ConstraintReweight())
    with pytest.raises(
        ValueError,
        match="sets the multiplier of the threat's radius, which objective 'natural' does not heed, and it runs no attack",
    ):
        toy_run(tmp_path / "b", objective=Natural(), policy=ConstraintRemargin())
    alone = ConstraintReweight(slack_clean=0.0, rate_clean=1.0, rate_boundary=0.0)
    run = toy_run(tmp_path / "c", objective=AdversarialTraining(), policy=alone)
    assert max(run.history[-1]["knobs"]["label"]) > 1
    assert run.history[-1]["knobs"]["robust"] == [1, 1, 1]


@pytest.mark.parametrize("rule", ["best-response", "exponentiated-gradient"])
def test_the_baseline_follows_the_training_error_of_the_last_epoch(
    rule: Any, toy_run: Callable[..., Any], tmp_path: Path
) -> None:
    policy = ErrorReweight(rule=rule, boost=2.0, rate=2.0)
    history = toy_run(tmp_path / "run", epochs=4, policy=policy).history
    assert history[0]["knobs"]["weight"] == pytest.approx([1, 1, 1], abs=1e-6)
    theta = np.zeros(3)
    for before, after in pairwise(history):
        error = np.array(before["train"]["error"])
        theta += 2 * (error - error.mean())
        lam = 0.5 * np.exp(theta) / (1 + np.exp(theta).sum())
        wanted = 1 + 3 * lam - lam.sum()
        if rule == "best-response":
            wanted = 1 + 2.0 * (error == error.max())
            wanted /= wanted.mean()
        assert after["knobs"]["weight"] == pytest.approx(wanted.tolist(), abs=1e-6)
        assert max(wanted) > 1.01


def test_the_baseline_divides_by_the_sum_of_weights(world: World, step: Callable[..., Step]) -> None:
    """sum w CE(x') / sum w over the batch: the loss, and a gradient, by hand from the perturbed images."""
    policy = ErrorReweight(rule="best-response", boost=4.0)
    errors = [0.1, 0.2, 0.9, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3]
    seen = {"train_error": torch.tensor(errors).double(), "train_count": torch.full((10,), 9.0).double()}
    state = policy.on_epoch(policy.init(10), {"epoch": torch.tensor(0), **seen})
    case = world.arrays("cfa_at_evalmode.npz")
    ours = step(case, world.unit, objective=AdversarialTraining(), policy=policy, state=state)
    net = world.net().train()
    weight = 1 + 4.0 * (world.y == 2)
    losses = torch.nn.functional.cross_entropy(net(ours.x_adv), world.y, reduction="none")
    loss = (weight * losses).sum() / weight.sum()
    loss.backward()
    assert 0 < int((world.y == 2).sum()) < 24
    assert ours.loss == pytest.approx(float(loss.detach()), abs=WEIGHT)
    assert torch.allclose(ours.gradients["fc.weight"], net.fc.weight.grad, rtol=0, atol=1e-6)
