"""Full CIFAR-10: what is planned, that a stopped benchmark goes on, how a combination is chosen, and the small form whole."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import classwise as cw
import full_size
import make_results_page
from classwise.configuration import replace
from classwise.data import CIFAR10
from classwise.data.cifar10 import CLASS_NAMES
from classwise.experiments.sizes import begins
from classwise.policies import Hedge
from effects_cells import Folder
from full_size import Plan, choice, measure
from full_size_methods import COMBINATIONS, REPAIR, SCRATCH, SIZES, Entry, entries

SHORT, SMALL = entries(), entries(SIZES["small"])
OF_METHOD = {"objective", "policy", "averaging", "perturbation", "repair", "epochs"}


def plan(tmp: Path, suite: str = "pgd-20", starts: int = 1, per_class: int = 3) -> Plan:
    return Plan("small", suite, SMALL, tmp / "out", tmp / "work", starts, per_class)


class Finished:
    """A clock that a cell moves on by a minute, and cells that cost nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scores: dict[str, float] | None = None) -> None:
        self.names: list[tuple[str, int]] = []
        self.scores = scores or {}
        monkeypatch.setattr(full_size.Bench, "finish", self._finish_of())

    def _finish_of(self) -> Any:
        def finish(bench: full_size.Bench, name: str) -> None:
            self.names.append((name, bench.seed))
            folder = bench.plan.folder()
            planned = folder.plan()
            assert planned is not None
            right = np.ones(planned["test_images"], bool)
            facts = {"labels_sha256": planned["labels_sha256"], "validation_score": self.scores.get(name, 0.5)}
            folder.write(name, bench.seed, right, right, facts)

        return finish

    def clock(self) -> float:
        return 60.0 * len(self.names)


def test_the_methods_asked_for_are_planned_in_both_protocols() -> None:
    for protocol in (SCRATCH, REPAIR):
        names = {name.removeprefix(f"{protocol}-") for name in SHORT if name.startswith(protocol)}
        assert names >= {"at", "trades", "cfa-at", "cfa-trades", "faal-at", "faal-trades", "wat-trades", "dafa-trades"}
        assert names >= set(COMBINATIONS)
    assert [*SHORT] == [*SMALL]
    assert len({entry.label for entry in SHORT.values() if entry.protocol == REPAIR}) * 2 > len(SHORT)


@pytest.mark.parametrize("protocol", [SCRATCH, REPAIR])
@pytest.mark.parametrize("known", [SHORT, SMALL], ids=["short", "small"])
def test_a_method_changes_nothing_of_its_base_but_what_it_is(known: dict[str, Entry], protocol: str) -> None:
    for entry in (each for each in known.values() if each.base and each.protocol == protocol):
        base = known[entry.base]
        changed = {
            field.name
            for field in dataclasses.fields(base.config)
            if getattr(base.config, field.name) != getattr(entry.config, field.name)
        }
        assert changed <= OF_METHOD, entry.name
        assert changed & (OF_METHOD - {"objective", "epochs"}), entry.name
        assert ("epochs" in changed) == ("repair" in changed)
        assert entry.start in ("", base.start) or entry.start == entry.base
        assert entry.name.endswith(f"-{base.name.removeprefix(f'{protocol}-')}")


def test_the_short_form_is_full_cifar_10() -> None:
    frame, repair = SHORT["scratch-at"].config, SHORT["repair-at"].config
    assert frame.data.registered_name == "cifar10"
    assert frame.model.registered_name == "preact-resnet18"
    assert (frame.epochs, frame.schedule.drops, repair.epochs) == (30, (15, 22), 2)  # type: ignore[attr-defined]
    assert frame.split.train_per_class == 0
    assert float(frame.threat.radius) == pytest.approx(8 / 255)  # type: ignore[arg-type]
    shared = {"data", "split", "model", "threat", "augmentation", "batch_size", "adversary", "selection", "hardware"}
    assert all(getattr(frame, axis) == getattr(repair, axis) for axis in shared)


@pytest.mark.parametrize("name", [name for name, entry in SHORT.items() if entry.base])
def test_every_mechanism_may_act_in_half_of_the_epochs(name: str) -> None:
    config = SHORT[name].config
    assert all(2 * first <= config.epochs for first in begins(config).values())


def test_the_rate_of_wat_makes_up_for_fewer_epochs() -> None:
    for name, rate in (("scratch-wat-trades", 0.1 * 100 / 30), ("repair-wat-trades", 0.1 * 100 / 2)):
        policy = SHORT[name].config.policy
        assert isinstance(policy, Hedge)
        assert policy.rate == pytest.approx(rate)


def test_rows_come_after_what_they_need_and_combinations_last() -> None:
    names = [*SHORT]
    for name, entry in SHORT.items():
        for needed in filter(None, (entry.start, entry.base)):
            assert names.index(needed) < names.index(name)
    kinds = [SHORT[name].combination for name in names]
    assert kinds == sorted(kinds)
    assert sum(kinds) == 2 * len(COMBINATIONS)


def test_a_time_budget_stops_after_the_cell_that_passes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, done, names = plan(tmp_path, starts=2), Finished(monkeypatch), tuple(SMALL)[:4]
    measure(made, "the command", names, minutes=2.5, clock=done.clock)
    assert done.names == [(name, 0) for name in names[:3]]
    assert "Stopped after 2.5 minutes, 5 cells are left: the same command goes on." in capsys.readouterr().out
    measure(made, "the command", names, clock=done.clock)
    assert done.names == [(name, seed) for seed in (0, 1) for name in names]
    measure(made, "the command", names, clock=done.clock)
    assert len(done.names) == 2 * len(names)
    assert "Stopped" not in capsys.readouterr().out
    measure(made, "the command", names, minutes=0.01, clock=done.clock)  # nothing is left to stop before
    assert "Stopped" not in capsys.readouterr().out


