"""A repair that makes the weakest class worse is not handed out: the guard, what it records, and all who read its choice."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import classwise as cw
from classwise import ClassData, Dataset, Run, TrainConfig
from classwise.attacks import PGD
from classwise.averaging import EpochEMA
from classwise.cli import run as command
from classwise.cli.show import run_summary
from classwise.configuration import replace
from classwise.data import Split
from classwise.lift import Lift
from classwise.metrics import ClassTable
from classwise.metrics.class_table import class_table, table_of_fractions
from classwise.models import Linear
from classwise.models.export import read_facts
from classwise.policies import KLDRO, Uniform
from classwise.progress import Silent
from classwise.repair import Interpolation, LogitBias
from classwise.runs import checkpoints
from classwise.selection import BestSum, BestWorst, Last, NoWorse, Selection
from classwise.training import SGD, Hardware

pytestmark = pytest.mark.filterwarnings("ignore:the start model is not robust")
QUIET = pytest.mark.filterwarnings("ignore:the repair did not succeed")
Make = Callable[..., Run]


def images(seed: int = 0, per_class: int = 40) -> ClassData:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(3 * per_class) % 3
    pattern = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(99))
    return ClassData(
        0.4 * pattern[labels] + 0.6 * torch.rand(len(labels), 1, 4, 4, generator=draw), labels, ("a", "b", "c")
    )


def data() -> Dataset:
    return Dataset("toy", train=images(), test=lambda: images(seed=4))


BASE = TrainConfig(
    split=Split(at_least=14),
    model=Linear(),
    threat=cw.linf("0.04"),
    adversary=PGD(steps=2, relative_step=0.5),
    validation_attack=PGD(steps=4, relative_step=0.5, stop_when_fooled=True, start="uniform"),
    optimizer=SGD(lr=0.1),
    epochs=3,
    batch_size=16,
    hardware=Hardware(device="cpu", precision="fp32"),
)
HARM = {"optimizer": SGD(lr=300.0), "policy": KLDRO(tau=0.5)}
"""A repair that collapses: one class is answered for all others."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run."""
    return cw.train(replace(BASE, epochs=8), tmp_path_factory.mktemp("start") / "start", data=data(), progress=Silent())


def repaired(start: Any, out: Path, progress: Any = None, **fields: Any) -> Run:
    """A guarded repair of it."""
    made = replace(BASE, **{"selection": NoWorse()} | fields)
    if isinstance(start, Run):
        return cw.finetune(start, data(), recipe=made, out=out, progress=progress or Silent())
    return cw.finetune(start, data(), recipe=made, out=out, network=Linear(), progress=progress or Silent())


def same(one: Run | Any, other: Any) -> bool:
    mine, theirs = (each.model().state_dict() for each in (one, other))
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def table(*robust: float, n: int = 20) -> ClassTable:
    return table_of_fractions({"n": [n] * len(robust), "clean": [1.0] * len(robust), "robust": list(robust)}, "abc")


def test_a_table_is_made_again_from_what_a_history_keeps() -> None:
    draw = np.random.default_rng(0)
    group, clean, robust = draw.integers(0, 3, 50), draw.random(50) < 0.8, draw.random(50) < 0.5
    whole = class_table(group, clean, robust, ["a", "b", "c", "nobody"])
    kept = {key: whole.to_dict()[key] for key in ("n", "clean", "robust")}
    again = table_of_fractions(kept, whole.names)
    for name, value in vars(whole).items():
        assert np.array_equal(value, getattr(again, name), equal_nan=isinstance(value, np.ndarray)), name


def test_what_is_admitted() -> None:
    rule, before = NoWorse(), table(0.5, 0.25, 0.75)
    assert rule.admits(table(0.25, 0.25, 0.25), before)  # as weak is not weaker
    assert rule.admits(table(0.3, 0.9, 0.9), before)  # whichever class it is
    assert not rule.admits(table(1.0, 0.2, 1.0), before)
    assert rule.admits(table(0.5, 0.25, 0.75, n=12), before)  # equal shares of other numbers are equal
    assert not BestSum().keeps_start
    assert BestSum().admits(table(0.0, 0.0, 0.0), before)
    assert rule.score(before, 3) == BestSum().score(before, 3)
    assert NoWorse(rule=Last()).score(before, 3) == 3
    with pytest.raises(ValueError, match="keeps the start already"):
        NoWorse(rule=NoWorse())


