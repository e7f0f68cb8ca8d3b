"""The register of claims: verdicts follow from cells by the rules, and the page is what cells and theory make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import claims_register
import claims_runs
import make_claims_page
from claims import Claim, Computed, Place, Test, Verdict, answer, places, together
from claims_measures import Average, Fall, Group, HardHit, OneClass, Spread, Told, Worst, drawn, halves
from claims_theory import _over
from effects_cells import Cell, Folder
from effects_methods import BASES, METHODS

ROOT = Path(__file__).parents[2]
Bools = NDArray[np.bool_]
LABELS = np.repeat(np.arange(10), 60)
REGISTER = claims_register.register()
MEASURED = [claim for claim in REGISTER if claim.tests]


def cell(arm: str, seed: int, clean: Bools, robust: Bools, **facts: Any) -> Cell:
    return Cell(arm, seed, clean, robust & clean, facts, {})


def made(rates: float | NDArray[np.float64], seed: int) -> Bools:
    """Verdicts in which each class is right at a rate."""
    share = np.broadcast_to(np.asarray(rates, np.float64), 10)[LABELS]
    return np.random.default_rng(seed).random(len(LABELS)) < share


def place(cells: dict[str, list[float | NDArray[np.float64]]], starts: int = 5, title: str = "digits") -> Place:
    """Cells of arms with the robust rates of each start; clean verdicts are all right."""
    found = {
        (arm, seed): cell(arm, seed, np.ones(len(LABELS), bool), made(rate, 100 * seed + 7))
        for arm, each in cells.items()
        for seed, rate in enumerate(each)
    }
    return Place(title, found, LABELS, starts)


GAIN = Claim("gain", "faal", "here", "It helps.", (Test(Worst("robust"), "new", "old"),))


def test_there_are_claims_of_all_papers_and_each_says_what_decides_it() -> None:
    assert 25 <= len(REGISTER) <= 40
    assert len({claim.key for claim in REGISTER}) == len(REGISTER)
    assert {claim.paper for claim in REGISTER} == set(make_claims_page.PAPERS)
    assert all(bool(claim.tests) != bool(claim.rule) for claim in REGISTER)
    assert len(MEASURED) >= 20


@pytest.mark.parametrize("claim", MEASURED, ids=lambda claim: claim.key)
def test_every_arm_is_planned_and_one_place_can_have_all_of_them(claim: Claim) -> None:
    arms = {arm for test in claim.tests for arm in test.arms}
    starts = {f"start-{base.start}" for base in BASES.values()}
    of_effects = METHODS.keys() | BASES.keys() | starts
    of_runs = {each for name in claims_runs.RUNS for each in claims_runs.cells_of(name)}
    assert arms <= of_effects or arms <= of_runs
    assert all(make_claims_page.arm(arm) for arm in arms)


def test_every_planned_run_decides_some_claim_or_starts_another_run() -> None:
    used = {arm for claim in MEASURED for test in claim.tests for arm in test.arms}
    later = {planned.after for planned in claims_runs.RUNS.values()}
    idle = [name for name in claims_runs.RUNS if name not in later and not used & set(claims_runs.cells_of(name))]
    assert not idle


@pytest.mark.parametrize(("new", "verdict"), [(0.85, Verdict.HOLDS), (0.25, Verdict.FAILS), (0.5, Verdict.OPEN)])
def test_a_verdict_needs_an_interval_on_one_side(new: float, verdict: Verdict) -> None:
    found = answer(GAIN, [place({"new": [new] * 5, "old": [0.5] * 5})])
    assert found.verdict is verdict
    assert found.because == ("intervals hold both" if verdict is Verdict.OPEN else "")


def test_the_other_side_and_the_bound_are_heeded() -> None:
    at = place({"new": [0.8] * 5, "old": [0.5] * 5})
    gain = (
        100
        * Average("robust")
        .figure([at.cells["new", s] for s in range(5)], [at.cells["old", s] for s in range(5)], LABELS)
        .value
    )
    assert 25 < gain < 35
    for side, bound, verdict in (
        ("above", 20.0, Verdict.HOLDS),
        ("above", 40.0, Verdict.FAILS),
        ("below", 40.0, Verdict.HOLDS),
        ("below", 20.0, Verdict.FAILS),
        ("below", gain, Verdict.OPEN),
    ):
        assert Test(Average("robust"), "new", "old", side, bound).found(at).verdict is verdict  # type: ignore[arg-type]


def test_nothing_is_decided_before_all_planned_starts_are_finished() -> None:
    clear = {"new": [0.9] * 4, "old": [0.3] * 5}
    found = answer(GAIN, [place(clear)])
    assert (found.verdict, found.because) == (Verdict.OPEN, "unfinished")
    assert answer(GAIN, [place(clear, starts=4)]).verdict is Verdict.HOLDS
    assert answer(GAIN, [place({"new": [0.9], "old": [0.3]}, starts=1)]).verdict is Verdict.OPEN  # no spread of starts
    assert answer(GAIN, [place({"new": [0.9] * 5})]).because == "not measured"


def test_starts_that_disagree_decide_nothing() -> None:
    found = answer(GAIN, [place({"new": [0.9, 0.2, 0.9, 0.2, 0.5], "old": [0.5] * 5})])
    assert found.verdict is Verdict.OPEN


def test_places_that_disagree_decide_nothing_and_those_that_are_open_do_not_vote() -> None:
    up = place({"new": [0.9] * 5, "old": [0.4] * 5}, title="a")
    down = place({"new": [0.4] * 5, "old": [0.9] * 5}, title="b")
    even = place({"new": [0.5] * 5, "old": [0.5] * 5}, title="c")
    assert answer(GAIN, [up, down]).because == "places disagree"
    assert answer(GAIN, [up, even]).verdict is Verdict.HOLDS
    assert make_claims_page.verdict(answer(GAIN, [up, even])) == "**holds here** (a)"
    assert make_claims_page.verdict(answer(GAIN, [even])) == "not decided (intervals hold both)"
    assert answer(GAIN, [down, even]).verdict is Verdict.FAILS


def test_all_tests_of_a_claim_have_to_hold_and_one_contradiction_is_enough() -> None:
    two = Claim(
        "two", "faal", "here", "Both.", (Test(Average("robust"), "new", "old"), Test(Average("clean"), "new", "old"))
    )
    found = answer(two, [place({"new": [0.9] * 5, "old": [0.4] * 5})])  # clean accuracies are the same
    assert found.verdict is Verdict.OPEN
    cells = place({"new": [0.9] * 5, "old": [0.4] * 5}).cells
    worse = {
        key: cell(*key, made(0.95 if key[0] == "new" else 1.0, key[1]), each.robust) for key, each in cells.items()
    }
    assert answer(two, [Place("digits", worse, LABELS, 5)]).verdict is Verdict.FAILS
    assert together([], []) is Verdict.OPEN


@pytest.mark.parametrize(("first", "verdict"), [(0.9, Verdict.FAILS), (0.4, Verdict.OPEN), (0.1, Verdict.OPEN)])
def test_a_premise_that_is_not_shown_decides_nothing(first: float, verdict: Verdict) -> None:
    tests = (Test(Average("robust"), "first", "old", premise=True), Test(Average("robust"), "new", "old"))
    claim = Claim("premise", "faal", "here", "If, then.", tests)
    found = answer(claim, [place({"first": [first] * 5, "new": [0.2] * 5, "old": [0.4] * 5})])
    assert found.verdict is verdict
    assert found.because == ("" if verdict is Verdict.FAILS else "premise not shown")


def test_boundary_errors_are_counted_by_brute_force() -> None:
    new, old = ([cell("x", s, made(0.9, s + shift), made(0.5, s + 50 + shift)) for s in range(3)] for shift in (0, 900))

    def rates(each: Cell) -> list[float]:
        return [
            float(np.mean([c and not r for c, r, y in zip(each.clean, each.robust, LABELS, strict=True) if y == k]))
            for k in range(10)
        ]

    largest = [np.mean([max(rates(each)) for each in arm]) for arm in (new, old)]
    level, change = Worst("boundary").figure(new, None, LABELS), Worst("boundary").figure(new, old, LABELS)
    assert level.value == pytest.approx(largest[0])
    assert change.value == pytest.approx(largest[0] - largest[1])
    assert level.both is not None
    assert level.both[0] < level.value < level.both[1]
    one = OneClass("boundary", 3).figure(new, None, LABELS)
    assert one.value == pytest.approx(np.mean([rates(each)[3] for each in new]))


def test_how_far_classes_differ_is_counted_by_brute_force_over_pairs_of_images() -> None:
    """Of two different images of a class chance has nothing in common, so their mean product is the square of the rate."""
    labels = np.repeat(np.arange(3), (4, 5, 7))
    right = np.random.default_rng(2).random(len(labels)) < np.array([0.3, 0.6, 0.9])[labels]
    rows = [right[labels == c].astype(float) for c in range(3)]
    rates = [each.mean() for each in rows]
    squares = [np.mean([a * b for i, a in enumerate(x) for j, b in enumerate(x) if i != j]) for x in rows]
    products = [[squares[i] if i == j else rates[i] * rates[j] for j in range(3)] for i in range(3)]
    figure = Spread("clean").figure([cell("x", s, right, right) for s in range(2)], None, labels)
    assert figure.value == pytest.approx(np.mean(squares) - np.mean(products))


@pytest.mark.parametrize(("spread", "share"), [(0.0, 0.0), (0.18, 1.0)])
def test_another_average_alone_is_no_other_spread(spread: float, share: float) -> None:
    """Standard deviations as they are would be declared to differ in most of the cases without a difference."""
    found, naive = [], []
    for case in range(20):
        rates = (0.75 + np.linspace(-spread, spread, 10), np.full(10, 0.97))
        new, old = (
            [cell("x", s, made(rate, 1000 * case + 10 * s + k), made(1.0, 0)) for s in range(5)]
            for k, rate in enumerate(rates)
        )
        found.append(Spread("clean").figure(new, old, LABELS))
        std = drawn(
            lambda r, a=new, b=old: np.subtract(*(r(np.stack([c.clean for c in x])).std(-1) for x in (a, b))), LABELS
        )
        naive.append(std.shown)
    assert np.mean([each.shown > 0 for each in found]) == pytest.approx(share, abs=0.06)
    expected = np.linspace(-spread, spread, 10).var()
    values = [each.value for each in found]
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / 20**0.5)
    assert np.mean(np.array(naive) > 0) > 0.5


def test_what_the_worst_class_loses_is_read_from_other_cells_of_the_same_starts() -> None:
    rates = {"a": 0.8, "a@last": 0.7, "b": 0.8, "b@last": 0.4}
    at = place({name: [np.append(np.full(9, 0.95), rate)] * 5 for name, rate in rates.items()})  # type: ignore[list-item]
    test = Test(Fall("robust", last="a@last", last_before="b@last"), "a", "b", "below")
    assert test.arms == ("a", "a@last", "b", "b@last")
    found = test.found(at)

    def worst(arm: str, seed: int) -> float:
        return float(min(at.cells[arm, seed].robust[c == LABELS].mean() for c in range(10)))

    falls = [[worst(arm, seed) - worst(f"{arm}@last", seed) for seed in range(5)] for arm in ("a", "b")]
    assert found.figure is not None
    assert found.figure.value == pytest.approx(np.mean(falls[0]) - np.mean(falls[1]))
    assert found.verdict is Verdict.HOLDS
    del at.cells["b@last", 3]
    assert (test.found(at).n, test.found(at).verdict) == (4, Verdict.OPEN)


def test_drawing_images_anew_gives_the_variance_of_a_share() -> None:
    verdicts = np.stack([made(0.3, 1)] * 2)  # two equal starts: only images are chance
    figure = drawn(lambda rates: rates(verdicts).mean(axis=-1), LABELS)
    assert figure.both is not None
    # Of 600 images, 60 of each class, and shares that the classes have in this draw.
    shares = verdicts[0].reshape(10, 60).mean(axis=1)
    expected = 1.96 * np.sqrt((shares * (1 - shares) / 60).sum()) / 10
    assert (figure.both[1] - figure.both[0]) / 2 == pytest.approx(expected, rel=0.15)


def test_hard_classes_that_lose_more_are_found_and_chance_alone_is_not() -> None:
    hardness = np.linspace(0.55, 0.95, 10)
    left = hardness - np.linspace(0.45, 0.0, 10)
    before = [cell("old", s, made(hardness, s), made(hardness, s + 20)) for s in range(5)]
    after = [cell("new", s, made(left, s + 40), made(left, s + 60)) for s in range(5)]
    found = HardHit("clean").figure(after, before, LABELS)
    assert found.value > 0.7
    assert found.shown == 1
    # The same classes twice, all equally hard: on the same images the rise would go against the error before.
    null, naive = [], []
    for s in range(25):
        one, two = (cell("x", s, made(0.7, 2 * s + shift), made(0.7, s)) for shift in (1000, 5001))
        null.append(HardHit("clean").figure([two], [one], LABELS).value)
        errors = [1 - each.clean.reshape(10, 60).mean(axis=1) for each in (one, two)]
        naive.append(np.corrcoef(errors[0], errors[1] - errors[0])[0, 1])
    assert abs(np.mean(null)) < 3 / np.sqrt(9 * 25)
    assert np.mean(naive) < -0.5


def test_groups_are_the_thirds_that_were_hard_before() -> None:
    rates = np.linspace(0.05, 0.95, 10)
    right = np.ones(len(LABELS), bool)
    before = [cell("old", s, right, made(rates, s)) for s in range(3)]
    moved = rates + np.array([-0.05] * 3 + [0.0] * 4 + [0.05] * 3)
    after = [cell("new", s, right, made(moved, s)) for s in range(3)]  # the same draws: nothing else changes
    hard, easy = (Group("robust", part).figure(after, before, LABELS) for part in ("hard", "easy"))  # type: ignore[arg-type]
    both = Group("robust", "hard less easy").figure(after, before, LABELS)
    half = ~halves(LABELS)

    def change(classes: range) -> float:
        return float(
            np.mean(
                [
                    np.mean(
                        [
                            (a.robust[rows].mean() - b.robust[rows].mean())
                            for rows in [half & (c == LABELS) for c in classes]
                        ]
                    )
                    for a, b in zip(after, before, strict=True)
                ]
            )
        )

    assert hard.value == pytest.approx(change(range(3)))
    assert easy.value == pytest.approx(change(range(7, 10)))
    assert hard.value < 0 < easy.value
    assert both.value == pytest.approx(hard.value - easy.value)


def test_curves_are_read_without_warm_up_and_rate_drops() -> None:
    worst = [0.0, 0.9, 0.1, 0.3, 0.2, 0.6, 0.5, 0.5, 0.4]
    facts = {
        "curve": [
            {"raw": [value, 1.0]} | ({"averaged": [value / 2, 1.0]} if e > 5 else {}) for e, value in enumerate(worst)
        ],
        "config": {"schedule": {"name": "steps", "drops": [5]}},
    }
    # Of nine epochs the first three count not, nor does the step from 4 to 5: left are 3 to 4, 5 to 6, 6 to 7, 7 to 8.
    assert claims_register.jump(facts) == pytest.approx((0.1 + 0.1 + 0 + 0.1) / 4)
    assert claims_register.jump(facts, "averaged") == pytest.approx((0 + 0.05) / 2)
    told = Told("t", lambda f: f["a"], lambda f: f["b"])
    cells = [cell("x", s, made(1.0, 0), made(1.0, 0), a=1.0 + s, b=0.5) for s in range(3)]
    figure = told.figure(cells, cells, LABELS)
    assert figure.value == pytest.approx(1.5)
    assert figure.both == pytest.approx((1.5 - 4.302653 / 3**0.5, 1.5 + 4.302653 / 3**0.5))


@pytest.mark.parametrize(("share", "verdict"), [(0.0005, Verdict.HOLDS), (0.02, Verdict.OPEN), (0.9, Verdict.FAILS)])
def test_an_overhead_is_decided_only_if_timing_noise_cannot_turn_it(
    share: float, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"network": "n", "attack_steps": 1, "batch": 1, "device": "cpu"}
    file = tmp_path / "policies.json"
    file.write_text(json.dumps({"figures": figures | {"methods": {"KL-DRO (FAAL)": {"share_of_a_step": share}}}}))
    monkeypatch.setattr(claims_register, "POLICIES", file)
    assert claims_register.overhead().verdict is verdict


def test_a_theorem_holds_only_where_it_is_wrong_nowhere() -> None:
    yes, no = np.array([True, True]), np.array([False, False])
    assert _over(yes, no).verdict is Verdict.HOLDS
    assert _over(np.array([True, False]), np.array([False, True])).verdict is Verdict.FAILS
    assert _over(no, no).verdict is Verdict.OPEN


def test_theorems_come_out_as_the_page_on_theory_has_them() -> None:
    """docs/theory.md derives these by hand and by single counterexamples."""
    holding = {"v1-corollary-1", "icml-corollary-1", "icml-theorem-3", "mixup-gap"}
    holding |= {"cfa-theorem-1", "cfa-theorem-2", "cfa-theorems-3-4"}
    failing = {"v1-omega", "v1-order", "icml-both-rise", "mixup-offset", "mixup-natural-gap", "faal-theorem-1"}
    computed = {claim.key: claim.compute() for claim in REGISTER if claim.compute and claim.key != "faal-overhead"}
    assert computed.keys() == holding | failing
    assert {key for key, each in computed.items() if each.verdict is Verdict.HOLDS} == holding
    assert {key for key, each in computed.items() if each.verdict is Verdict.FAILS} == failing


PLAN = {
    "command": "x",
    "starts": 5,
    "test_images": len(LABELS),
    "labels": bytes(LABELS.tolist()).hex(),
    "labels_sha256": "sum",
}


def put(results: Path, arm: str, seed: int, robust: float) -> None:
    folder = Folder(results / "effects" / "digits")
    folder.begin(PLAN)
    verdicts = made(robust, 31 * seed + 3)
    folder.write(arm, seed, np.ones(len(LABELS), bool), verdicts, {"labels_sha256": "sum"})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The theory has tests of its own; here it is left out."""
    kept = tuple(
        Claim(c.key, c.paper, c.where, c.says, c.tests, c.rule, c.compute and (lambda: Computed(Verdict.HOLDS, "told")))
        for c in REGISTER
    )
    monkeypatch.setattr(make_claims_page, "register", lambda: kept)


