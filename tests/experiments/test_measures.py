"""Figures of audits and histories against numbers computed by hand."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from classwise.evaluation import AuditResult
from classwise.evaluation.certificates import Certificates, CertifyPlan, CertifyResult
from classwise.evaluation.outcomes import Outcomes
from classwise.evaluation.smoothing import Sampling
from classwise.experiments import Column, Row, Training
from classwise.experiments.base import Experiment
from classwise.experiments.carry_out import measured
from classwise.experiments.measures import Audited, Certified, Fall, Followed, HardHit, Jump, Timed, Violation
from classwise.experiments.plan import plan
from classwise.experiments.sizes import Size
from classwise.experiments.table import orders, table_text
from classwise.metrics import class_table, hurt_more
from classwise.recipes import recipe

# Three classes of 4, 2 and 4 images; correct without attack 4, 1, 3; also under attack 2, 1, 0.
GROUP = np.repeat([0, 1, 2], [4, 2, 4])
CLEAN = np.array([1, 1, 1, 1, 1, 0, 1, 1, 1, 0], bool)
ROBUST = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0, 0], bool)
TABLE = class_table(GROUP, CLEAN, ROBUST, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Audited("clean"), 80),
        (Audited("clean", "worst"), 50),
        (Audited("clean", "worst", error=True), 50),
        (Audited("robust"), 30),
        (Audited("robust", error=True), 70),
        (Audited("robust", "worst"), 0),
        (Audited("robust", "worst", error=True), 100),
        (Audited("robust", "best"), 50),
        (Audited("robust", "worst-fifth"), 0),
        (Audited("boundary"), 50),
        (Audited("boundary", "worst"), 75),
        (Audited("clean", "class", group=2), 75),
        (Audited("robust", "deviation"), 100 * math.sqrt(1 / 18)),
        (Audited("clean", "class", group=3), math.nan),
    ],
)
def test_figures_of_a_class_table(measure: Audited, expected: float) -> None:
    assert measure.value(TABLE) == pytest.approx(expected, nan_ok=True)


def test_the_worst_fifth_rounds_up() -> None:
    group = np.repeat(np.arange(6), 4)
    right = np.concatenate([np.arange(4) < number for number in (0, 1, 2, 3, 4, 4)])
    table = class_table(group, right, right, tuple("abcdef"))
    assert Audited("robust", "worst-fifth").value(table) == pytest.approx(100 * (0 + 1) / 8)


HISTORY = [
    {
        "validation": {"raw": {"n": [10, 30], "clean": [0.5, 0.9], "robust": [0.1 * epoch, 0.4]}},
        "seconds": {"train": seconds},
    }
    for epoch, seconds in enumerate([9.0, 2.0, 4.0, 3.0])
]


def test_a_curve_and_its_mean_over_the_last_half() -> None:
    worst = Followed("robust", "worst", begin=0.5)
    assert worst.curve(HISTORY) == pytest.approx([0, 10, 20, 30])
    assert worst.value(HISTORY) == pytest.approx(25)
    assert Followed("robust", begin=0.75).value(HISTORY) == pytest.approx((10 * 30 + 30 * 40) / 40)
    assert Followed("clean", "class", error=True, group=1).value(HISTORY) == pytest.approx(10)
    assert all(math.isnan(each) for each in Followed("robust", weights="averaged").curve(HISTORY))


def test_time_is_the_median_without_the_first_epoch() -> None:
    assert Timed().value(HISTORY) == 3.0
    assert Timed().value(HISTORY[:1]) == 9.0


def entry(
    robust: list[float], policy: dict[str, list[float]] | None = None, n: tuple[int, ...] = (10, 30), lr: float = 0.1
) -> dict:
    tables = {"raw": {"n": list(n), "clean": [0.9, 0.9], "robust": robust}}
    return {"validation": tables, "policy": policy or {}, "seconds": {"train": 1.0}, "lr": lr}


NOTED = [
    entry(
        [0.1, 0.4], {"clean_multiplier": [9.0, 9.0], "clean_violation": [0.05, -0.1], "boundary_violation": [0.0, -0.2]}
    ),
    entry([0.3, 0.2], {"clean_violation": [-0.01, -0.03], "boundary_violation": [0.1, 0.2]}),
    entry(
        [0.0, 0.3],
        {"0.clean_violation": [0.01, 0.0], "0.boundary_violation": [0.1, 0], "1.boundary_violation": [0, 0.3]},
    ),
    entry([0.2, 0.1], {"0.clean_violation": [-0.02, -0.3], "0.boundary_violation": [0.0, 0.0]}),
]


def test_the_largest_violation_is_what_the_policy_noted() -> None:
    clean, boundary = Violation("clean"), Violation("boundary", begin=0.25, end=0.75)
    assert clean.curve(NOTED) == pytest.approx([5, -1, 1, -2])
    assert clean.value(NOTED) == pytest.approx(3 / 4)
    assert boundary.curve(NOTED) == pytest.approx([0, 20, 30, 0])
    assert boundary.value(NOTED) == pytest.approx(25)
    assert all(math.isnan(each) for each in clean.curve([entry([0.1, 0.4])]))
    # A class without samples is noted as 0, which would hide that all others satisfy theirs.
    absent = [entry([0.1, 0.4], {"clean_violation": [0.0, -0.1]}, n=(0, 30))]
    assert clean.value(absent) == pytest.approx(-10)


def test_jumps_and_falls() -> None:
    assert Jump("robust").curve(NOTED) == pytest.approx([math.nan, 10, 20, 10], nan_ok=True)  # worst 10, 20, 0, 10
    assert Jump("robust").value(NOTED) == pytest.approx(40 / 3)
    assert Jump("robust", "class", group=1, begin=0.5).value(NOTED) == pytest.approx((10 + 20) / 2)
    assert Jump("clean", "average").value(NOTED) == 0
    assert math.isnan(Jump("robust").value(NOTED[:1]))
    assert math.isnan(Jump("robust", weights="averaged").value(NOTED))
    assert Fall("robust", "worst").value(NOTED) == pytest.approx(20 - 10)
    assert Fall("robust", "class", group=1).value(NOTED) == pytest.approx(40 - 10)
    assert Fall("robust").value(NOTED) == pytest.approx(100 * ((1 + 12) - (2 + 3)) / 40)
    assert Fall("robust").value(NOTED[:1]) == 0
    assert math.isnan(Fall("robust", weights="averaged").value(NOTED))
    late = [
        NOTED[0],
        *({**each, "validation": {**each["validation"], "averaged": each["validation"]["raw"]}} for each in NOTED[1:]),
    ]
    assert Jump("robust", weights="averaged").value(late) == pytest.approx((20 + 10) / 2)
    assert Fall("robust", "worst", weights="averaged").value(late) == pytest.approx(20 - 10)
    with pytest.raises(AssertionError, match="does not fall"):
        Fall("robust", "deviation")


def test_a_jump_at_a_drop_of_the_learning_rate_does_not_count() -> None:
    """Worst class 10, 12, 40, 43 %: the change of 28 points comes with the lower rate."""
    history = [entry([each, 0.5], lr=lr) for each, lr in ((0.10, 0.1), (0.12, 0.1), (0.40, 0.01), (0.43, 0.01))]
    jump = Jump("robust")
    assert jump.value(history) == pytest.approx((2 + 3) / 2)
    assert jump.curve(history)[1:] == pytest.approx([2, 28, 3])
    assert Jump("robust", begin=0.5).value(history) == pytest.approx(3)
    assert math.isnan(jump.value([{**each, "lr": number} for number, each in enumerate(history)]))


def certified(enough: float = 0.0) -> CertifyResult:
    """Three classes of 4, 2 and 4 images, certified to radii 0 to 0.9, two abstentions, one certified for a wrong class."""
    prediction = GROUP.copy()
    prediction[[3, 9]], prediction[5] = -1, 0
    radius = np.array([0.1, 0.3, 0.6, 0, 0.25, 0.9, 0.5, 0.5, 0.49, 0])
    sampling = Sampling(sigma=0.5, enough=enough, stop="split-alpha" if enough else "never")
    facts = {"model": "m", "data": "d", "split": "test", "data_sha256": "", "samples": 10, "seed": 0, "batch_size": 10}
    made = CertifyPlan(**facts, class_names=("a", "b", "c"), sampling=sampling)
    zero = np.zeros(10, np.int64)
    return CertifyResult(made, Certificates(np.arange(10), GROUP, GROUP, prediction, radius, zero, zero), "", {})


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Certified(radius=0, sigma=0.5), 70),
        (Certified(radius=0.5, sigma=0.5), 30),
        (Certified(error=True, radius=0.5, sigma=0.5), 70),
        (Certified("worst", radius=0.25, sigma=0.5), 50),
        (Certified("best", radius=0.25, sigma=0.5), 75),
        (Certified("class", group=2, radius=0.5, sigma=0.5), 50),
        (Certified("class", group=0, error=True, radius=0.25, sigma=0.5), 50),
        (Certified("class", group=3, radius=0.5, sigma=0.5), math.nan),
    ],
)
def test_figures_of_certificates(measure: Certified, expected: float) -> None:
    assert measure.value(certified()) == pytest.approx(expected, nan_ok=True)


def audit_of(clean: np.ndarray, robust: np.ndarray, group: np.ndarray) -> AuditResult:
    """An audit with these outcomes, of which only what a measure reads is filled in."""
    zero, other = np.zeros(len(group)), (group + 1) % 10
    wrong = [np.where(each, group, other) for each in (clean, clean & robust)]
    outcomes = Outcomes(np.arange(len(group)), group, group, wrong[0], zero, wrong[1][None], zero[None], zero[None])
    return AuditResult(
        plan=SimpleNamespace(class_names=tuple("0123456789")), outcomes=outcomes, examples=None, environment={}
    )  # type: ignore[arg-type]


def hard_audits(seed: int) -> tuple[AuditResult, AuditResult]:
    """Ten classes with errors 5 to 35 % before, whose rise grows with them under attack and shrinks without."""
    rng, group = np.random.default_rng(seed), np.repeat(np.arange(10), 400)
    errors = np.linspace(0.05, 0.35, 10)
    clean = rng.random(4000) > errors[group]
    later = clean & (rng.random(4000) > (0.4 - errors)[group])
    return audit_of(clean, clean, group), audit_of(later, rng.random(4000) > (2 * errors)[group], group)


def test_hard_classes_are_hit_more_or_less() -> None:
    before, after = hard_audits(0)
    assert HardHit("robust").value(before, after) > 0.5
    assert HardHit("clean").value(before, after) < -0.5
    plain = [each.outcomes.robust_correct(0) for each in (before, after)]
    found = hurt_more(*plain, before.outcomes.group, np.random.default_rng(0), resamples=0)
    assert HardHit("robust").value(before, after) == found.correlation.value
    easy = audit_of(np.ones(4000, bool), np.ones(4000, bool), before.outcomes.group)
    assert math.isnan(HardHit("clean").value(easy, after))
    with pytest.raises(AssertionError, match="different images"):
        HardHit("clean").value(before, audit_of(*[np.ones(30, bool)] * 2, np.repeat(np.arange(10), 3)))


def test_a_row_of_differences_compares_two_trainings_run_by_run(tiny: Size, tmp_path: Path) -> None:
    one, other = (Training(name, recipe("digits-pgd-at")) for name in ("before", "after"))
    rows = (Row("difference", other, minus=one, printed=False), Row("alone", other, printed=False))
    columns = (Column("hit", HardHit("robust")), Column("worst", Audited("robust", "worst")))
    whole = Experiment("name", "faal", "table2", "Shows.", "here", (), rows, columns)
    assert [(row.name, column.name) for row, column in whole.cells()] == [
        ("difference", "hit"),
        ("difference", "worst"),
        ("alone", "worst"),
    ]
    made = plan(whole, tiny, tmp_path, seeds=2)
    assert [(each.name, len(each.audits)) for each in made.networks] == [
        (f"{name}-seed{seed}", 1) for seed in (0, 1) for name in ("before", "after")
    ]
    audits = {}
    for seed in (0, 1):
        for name, found in zip(("before", "after"), hard_audits(seed), strict=True):
            audits[f"{name}-seed{seed}", made.networks[0].audits[0]] = found
    values = {(row.name, column.name): found for (row, column), found in measured(made, audits).items()}
    assert values["difference", "hit"] == [HardHit("robust").value(*hard_audits(seed)) for seed in (0, 1)]
    worst = [[100 * each.table().robust.min() for each in hard_audits(seed)] for seed in (0, 1)]
    assert values["difference", "worst"] == pytest.approx([after - before for before, after in worst])
    assert values["alone", "worst"] == pytest.approx([after for _, after in worst])
    text = table_text(made, measured(made, audits))
    assert "hit   " in text
    assert "worst, points" in text
    assert orders(made, measured(made, audits)) == []