@QUIET
@pytest.mark.parametrize("form", ["run", "checkpoint", "file", "live"])
@pytest.mark.parametrize("averaging", [cw.averaging.NoAveraging(), EpochEMA(decay=0.5)], ids=["raw", "averaged"])
def test_a_repair_that_collapses_is_not_handed_out(form: str, averaging: Any, start: Run, tmp_path: Path) -> None:
    folder = start.checkpoint()[0]
    given = {"run": start, "checkpoint": folder, "file": folder / "model.safetensors", "live": start.model()}[form]
    run = repaired(given, tmp_path / "run", averaging=averaging, **HARM)
    worst = [min(each["robust"]) for entry in run.history for each in entry["validation"].values()]
    begun = run.directory.events.read("start")[0]["validation"]["raw"]["robust"]
    assert max(worst) < min(begun)
    assert same(run, start)
    assert run.checkpoint() == (run.directory.checkpoints.path(0), False) == run.checkpoint("best")
    assert run.directory.status["selected"] == {"best": 0}
    assert {tuple(each["selected"].items()) for each in run.history} == {(("best", 0),)}
    assert run.score() == pytest.approx(np.mean(begun) + min(begun))
    lift = run.lift
    assert lift is not None
    assert (lift.is_start, lift.is_success, lift.points) == (True, False, 0)
    assert lift.before.robust.tolist() == lift.after.robust.tolist() == begun
    assert lift.nearest is not None
    assert lift.nearest.table.worst.value == max(worst)
    with pytest.raises(ValueError, match="has no checkpoint 'averaged'"):
        run.checkpoint("averaged")


def test_the_caller_is_warned(start: Run, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"did not succeed.*Nothing was repaired.*--policy\.tau 0\.05;.*logit-bias"):
        repaired(start, tmp_path / "run", **HARM)


@QUIET
def test_without_the_guard_the_same_repair_is_handed_out_and_called_no_success(start: Run, tmp_path: Path) -> None:
    run = repaired(start, tmp_path / "run", selection=BestSum(), **HARM)
    assert int(run.checkpoint()[0].name) > 0
    assert run.lift is not None
    assert (run.lift.is_start, run.lift.is_success) == (False, False)
    assert run.lift.points < 0
    assert "the repair made it worse" in run_summary(run)
    assert (
        run.lift.after.robust.tolist() == run.history[int(run.checkpoint()[0].name) - 1]["validation"]["raw"]["robust"]
    )


def told(run: Run) -> dict[str, tuple[float, int]]:
    """The choice, worked out from the history by the rule's own words."""
    rule = run.config.selection
    assert isinstance(rule, NoWorse)
    names = run.class_names
    begun = table_of_fractions(run.directory.events.read("start")[0]["validation"]["raw"], names)
    found: dict[str, tuple[float, int]] = {}
    for name, which in (("best", "raw"), ("averaged", "averaged")):
        candidates = [(rule.rule.score(begun, 0), 0)]
        for entry in run.history:
            made = entry["validation"].get(which)
            if made is not None and min(made["robust"]) >= begun.worst.value:
                candidates.append(
                    (rule.rule.score(table_of_fractions(made, names), entry["epoch"]), entry["epoch"] + 1)
                )
        found[name] = max(candidates)
    return {name: each for name, each in found.items() if name == "best" or each[1]}


@QUIET
@pytest.mark.parametrize("rule", [BestSum(), BestWorst(), Last()], ids=lambda each: each.registered_name)
@pytest.mark.parametrize("rate", [0.05, 0.5, 3.0, 30.0])
def test_the_choice_is_that_of_the_rule_among_what_is_admitted(
    rule: Selection, rate: float, start: Run, tmp_path: Path
) -> None:
    fields = {"averaging": EpochEMA(decay=0.5), "optimizer": SGD(lr=rate), "epochs": 4}
    run = repaired(start, tmp_path / "run", selection=NoWorse(rule=rule), **fields)
    expected = told(run)
    assert run.directory.status["selected"] == {name: epochs for name, (_, epochs) in expected.items()}
    assert run.checkpoint()[1] == ("averaged" in expected)
    assert run.lift is not None
    assert run.lift.points >= 0


def test_of_a_run_from_random_weights_it_is_the_rule_alone(tmp_path: Path) -> None:
    runs = [
        cw.train(replace(BASE, selection=rule), tmp_path / rule.registered_name, data=data(), progress=Silent())
        for rule in (BestSum(), NoWorse())
    ]
    assert runs[0].directory.status["selected"] == runs[1].directory.status["selected"]
    assert runs[0].lift is runs[1].lift is None
    assert "start" not in {each["event"] for each in runs[1].directory.events.read()}