@pytest.mark.usefixtures("quick")
def test_without_cells_the_page_decides_no_measured_claim(tmp_path: Path) -> None:
    text = make_claims_page.page(tmp_path)
    assert "Measured so far: none yet." in " ".join(text.split())
    assert text.count("not decided (not measured) |") == len([c for c in REGISTER if c.compute is None])
    assert all(" ".join(claim.says.split()) in " ".join(text.split()) for claim in REGISTER)


@pytest.mark.usefixtures("quick")
def test_cells_reach_the_page_and_turn_the_verdict_when_they_are_complete(tmp_path: Path) -> None:
    for seed in range(4):
        put(tmp_path, "faal", seed, 0.8)
        put(tmp_path, "faal-ce", seed, 0.5)
    says = next(claim.says for claim in REGISTER if claim.key == "faal-margin")
    text = make_claims_page.page(tmp_path)
    assert f"{says} | not decided (unfinished) |" in text
    assert "unfinished, 4 of 5 starts): open." in text
    for arm, rate in (("faal", 0.8), ("faal-ce", 0.5)):
        put(tmp_path, arm, 4, rate)
    text = make_claims_page.page(tmp_path)
    assert f"{says} | **holds here** (digits) |" in text
    at = places(tmp_path)[0]
    found = Test(Worst("robust"), "faal", "faal-ce").found(at)
    assert found.figure is not None
    assert found.figure.both is not None
    low, high = found.figure.both
    shown = f"- digits: {100 * found.figure.value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] (5 starts): as claimed."
    assert f"  {shown}" in text.splitlines()


