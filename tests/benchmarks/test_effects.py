"""Cells of the tables on effects: what is planned, what is kept, and that a stopped benchmark goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import classwise as cw
import effects
import make_effects_page
from classwise import registry
from classwise.attacks import PGD
from classwise.configuration import replace
from classwise.data import Split
from classwise.models import Linear
from classwise.policies import ClassPolicy, Combined
from classwise.threat import linf
from effects_cells import Folder, packed, unpacked
from effects_methods import BASES, METHODS, Part, Situation, cifar10_part, digits_part, published_part

TINY: dict[str, Any] = {
    "split": Split(fraction=0, at_least=6, train_per_class=20),
    "model": Linear(),
    "threat": linf(0.02),
    "adversary": PGD(steps=2),
    "validation_attack": PGD(steps=2),
}
SITUATION = Situation(epochs=10, gate=0.2, start=(0.5, 0.1, 0.9), adversary=PGD(steps=5, relative_step=0.4))


def tiny(*methods: str, epochs: int = 2, starts: int = 2) -> Part:
    """A part whose cells take a moment."""
    part = digits_part()
    return replace(
        part,
        start=replace(part.start, **TINY, epochs=4),
        repair=replace(part.repair, **TINY, epochs=epochs),
        methods=methods,
        starts=starts,
        suite="fgsm",
        per_class=3,
    )


def measure(part: Part, tmp: Path, methods: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> Folder:
    effects.measure(part, "the command", methods, seeds, tmp / "out", tmp / "work")
    return Folder(tmp / "out" / part.name)


def names(folder: Folder) -> set[str]:
    return {path.name for path in folder.path.iterdir()}


@pytest.mark.parametrize("n", [1, 8, 13, 596])
def test_verdicts_survive_packing(n: int) -> None:
    outcomes: NDArray[np.bool_] = np.random.default_rng(n).random(n) < 0.7
    assert len(packed(outcomes)) == 2 * -(-n // 8)
    np.testing.assert_array_equal(unpacked(packed(outcomes), n), outcomes)


def members(policy: ClassPolicy) -> set[str]:
    own = {policy.registered_name}
    return own.union(*map(members, policy.members)) if isinstance(policy, Combined) else own


def test_every_policy_is_measured_on_the_digits() -> None:
    known = {
        each for each in registry.names("policy") if registry.get("policy", each).__module__.startswith("classwise.")
    }
    changes = [METHODS[name].change(SITUATION) for name in digits_part().methods]
    found = set().union(*(members(change["policy"]) for change in changes if "policy" in change))
    assert len(known) >= 13
    assert found == known - {"uniform"}
    assert set(digits_part().bases()) == set(BASES)


def test_the_cifar_part_has_the_methods_asked_for_and_a_null_model_of_each_base() -> None:
    part = cifar10_part()
    assert {"faal", "frl-rm", "frl-rmrw", "cfa", "wat", "dafa", "baseline-reweight"} <= set(part.methods)
    assert METHODS["frl-rm"].change(SITUATION)["adversary"] == PGD(steps=5, relative_step=0.4, step_from="batch")
    for base in part.bases():
        assert [METHODS[name].base for name in part.methods if METHODS[name].after_base].count(base) == 1
    assert part.start.split.train_per_class == 1000
    assert part.repair.epochs * 2 <= 2 * part.start.epochs


def test_a_method_changes_nothing_of_its_base_but_what_it_is() -> None:
    allowed = {"policy", "averaging", "adversary", "repair", "mixing", "perturbation", "epochs"}
    for name, method in METHODS.items():
        changed = set(method.change(SITUATION))
        assert changed <= allowed, name
        assert ("epochs" in changed) == (method.after_base or name in OWN_LENGTH), name
        assert (name in OWN_LENGTH) == ("epochs" in method.label)
    assert METHODS["one-class"].change(SITUATION)["policy"].weight == (1.0, 2.0, 1.0)
    # 0.05 an epoch for 120 epochs moves as far as 0.6 for 10
    assert METHODS["frl-rw"].change(SITUATION)["policy"].rate_clean == pytest.approx(0.6)


OWN_LENGTH = {"faal-2", "frl-80"}
"""Methods whose published lengths are what is compared."""
TWO = tiny("faal", "baseline-reweight", starts=1)
FINISHED = {"plan.json", "start-pgd-at-0.json", "pgd-at-0.json", "faal-0.json", "baseline-reweight-0.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a benchmark of two methods ran without a stop."""
    tmp: Path = tmp_path_factory.mktemp("whole")
    measure(TWO, tmp)
    return tmp