class Stop(Exception):
    """Raised in the middle of training."""


class StopAfter:
    """Progress that raises after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Any]:
        def advance(units: int = 1, note: str = "") -> None:
            self.left -= units if label == "train" else 0
            if self.left < 0:
                raise Stop

        yield advance


@QUIET
@pytest.mark.parametrize("rate", [0.05, 300.0])
def test_a_killed_run_chooses_as_one_that_was_left_alone(rate: float, start: Run, tmp_path: Path) -> None:
    fields = {"averaging": EpochEMA(decay=0.5), "optimizer": SGD(lr=rate), "repair": Interpolation(steps=2)}
    whole = repaired(start, tmp_path / "whole", **fields)
    steps = whole.history[0]["step"]
    for stop in (1, steps, 2):
        with pytest.raises(Stop):
            repaired(start, tmp_path / "parts", progress=StopAfter(stop), **fields)
    parts = repaired(start, tmp_path / "parts", **fields)
    assert parts.directory.status["selected"] == whole.directory.status["selected"]
    assert parts.checkpoint()[0].name == whole.checkpoint()[0].name
    assert same(parts, whole)
    assert [each["selected"] for each in parts.history] == [each["selected"] for each in whole.history]
    states = [checkpoints.load(each.directory.checkpoints.path(3)).state for each in (whole, parts)]
    assert states[0]["start"] == states[1]["start"]
    assert states[0]["trained"] == states[1]["trained"]


@QUIET
def test_a_repair_that_an_earlier_version_began_is_gone_on_with(start: Run, tmp_path: Path) -> None:
    """Its checkpoints know nothing of the start's table; its history does, and without that it says so."""
    fields = {"selection": BestSum(), "averaging": EpochEMA(decay=0.5)}
    whole = repaired(start, tmp_path / "whole", **fields)
    with pytest.raises(Stop):
        repaired(start, tmp_path / "parts", progress=StopAfter(whole.history[0]["step"]), **fields)
    shelf = Run(tmp_path / "parts").directory.checkpoints
    for folder in map(shelf.path, shelf.numbers()):
        found = checkpoints.load(folder)
        state = {name: value for name, value in found.state.items() if name not in ("start", "trained")}
        meta = {name: value for name, value in found.meta.items() if name not in ("format", "sha256", "seal")}
        checkpoints.save(folder, checkpoints.Checkpoint(found.model, found.averaged, state, meta))
    shutil.copytree(tmp_path / "parts", tmp_path / "lost")
    log = tmp_path / "lost" / "events.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if '"event": "start"' not in line))
    parts = repaired(start, tmp_path / "parts", **fields)
    assert parts.directory.status["selected"] == whole.directory.status["selected"]
    assert same(parts, whole)
    assert parts.lift is not None
    with pytest.raises(ValueError, match="no longer tells how the start did"):
        repaired(start, tmp_path / "lost", **fields)


def lift(before: ClassTable, after: ClassTable, is_start: bool = False) -> Lift:
    return Lift(before, after, is_start, None)


def test_only_a_lift_is_a_success() -> None:
    before = table(0.5, 0.25, 0.75)
    assert lift(before, table(0.3, 0.9, 0.9)).is_success
    even = lift(before, table(0.25, 0.5, 0.75))
    assert (even.is_success, even.points) == (False, 0)
    assert "neither lifted nor made worse" in even.told()
    assert not lift(before, table(0.9, 0.2, 0.9)).is_success
    assert not lift(before, before, is_start=True).is_success


def test_class_names_do_not_run_into_figures_and_intervals_say_of_how_many_images_they_are() -> None:
    fractions = {"n": [40, 60, 50], "clean": [1.0] * 3, "robust": [0.5, 0.0, 0.5]}
    before = table_of_fractions(fractions, ("0", "1", "2"))
    after = table_of_fractions(fractions | {"robust": [0.25, 0.5, 0.5]}, ("0", "1", "2"))
    assert (
        lift(before, after)
        .told()
        .startswith(
            f"Weakest class under attack, 150 validation images: at the start class 1 at {before.worst} (n = 60), "
            f"now class 0 at {after.worst} (n = 40): lifted by 25.0 points."
        )
    )