def test_the_page_is_what_the_stored_cells_make() -> None:
    written = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    made_now = make_claims_page.page(ROOT / "benchmarks" / "results")
    assert written == made_now, "run benchmarks/make_claims_page.py"


def test_configurations_of_the_runs_fit_together(tmp_path: Path) -> None:
    common = claims_runs.part()
    for name, planned in claims_runs.RUNS.items():
        if not planned.after:
            config = claims_runs.config(name, 3, common, tmp_path)
            config.check()
            assert (config.seed, config.split.seed, config.epochs) == (3, 3, claims_runs.EPOCHS)
    assert claims_runs.config("at-1.5", 0, common, tmp_path).threat == common.start.threat  # audits keep the radius


@pytest.mark.slow
def test_runs_are_finished_once_and_not_again(tmp_path: Path) -> None:
    def go(seed: int) -> None:
        claims_runs.main((seed,), ("natural", "trades"), 2, 1, 1, tmp_path / "out", tmp_path / "work")

    go(0)
    files = sorted((tmp_path / "out" / "digits").glob("scratch-*.json"))
    assert [file.name for file in files] == [
        "scratch-natural@last-0.json",
        "scratch-trades-0.json",
        "scratch-trades@averaged-0.json",
        "scratch-trades@last-0.json",
    ]
    stamps = [file.stat().st_mtime_ns for file in files]
    go(0)
    assert [file.stat().st_mtime_ns for file in files] == stamps
    last = files.pop()
    made_first = json.loads(last.read_text())["figures"]
    last.unlink()  # as of a run that was finished before this checkpoint was planned
    go(0)
    assert [file.stat().st_mtime_ns for file in files] == stamps[:-1]
    assert json.loads(last.read_text())["figures"] == made_first
    cells = Folder(tmp_path / "out" / "digits").read()
    assert len(cells["scratch-trades", 0].facts["curve"]) == 2
    with pytest.raises(ValueError, match="not planned"):
        claims_runs.main(names=("abacus",), out=tmp_path / "out", work=tmp_path / "work")