def test_validation_scores_choose_a_combination_once_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (f"{REPAIR}-{name}" for name in COMBINATIONS)
    made, done = plan(tmp_path), Finished(monkeypatch, {one: 0.4, two: 0.7, three: 0.6})
    measure(made, "the command", (one, two), clock=done.clock)
    assert choice(SMALL, made.folder().read(), REPAIR, 1) is None
    standard = replace(made, suite="standard")
    assert not {one, two, three} & {*standard.names()}
    measure(made, "the command", (three,), clock=done.clock)
    assert choice(SMALL, made.folder().read(), REPAIR, 1) == two
    assert choice(SMALL, made.folder().read(), REPAIR, 2) is None
    assert {one, two, three} & {*standard.names()} == {two}
    assert not any(SMALL[name].combination for name in standard.names() if SMALL[name].protocol == SCRATCH)


def test_other_suites_have_a_folder_of_their_own_and_stand_ins_when_small(tmp_path: Path) -> None:
    made = plan(tmp_path, "standard")
    assert made.attacks == "quick"
    assert made.folder().path != made.folder("pgd-20").path
    assert replace(made, size="short").attacks == "standard"
    with pytest.raises(ValueError, match="method 'wat' is not planned: choose of scratch-at"):
        made.names(("wat",))


def test_the_command_on_the_page_names_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(full_size, "measure", lambda *given: called.append(given))
    full_size.main()
    full_size.main(size="small", suite="standard", per_class=10, starts=2, minutes=9, device="cpu")
    assert [command for _, command, *_ in called] == [
        "python benchmarks/full_size.py",
        "python benchmarks/full_size.py --size small --suite standard --per-class 10 --starts 2",
    ]
    assert [given[0].out for given in called] == [full_size.OUT, full_size.WORK / "results"]
    assert called[1][0].entries["repair-wat-trades"].config.hardware.device == "cpu"


def test_the_short_form_is_planned_on_the_images_of_cifar_10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randint(256, (3270, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    train, test = (
        cw.ClassData(part, torch.arange(len(part)) % 10, CLASS_NAMES) for part in (noise[:3200], noise[3200:])
    )
    read: list[str] = []

    def load(source: CIFAR10) -> cw.Dataset:
        read.append(source.folder)
        return cw.Dataset("cifar10", train, lambda: test)

    monkeypatch.setattr(CIFAR10, "load", load)
    done = Finished(monkeypatch)
    full_size.main(methods=("scratch-at",), seeds=(2,), data_dir="of/mine", out=tmp_path, work=tmp_path / "work")
    assert done.names == [("scratch-at", 2)]
    assert read == ["of/mine"]
    planned = Folder(tmp_path / "short-pgd-20").plan()
    assert planned is not None
    assert (planned["train_images"], planned["validation_images"], planned["test_images"]) == (200, 3000, 70)
    assert (planned["suite"], planned["starts"], planned["epochs"], planned["start_epochs"]) == ("pgd-20", 3, 2, 30)
    assert "of/mine" not in (tmp_path / "short-pgd-20" / "plan.json").read_text()


@pytest.mark.slow
def test_the_small_form_goes_from_nothing_to_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, standard = plan(tmp_path), plan(tmp_path, "standard")
    measure(first, "the command")
    cells = first.folder().read()
    assert set(cells) == {(name, 0) for name in SMALL}
    scores = {name: cells[name, 0].facts["validation_score"] for name in SMALL}
    chosen = {protocol: choice(SMALL, cells, protocol, 1) for protocol in (SCRATCH, REPAIR)}
    for protocol, name in chosen.items():
        assert name is not None
        assert scores[name] == max(scores[f"{protocol}-{each}"] for each in COMBINATIONS)
    cell = cells["repair-faal-at", 0]
    run = cw.Run(first.work / "repair-faal-at-0")
    assert Path(run.config.start).name == "scratch-at-0"
    assert cell.facts["validation_score"] == run.score()
    outcomes = run.audit(attacks="pgd-20", per_class=3).outcomes
    np.testing.assert_array_equal(cell.robust, outcomes.robust_correct(0))
    for name, entry in SMALL.items():
        facts = cells[name, 0].facts
        assert facts["epochs"] == entry.config.epochs
        assert entry.config.policy.steered() <= set(facts["acted"])
        assert bool(facts["acted"]) == (facts["trained"] and entry.base != "")
        assert str(tmp_path) not in first.folder().file(name, 0).read_text()
    monkeypatch.setattr(full_size.Bench, "config", _refuse_to_train(first))
    measure(standard, "the command", ("repair-faal-at", "scratch-wat-trades", *filter(None, chosen.values())))
    assert len(standard.folder().read()) == 4
    text = make_results_page.page(tmp_path / "out", "small")
    shown = Folder(tmp_path / "out" / "small-pgd-20").read()
    assert text.count("(best combination) | 1 |") >= 2
    assert len(shown) == len(SMALL)
    for protocol, name in chosen.items():
        assert name is not None
        assert f"It is {SMALL[name].label}: " in " ".join(text.split()), protocol


def _refuse_to_train(made: Plan) -> Any:
    """The configuration of a run that is finished; a suite has to find them all."""
    config = full_size.Bench.config

    def checked(bench: full_size.Bench, name: str) -> Any:
        assert (made.work / f"{name}-{bench.seed}").is_dir(), f"{name} is trained again"
        return config(bench, name)

    return checked
