"""FRL's policies: against published costs and sequences, in closed form, and as functions of class errors."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from classwise.policies import Combined, ConstraintRemargin, ConstraintReweight, State
from classwise.policies.base import ClassPolicy, all_knobs
from classwise.policies.violations import class_errors, violations

VARIANTS = ["rw", "rm_hist", "rmrw"]
EXACT = 1e-9
"""Tolerance of stored class weights, from the README beside them."""
SIZES = [2, 3, 10, 43, 200]
ONES = torch.ones(10, dtype=torch.float64)
seeds = st.integers(0, 2**31 - 1)


def stats(clean_error: Any, boundary_error: Any, epoch: int = -1, count: Any = None) -> dict[str, Tensor]:
    """What the loop measures when classes have these errors; not a number where a class has no sample."""
    errors, boundary = (torch.as_tensor(each, dtype=torch.float64) for each in (clean_error, boundary_error))
    count = torch.full((len(errors),), 300) if count is None else torch.as_tensor(count)
    absent = torch.where(count > 0, 0.0, torch.nan)
    return {
        "epoch": torch.tensor(epoch),
        "validation_clean": 1 - errors + absent,
        "validation_robust": 1 - errors - boundary + absent,
        "validation_count": count,
    }


def drive(policy: ClassPolicy, clean: Any, boundary: Any, count: Any = None) -> list[State]:
    """State after the pass before the first epoch, and after each further row of errors."""
    state = policy.init(len(clean[0]))
    states = []
    for row, errors in enumerate(zip(clean, boundary, strict=True)):
        seen = stats(*errors, epoch=row - 1, count=count)
        state = policy.on_start(state, seen) if row == 0 else policy.on_epoch(state, seen)
        states.append(state)
    return states


def errors(seed: int, groups: int, rows: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clean errors and boundary errors (rows, groups), and counts of which a few are 0."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(0, 1, (rows, groups))
    count = rng.integers(1, 400, groups) * (rng.uniform(size=groups) > 0.2)
    count[rng.integers(groups)] = 7
    return clean, rng.uniform(0, 1 - clean), count


# ---------------------------------------------------------------- published numbers


@pytest.fixture(scope="module")
def numbers(shared: Path) -> Callable[[str], Any]:
    return lambda name: json.loads((shared / "fixtures" / "methods" / name).read_text())


@pytest.mark.parametrize("name", ["frl_costs_rw.json", "frl_costs_rm_hist.json", "frl_costs_rmrw.json"])
def test_published_projection_and_weights(name: str, numbers: Callable[[str], Any]) -> None:
    """One update of size 1 from 0 with neither average nor slack: multipliers are what the projection leaves."""
    case = numbers(name)
    raw = {"slack_clean": 0.0, "slack_boundary": 0.0, "rate_clean": 1.0, "rate_boundary": 1.0, "relative": False}
    scaled = 0
    for cap in (0.3, 0.5, 0.8):
        policy = ConstraintReweight(**raw, cap=cap)
        (state,) = drive(policy, [case["lam0"]], [case["lam1"]])
        for kind, lam in (("clean", "lam0"), ("boundary", "lam1")):
            expected = case[f"normalize_{lam}_lim{round(100 * cap)}"]
            assert state[f"{kind}_multiplier"].tolist() == pytest.approx(expected, abs=EXACT)
        scaled += bool(state["clean_multiplier"].max() < max(case["lam0"]) - 0.05)
        if cap == 0.5:
            knobs = policy.knobs(state)
            assert (knobs["label"] / 10).tolist() == pytest.approx(case["diff0"], abs=EXACT)
            assert (knobs["robust"] / 10).tolist() == pytest.approx(case["diff1"], abs=EXACT)
    assert scaled == 1  # the cap of 0.3 acts, the others do not
    remargin = ConstraintRemargin(slack_boundary=0.0, rate=2.0, relative=False, low=0.98, high=2.5, windup=True)
    (state,) = drive(remargin, [[0.0] * 10], [case["lam2"]])
    assert remargin.knobs(state)["radius"].tolist() == pytest.approx(case["diff2"], abs=EXACT)


def members(case: Any, variant: str) -> tuple[ConstraintReweight, ConstraintRemargin | None]:
    """Our fields for a published script: rate 1 is doubled for boundary errors, rate 2 by the exponent."""
    reweight = ConstraintReweight(
        slack_clean=case["tau1"],
        slack_boundary=case["tau2"],
        rate_clean=case["rate1"],
        rate_boundary=0.0 if variant == "rm_hist" else 2 * case["rate1"],
        cap=case["lim"],
        normalise="joint-weight-sum" if variant == "rm_hist" else "weight-sum",
        rate_decay=0.5,
        decay_epochs=(39, 79, 119),
    )
    if variant == "rw":
        return reweight, None
    remargin = ConstraintRemargin(
        slack_boundary=case["tau2"],
        rate=2 * case["rate2"],
        low=0.98,
        high=3.0 if variant == "rmrw" else 2.5,
        windup=True,
        decay_epochs=(),
    )
    return reweight, remargin


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("rw", "frl_sequence_rw.json"),
        ("rm_hist", "frl_sequence_rm_hist.json"),
        ("rmrw", "frl_sequence_rmrw.json"),
    ],
)
def test_published_sequences(variant: str, name: str, numbers: Callable[[str], Any]) -> None:
    """25 epochs of class errors, every multiplier, weight and margin scale after each."""
    case = numbers(name)
    reweight, remargin = members(case, variant)
    policy = reweight if remargin is None else Combined(members=(reweight, remargin))
    prefix = ("", "") if remargin is None else ("0.", "1.")
    states = drive(policy, case["class_clean_error"], case["class_bndy_error"])
    assert len(states) == len(case["epochs"]) == 25
    for state, published in zip(states, case["epochs"], strict=True):
        knobs, notes = policy.knobs(state), policy.notes(state)
        ours = {
            "lambda_nat": notes[f"{prefix[0]}clean_multiplier"],
            "lambda_bndy": notes[f"{prefix[0]}boundary_multiplier"],
            "w_nat": knobs["label"] / 10,
            "w_bndy": knobs.get("robust", ONES) / 10,
            "margin_scale": knobs.get("radius", ONES),
            "lambda_margin": notes.get(f"{prefix[1]}log_radius", 0 * ONES) / 2,
        }
        assert ours.keys() == published.keys()
        for key, values in ours.items():
            assert values.tolist() == pytest.approx(published[key], abs=EXACT), key
    assert ("radius" in policy.knobs(states[-1])) == (variant != "rw")
    assert float(states[-1][f"{prefix[0]}clean_multiplier"].sum()) > 0.1  # something moved


# ---------------------------------------------------------------- formulas


def test_errors_and_violations_by_hand() -> None:
    seen = stats([0.1, 0.4, 0.0], [0.2, 0.3, 0.0], count=[30, 10, 0])
    clean, boundary = class_errors(seen)
    assert clean[:2].tolist() == pytest.approx([0.1, 0.4])
    assert boundary[:2].tolist() == pytest.approx([0.2, 0.3])
    count = seen["validation_count"]
    over_samples = violations(clean, count, 0.05, "samples")  # average (3 + 4) / 40
    assert over_samples.tolist() == pytest.approx([0.1 - 0.175 - 0.05, 0.4 - 0.175 - 0.05, 0])
    over_classes = violations(clean, count, 0.05, "classes")
    assert over_classes.tolist() == pytest.approx([0.1 - 0.25 - 0.05, 0.4 - 0.25 - 0.05, 0])
    assert violations(clean, count, 0.05, "samples", relative=False).tolist() == pytest.approx([0.05, 0.35, 0])
    assert violations(clean, torch.zeros(3), 0.05, "samples").tolist() == [0, 0, 0]


CLEAN, BOUNDARY = [0.1, 0.2, 0.6], [0.3, 0.5, 0.1]  # averages 0.3 and 0.3


def test_one_step_in_closed_form_before_the_first_epoch_and_after_each() -> None:
    policy = ConstraintReweight(rate_clean=0.5, rate_boundary=0.25, slack_clean=0.05, slack_boundary=0.1)
    assert policy.knobs(policy.init(3))["label"].tolist() == [1, 1, 1]
    first, second = drive(policy, [CLEAN] * 2, [BOUNDARY] * 2)
    phi = 0.5 * (0.6 - 0.3 - 0.05)
    assert first["clean_multiplier"].tolist() == pytest.approx([0, 0, phi])
    assert second["clean_multiplier"].tolist() == pytest.approx([0, 0, 2 * phi])
    assert policy.knobs(second)["label"].tolist() == pytest.approx([1 - 2 * phi, 1 - 2 * phi, 1 + 4 * phi])
    psi = 0.25 * (0.5 - 0.3 - 0.1)
    assert policy.knobs(first)["robust"].tolist() == pytest.approx([1 - psi, 1 + 2 * psi, 1 - psi])
    notes = policy.notes(second)
    assert notes["clean_violation"].tolist() == pytest.approx([-0.25, -0.15, 0.25])
    assert notes["boundary_violation"].tolist() == pytest.approx([-0.1, 0.1, -0.3])
    assert notes.keys() == {"clean_violation", "boundary_violation", "clean_multiplier", "boundary_multiplier"}


def test_three_updates() -> None:
    """After a violation of 0.25 that is followed by errors which are all the same."""
    made = {
        update: ConstraintReweight(rate_clean=0.4, update=update, cap=0.0)
        for update in ("projected", "free", "growing")
    }
    flat = [0.2] * 3
    after = {
        name: [state["clean_multiplier"].tolist() for state in drive(policy, [CLEAN, flat], [flat, flat])]
        for name, policy in made.items()
    }
    assert after["projected"] == [pytest.approx([0, 0, 0.1]), pytest.approx([0, 0, 0.08])]
    assert after["free"] == [pytest.approx([-0.1, -0.06, 0.1]), pytest.approx([-0.12, -0.08, 0.08])]
    assert after["growing"] == [pytest.approx([0, 0, 0.1]), pytest.approx([0, 0, 0.1])]


def test_arxiv_v1_does_not_subtract_the_average() -> None:
    """Its multipliers differ from those of the ICML paper; the weights, which only differences enter, do not."""
    forms = [
        ConstraintReweight(
            slack_clean=0.05, slack_boundary=0.07, update="free", cap=0.0, normalise="mean", relative=relative
        )
        for relative in (False, True)
    ]
    v1, icml = (drive(policy, [CLEAN] * 3, [BOUNDARY] * 3)[-1] for policy in forms)
    assert v1["clean_multiplier"].tolist() == pytest.approx([3 * 0.05 * (each - 0.05) for each in CLEAN])
    assert v1["boundary_multiplier"].tolist() == pytest.approx([3 * 0.05 * (each - 0.07) for each in BOUNDARY])
    assert not torch.allclose(v1["clean_multiplier"], icml["clean_multiplier"])
    for name in ("label", "robust"):
        assert torch.allclose(forms[0].knobs(v1)[name], forms[1].knobs(icml)[name], rtol=0, atol=1e-12)
    assert torch.equal(v1["clean_violation"], icml["clean_violation"])  # noted, and asked by stop, relative either way
    assert forms[0].reduction() == "mean"
    remargin = ConstraintRemargin(slack_boundary=0.07, relative=False, low=0.0, high=float("inf"))
    state = drive(remargin, [CLEAN] * 400, [BOUNDARY] * 400)[-1]
    steps = 40 + 40 * 0.1 + 320 * 0.01
    expected = np.exp([0.05 * steps * (each - 0.07) for each in BOUNDARY])
    assert remargin.knobs(state)["radius"].tolist() == pytest.approx(expected)
    assert remargin.notes(state)["boundary_violation"].tolist() == pytest.approx([-0.07, 0.13, -0.27])


def test_a_weight_that_would_be_negative_is_0() -> None:
    policy = ConstraintReweight(rate_clean=10.0, update="free", cap=0.0)
    (state,) = drive(policy, [CLEAN], [BOUNDARY])
    weights = policy.knobs(state)["label"]
    phi = state["clean_multiplier"]
    wanted = 1 + 3 * (phi - phi.mean())
    assert bool((wanted < 0).any())
    assert weights.tolist() == pytest.approx([0, 0, 3])
    assert all_knobs(policy, state, 3, torch.device("cpu"))["label"].tolist() == pytest.approx([0, 0, 3])


def test_radius_in_closed_form_within_its_limits() -> None:
    """Equation 11 with the average subtracted, limited at each step; with wind-up, limited only where it is used."""
    boundary = [[0.6, 0.1]] * 4 + [[0.1, 0.6]] * 2  # violations 0.2 and -0.3 (slack 0.05), then the other way round
    clean = [[0.1, 0.1]] * 6
    within, beyond = (
        ConstraintRemargin(rate=1.0, low=0.9, high=1.5, windup=windup, decay_epochs=()) for windup in (False, True)
    )
    ours = [within.knobs(state)["radius"].tolist() for state in drive(within, clean, boundary)]
    scale, expected = np.ones(2), []
    for up, down in boundary:
        scale = np.clip(scale * np.exp(np.array([up, down]) - 0.35 - 0.05), 0.9, 1.5)
        expected.append(scale)
    assert np.allclose(ours, expected, rtol=0, atol=1e-12)
    wound = [beyond.knobs(state)["radius"].tolist() for state in drive(beyond, clean, boundary)]
    total = np.cumsum([[0.2, -0.3]] * 4 + [[-0.3, 0.2]] * 2, axis=0)
    assert np.allclose(wound, np.clip(np.exp(total), 0.9, 1.5), rtol=0, atol=1e-12)
    assert ours[-1][1] > 1.3
    assert wound[-1][1] == 0.9  # still working off what ran beyond the limit
    assert beyond.notes(drive(beyond, clean, boundary)[-1])["log_radius"].tolist() == pytest.approx(total[-1].tolist())


def test_rates_decay_with_the_epoch_that_is_to_come() -> None:
    """By 0.1 in epochs 2 and 3: the update after epoch 1 is the first smaller one."""
    policy = ConstraintReweight(rate_clean=0.2, cap=0.0, decay_epochs=(2, 3))
    states = drive(policy, [CLEAN] * 5, [BOUNDARY] * 5)
    phi = torch.stack([policy.init(3)["clean_multiplier"], *(state["clean_multiplier"] for state in states)])[:, 2]
    assert (phi.diff() / 0.25).tolist() == pytest.approx([0.2, 0.2, 0.02, 0.002, 0.002])
    constant = ConstraintReweight(rate_clean=0.2, cap=0.0, decay_epochs=())
    assert float(drive(constant, [CLEAN] * 5, [BOUNDARY] * 5)[-1]["clean_multiplier"][2]) == pytest.approx(0.25)


def test_stop_once_every_constraint_of_both_kinds_holds() -> None:
    policy = ConstraintReweight(slack_clean=0.1, slack_boundary=0.2, rate_boundary=0.0, stop=True)
    assert not policy.finished(policy.init(3))  # nothing is known yet
    held, over = [0.2, 0.2, 0.3], [0.1, 0.1, 0.5]
    for clean, boundary, expected in [(held, held, True), (over, held, False), (held, over, False)]:
        (state,) = drive(policy, [clean], [boundary])
        assert policy.finished(state) is expected
        assert not ConstraintReweight(slack_clean=0.1, slack_boundary=0.2).finished(state)
    equality = drive(ConstraintReweight(slack_clean=0.1, slack_boundary=0.2), [[0.1, 0.2, 0.3]], [held])[0]
    assert 0 < float(equality["clean_violation"][2]) < 1e-15  # 0.3 - 0.2 - 0.1 as floating point has it
    assert policy.finished(equality)
    both = Combined(members=(policy, ConstraintRemargin()))
    assert both.finished(drive(both, [held], [held])[-1])
    assert not both.finished(drive(both, [held], [over])[-1])


def test_what_is_steered_follows_the_rates() -> None:
    assert ConstraintReweight().steered() == {"label", "robust"}
    assert ConstraintReweight(rate_boundary=0.0).steered() == {"label"}
    assert ConstraintReweight(rate_clean=0.0).steered() == {"robust"}
    both = Combined(members=(ConstraintReweight(rate_boundary=0.0), ConstraintRemargin()))
    assert both.steered() == {"label", "radius"}
    assert both.reduction() == "weight-sum"
    assert both.observes() == {"validation_clean", "validation_robust", "validation_count"}


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (ConstraintReweight, {"slack_clean": -0.1}, r"must lie in \[0, 1\]: 0\.05 is usual"),
        (ConstraintReweight, {"slack_boundary": 1.1}, r"slack_boundary 1\.1 must lie"),
        (ConstraintReweight, {"rate_clean": -0.1}, r"rate_clean -0\.1"),
        (ConstraintReweight, {"rate_clean": 0.0, "rate_boundary": 0.0}, "one of them above 0"),
        (ConstraintReweight, {"rate_boundary": float("nan")}, "must be at least 0"),
        (ConstraintReweight, {"cap": 1.2}, "0 is for no cap"),
        (ConstraintReweight, {"update": "free"}, "set cap 0, or another update"),
        (ConstraintReweight, {"rate_decay": 2.0}, "leave decay_epochs empty"),
        (ConstraintReweight, {"decay_epochs": (-1,)}, "leave decay_epochs empty"),
        (ConstraintRemargin, {"slack_boundary": 2.0}, r"slack_boundary 2\.0 must lie"),
        (ConstraintRemargin, {"rate": 0.0}, r"rate 0\.0 be above 0"),
        (ConstraintRemargin, {"low": 1.1}, r"low 1\.1 must lie"),
        (ConstraintRemargin, {"high": 0.9}, r"high 0\.9 be at least 1"),
        (ConstraintRemargin, {"rate_decay": -0.1}, r"rate_decay -0\.1 must lie"),
    ],
)
def test_impossible_fields_are_refused(make: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**fields)


# ---------------------------------------------------------------- properties


REWEIGHTS: Sequence[ConstraintReweight] = (
    ConstraintReweight(),
    ConstraintReweight(rate_clean=2.0, rate_boundary=4.0),
    ConstraintReweight(rate_clean=1.0, cap=1.0, average="classes"),
    ConstraintReweight(rate_clean=3.0, cap=0.3, relative=False),
    ConstraintReweight(rate_clean=0.5, update="growing"),
    ConstraintReweight(rate_clean=0.5, update="growing", cap=0.0),
    ConstraintReweight(rate_clean=0.5, cap=0.0),
    ConstraintReweight(rate_clean=0.5, update="free", cap=0.0),
    ConstraintReweight(rate_clean=0.5, update="free", cap=0.0, relative=False, average="classes"),
)
REMARGINS: Sequence[ConstraintRemargin] = (
    ConstraintRemargin(rate=2.0),
    ConstraintRemargin(rate=2.0, low=0.98, high=3.0, windup=True),
    ConstraintRemargin(rate=1.0, low=0.0, high=float("inf"), relative=False, average="classes"),
)


@pytest.mark.parametrize("groups", SIZES)
@given(seed=seeds, policy=st.sampled_from(REWEIGHTS))
@settings(max_examples=25)
def test_weights_have_mean_1_and_a_floor(groups: int, seed: int, policy: ConstraintReweight) -> None:
    clean, boundary, count = errors(seed, groups, rows=4)
    for state in drive(policy, clean, boundary, count):
        for kind, name in (("clean", "label"), ("boundary", "robust")):
            weights, phi = policy.knobs(state)[name], state[f"{kind}_multiplier"]
            assert float(weights.mean()) == pytest.approx(1, abs=1e-12)
            floor = 1 - policy.cap if policy.cap else 0
            assert float(weights.min()) >= floor - 1e-12
            if policy.cap:
                assert 0 <= float(phi.min()) <= float(phi.sum()) <= policy.cap + 1e-12
                published = 1 / groups + (groups - 1) / groups * phi - (phi.sum() - phi) / groups
                assert torch.allclose(weights, groups * published, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", SIZES)
@given(seed=seeds, policy=st.sampled_from([*REWEIGHTS, *REMARGINS]))
@settings(max_examples=25)
def test_permuting_the_classes_permutes_everything(groups: int, seed: int, policy: ClassPolicy) -> None:
    clean, boundary, count = errors(seed, groups, rows=3)
    order = np.random.default_rng(seed + 1).permutation(groups)
    plain = drive(policy, clean, boundary, count)[-1]
    permuted = drive(policy, clean[:, order], boundary[:, order], count[order])[-1]
    for ours in (policy.knobs, policy.notes):
        for name, values in ours(plain).items():
            assert torch.allclose(values[order], ours(permuted)[name], rtol=0, atol=1e-9), name


@pytest.mark.parametrize("groups", SIZES)
@given(seed=seeds, policy=st.sampled_from(REWEIGHTS), more=st.floats(0, 1))
@settings(max_examples=25)
def test_a_higher_error_never_lowers_a_multiplier(
    groups: int, seed: int, policy: ConstraintReweight, more: float
) -> None:
    """Nor the weight that comes from it; and errors of one kind leave the other kind's multipliers alone."""
    clean, boundary, count = errors(seed, groups, rows=3)
    worse = int(np.flatnonzero(count)[seed % int((count > 0).sum())])
    before = drive(policy, clean[:2], boundary[:2], count)[-1]
    for kind, name, raised in (("clean", "label", clean[2].copy()), ("boundary", "robust", boundary[2].copy())):
        raised[worse] += more
        pairs = (raised, boundary[2]) if kind == "clean" else (clean[2], raised)
        low = policy.on_epoch(before, stats(clean[2], boundary[2], epoch=1, count=count))
        high = policy.on_epoch(before, stats(*pairs, epoch=1, count=count))
        for change in (
            high[f"{kind}_multiplier"] - low[f"{kind}_multiplier"],
            policy.knobs(high)[name] - policy.knobs(low)[name],
        ):
            assert float(change[worse]) >= -1e-12
        other = "boundary" if kind == "clean" else "clean"
        assert torch.allclose(high[f"{other}_multiplier"], low[f"{other}_multiplier"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", SIZES)
@given(seed=seeds, policy=st.sampled_from(REMARGINS), more=st.floats(0, 1))
@settings(max_examples=25)
def test_a_higher_boundary_error_never_lowers_a_radius(
    groups: int, seed: int, policy: ConstraintRemargin, more: float
) -> None:
    clean, boundary, count = errors(seed, groups, rows=2)
    worse = int(np.flatnonzero(count)[0])
    raised = boundary.copy()
    raised[1, worse] += more
    low, high = (policy.knobs(drive(policy, clean, each, count)[-1])["radius"] for each in (boundary, raised))
    assert float(high[worse]) >= float(low[worse]) - 1e-12
    assert bool((low >= policy.low).all())
    assert bool((high <= policy.high).all())


@pytest.mark.parametrize("policy", [*REWEIGHTS, *REMARGINS])
def test_a_class_without_validation_samples_does_not_move(policy: ClassPolicy) -> None:
    """What it would have answered does not matter to any class, and it neither blocks nor brings about a stop."""
    seen, absent = [[0.1, 0.5, 0.2]] * 3, [[0.1, 0.5, 0.9]] * 3
    states = [drive(policy, each, [[0.2, 0.4, 0.3]] * 3, count=[30, 10, 0])[-1] for each in (seen, absent)]
    for key, values in states[0].items():
        assert torch.equal(values, states[1][key])
        assert float(values[2]) == 0
    assert float(policy.notes(states[0])["boundary_violation"][1]) > 0
    two = drive(policy, [[0.1, 0.5]] * 3, [[0.2, 0.4]] * 3, count=[30, 10])[-1]
    for key, values in two.items():
        assert torch.allclose(states[0][key][:2], values, rtol=0, atol=1e-12)