@QUIET
def test_all_who_read_a_checkpoint_read_the_start(start: Run, tmp_path: Path) -> None:
    run = repaired(start, tmp_path / "run", **HARM)
    words = "the start's weights, since nothing was repaired"
    before, after = (each.audit(attacks="pgd-2", progress=Silent()) for each in (start, run))
    assert after.plan.model == f"run ({words})"
    assert after.outcomes.prediction.tolist() == before.outcomes.prediction.tolist()
    assert words in str(cw.compare(before, after))
    by_path = cw.audit(run.path, data(), attacks="pgd-2", progress=Silent())
    assert by_path.plan.model == after.plan.model
    lifted = repaired(start, tmp_path / "lifted", optimizer=SGD(lr=0.001), selection=BestSum())
    begun = lifted.audit(checkpoint="start", attacks="pgd-2", progress=Silent())
    assert begun.plan.model == "lifted (the start's weights)"
    assert begun.outcomes.prediction.tolist() == before.outcomes.prediction.tolist()
    cw.export(run, tmp_path / "exported")
    assert "nothing was repaired" in read_facts(tmp_path / "exported")["weights"]["which"]
    page = run.report().read_text(encoding="utf-8")
    assert "Nothing was repaired: the weights handed out are the start" in page
    assert "Selected weights: those of the start." in page
    unaudited = repaired(start, tmp_path / "unaudited", **HARM).report().read_text(encoding="utf-8")
    assert "weights of the start, since no epoch was kept" in unaudited
    again = repaired(run, tmp_path / "again", policy=Uniform(), optimizer=SGD(lr=0.001))
    assert all(
        torch.equal(value, start.model().state_dict()[name])
        for name, value in again.model("start").state_dict().items()
    )


@QUIET
def test_a_bias_is_fitted_to_the_start_where_it_is_what_is_kept(start: Run, tmp_path: Path) -> None:
    run = repaired(start, tmp_path / "run", repair=LogitBias(rounds=1), **HARM)
    assert run.repair["of"] == {"weights": "raw", "epochs": 0}
    assert run.repair["validation"]["before"] == run.directory.events.read("start")[0]["validation"]["raw"]
    assert run.lift is not None
    assert run.lift.is_start is not run.repair["better"]
    assert run.lift.points >= 0


@QUIET
def test_what_lies_between_the_start_and_a_refused_epoch_is_tried(tmp_path: Path) -> None:
    """And what is refused of it is not handed out."""
    weak = cw.train(replace(BASE, epochs=1, optimizer=SGD(lr=0.05)), tmp_path / "weak", data=data(), progress=Silent())
    outcomes = set()
    for rate in (0.05, 0.3, 5.0):
        fields = {"repair": Interpolation(steps=2), "optimizer": SGD(lr=rate), "epochs": 1, "policy": KLDRO(tau=0.5)}
        run = repaired(weak, tmp_path / f"{rate}", **fields)
        assert run.repair["of"]["epochs"] == 1
        assert run.lift is not None
        assert run.lift.points >= 0
        refused = run.directory.status["selected"]["best"] == 0
        assert run.repair["of_selected"] is not refused
        outcomes.add((refused, run.repair["better"], run.lift.is_start))
        if not run.repair["better"]:
            assert run.checkpoint() == run.checkpoint("best")
        if refused and not run.repair["better"]:
            assert "found nothing to hand out in place of what the selection keeps" in run_summary(run)
    # Something between is better than the start; nothing is; the epoch itself was admitted, and is the best.
    assert outcomes == {(True, True, False), (True, False, True), (False, False, False)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_command_says_so_and_ends_with_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digits, and a learning rate at which training collapses."""
    small = ["--validation-attack.steps", "2", "--adversary.steps", "3"]
    assert command(["train", "digits-pgd-at", *small, "--epochs", "14", "--out", str(tmp_path / "at")]) == 0
    assert "Weakest class under attack" not in capsys.readouterr().out
    words = [
        "finetune",
        str(tmp_path / "at"),
        "--recipe",
        "digits-faal",
        "--optimizer.lr",
        "1",
        *small,
        "--epochs",
        "1",
    ]
    assert command([*words, "--out", str(tmp_path / "repair")]) == 4
    out = capsys.readouterr().out
    assert "Selected: the weights of the start, none of those after 1 epochs." in out
    assert "Nothing was repaired: the weights handed out are the start's." in out
    assert "Nearest came the raw weights after epoch 1, weakest class" in out
    assert "points below the start." in out
    assert "--policy.tau 0.05" in out
    assert "logit-bias" in out
    assert command([*words, "--out", str(tmp_path / "repair")]) == 4  # also where it is finished already
    assert command(["finetune", "--help"]) == 0
    assert "Exit code 4" in capsys.readouterr().out