def test_a_finished_cell_holds_what_the_audit_says_and_no_place_on_this_machine(whole: Path) -> None:
    folder = Folder(whole / "out" / "digits")
    assert names(folder) == FINISHED
    cell, base = (folder.read()[name, 0] for name in ("faal", "pgd-at"))
    result = cw.Run(whole / "work" / "digits" / "faal-0").audit(attacks="fgsm", per_class=3)
    np.testing.assert_array_equal(cell.clean, result.outcomes.clean_correct)
    np.testing.assert_array_equal(cell.robust, result.outcomes.robust_correct(0))
    np.testing.assert_array_equal(Folder.labels(folder.plan() or {}), result.outcomes.label)
    assert cell.facts["acted"] == {"batch_weight": {"first": 0, "epochs": 2}}
    assert cell.facts["config"]["start"] == "start-pgd-at-0"
    assert str(whole) not in folder.file("faal", 0).read_text()
    assert base.facts["base"] is None
    settings = base.facts["config"]
    assert {key for key in settings if settings[key] != cell.facts["config"][key]} == {"policy"}


def test_a_stopped_benchmark_goes_on_and_ends_alike(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = effects.Bench._audit

    def stopping(bench: effects.Bench, run: Any) -> Any:
        if run.path.name == "faal-0":
            raise KeyboardInterrupt
        return audit(bench, run)

    monkeypatch.setattr(effects.Bench, "_audit", stopping)
    with pytest.raises(KeyboardInterrupt):
        measure(TWO, tmp_path)
    monkeypatch.setattr(effects.Bench, "_audit", audit)
    stopped = Folder(tmp_path / "out" / "digits")
    assert names(stopped) == {"plan.json", "start-pgd-at-0.json", "pgd-at-0.json"}
    before = stopped.file("pgd-at", 0).stat().st_mtime_ns
    measure(TWO, tmp_path)
    assert names(stopped) == FINISHED
    assert stopped.file("pgd-at", 0).stat().st_mtime_ns == before
    there = stopped.read()
    for key, cell in Folder(whole / "out" / "digits").read().items():
        np.testing.assert_array_equal(cell.robust, there[key].robust)


def test_finished_cells_are_not_trained_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cw, "train", lambda *_, **__: pytest.fail("it is trained again"))
    measure(TWO, whole)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        measure(TWO, whole, seeds=(1,))


def test_a_checkpoint_is_the_start_of_all_and_audited_once(whole: Path, tmp_path: Path) -> None:
    network = cw.Run(whole / "work" / "digits" / "start-pgd-at-0").model()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    part = replace(tiny("faal", epochs=1), checkpoint=str(tmp_path / "weights.pth"))
    folder = measure(part, tmp_path)
    assert names(folder) == {
        "plan.json",
        "start-given-0.json",
        *(f"{n}-{s}.json" for n in ("pgd-at", "faal") for s in "01"),
    }
    cells, others = folder.read(), Folder(whole / "out" / "digits").read()
    np.testing.assert_array_equal(cells["start-given", 0].robust, others["start-pgd-at", 0].robust)
    assert cells["faal", 1].facts["config"]["start"] == (folder.plan() or {})["start"] == "weights.pth"
    text = make_effects_page.section(part, folder)
    assert "Starts are the checkpoint `weights.pth`" in " ".join(text.split())
    assert "| the start | 1 |" in text


def test_only_the_methods_asked_for_are_measured_with_their_bases() -> None:
    part = digits_part()
    bench = effects.Bench(part, 0, part.start.data.load(), Folder(Path("out")), Path("work"))
    assert list(bench.names(("wat",))) == ["start-trades", "trades", "wat"]
    assert list(bench.names(("frl-rw",))) == ["start-pgd-at", "trades-1.5", "frl-rw"]
    assert list(bench.names(("absld",)))[:2] == ["start-pgd-at", "start-trades"]
    assert set(bench.names(part.methods)) == {"start-pgd-at", "start-trades", *BASES, *METHODS}
    given = replace(bench, part=published_part(checkpoint="weights.pth"))
    assert list(given.names(("faal",))) == ["start-given", "pgd-at", "faal"]
    assert list(replace(given, seed=1).names(("faal",))) == ["pgd-at", "faal"]


def test_another_plan_is_refused_and_more_starts_are_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "digits")
    part = tiny("faal")
    plan = effects.plan_of(part, part.start.data.load(), "the command")
    folder.begin(plan)
    folder.begin(plan | {"starts": 7})
    folder.begin(plan)
    assert (folder.plan() or {})["starts"] == 7
    with pytest.raises(ValueError, match=r"another plan \(its suite differ\).*--out"):
        folder.begin(plan | {"suite": "pgd-20"})
    with pytest.raises(ValueError, match="'wat' is not planned for digits: choose of faal"):
        measure(part, tmp_path, methods=("wat",))


def test_the_command_on_the_page_names_what_differs_and_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(effects, "measure", lambda *given: called.append(given))
    effects.published("/of/mine/w.pth", data_dir="/of/mine", per_class=50, threads=1, starts=2)
    effects.cifar10()
    effects.digits(starts=2)
    commands = [command.removeprefix("python benchmarks/effects.py ") for _, command, *_ in called]
    assert commands == [
        "published --checkpoint FILE --data-dir FOLDER --per-class 50 --starts 2",
        "cifar10",
        "digits --starts 2",
    ]
    part = called[0][0]
    assert (part.starts, part.per_class, part.start.data.folder) == (2, 50, "/of/mine")
    assert part.repair.schedule.drops == (1,)
    assert part.repair.hardware.threads == 1


def test_half_written_and_foreign_cells_are_not_taken_for_cells(tmp_path: Path) -> None:
    part = tiny("faal")
    folder = Folder(tmp_path / "digits")
    plan = effects.plan_of(part, part.start.data.load(), "the command")
    folder.begin(plan)
    verdicts = np.ones(plan["test_images"], bool)
    folder.write("faal", 0, verdicts, verdicts, {"labels_sha256": plan["labels_sha256"]})
    folder.file("faal", 1).with_suffix(".part").write_text('{"figures"')
    assert list(folder.read()) == [("faal", 0)]
    foreign = json.loads(folder.file("faal", 0).read_text())
    foreign["figures"]["labels_sha256"] = "other"
    folder.file("faal", 2).write_text(json.dumps(foreign))
    with pytest.raises(ValueError, match="other images than its neighbours"):
        folder.read()


@pytest.mark.slow
@pytest.mark.parametrize(
    "epochs", [digits_part().repair.epochs, cifar10_part().repair.epochs, published_part().repair.epochs]
)
def test_every_mechanism_acts_in_at_least_half_of_the_epochs(tmp_path: Path, epochs: int) -> None:
    trained = tuple(name for name, method in METHODS.items() if not method.after_base and name not in OWN_LENGTH)
    cells = measure(replace(tiny(*trained, epochs=epochs, starts=1), gate=0.0), tmp_path).read()
    for name in trained:
        facts = cells[name, 0].facts
        assert facts["epochs"] == epochs
        acting = [each["epochs"] for each in facts["acted"].values()]
        acting += [facts["averaged_epochs"]] if facts["config"]["averaging"]["name"] != "none" else []
        acting += [epochs] if facts["config"]["mixing"]["name"] != "none" else []
        assert acting, name
        assert min(acting) * 2 >= epochs, name
        steered = METHODS[name].change(SITUATION).get("policy")
        assert steered is None or steered.steered() <= facts["acted"].keys(), name


def test_a_null_model_goes_on_from_the_network_of_its_base(tmp_path: Path) -> None:
    cells = measure(tiny("logit-bias", starts=1), tmp_path).read()
    facts = cells["logit-bias", 0].facts
    assert facts["config"]["start"] == "pgd-at-0"
    assert facts["config"]["repair"]["name"] == "logit-bias"
    assert (facts["epochs"], facts["trained"], facts["base"]) == (0, False, "pgd-at")
