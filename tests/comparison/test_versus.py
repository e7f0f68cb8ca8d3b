"""Tests against the baseline, beside SciPy and statsmodels."""

import math

import numpy as np
import pytest

from classwise.comparison import overview
from classwise.comparison.front import front
from classwise.comparison.seeds import over_seeds
from classwise.evaluation import AuditResult
from classwise.metrics import Estimate


def found(made, row, figure="average"):
    (each,) = [each for each in made.versus if (each.row, each.figure) == (row, figure)]
    return each


def test_single_models_are_tested_as_statsmodels_does(make_audit):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    base = make_audit("base", 0.2, 0.5, 0.6)
    others = {"b": make_audit("b", 0.6, 0.5, 0.5, seed=1), "c": make_audit("c", 0.3, 0.6, 0.6, seed=2)}
    made = overview([base, *others.values()])
    assert made.baseline == "base"
    robust = {
        name: AuditResult.load(path).outcomes.robust_correct(0) for name, path in {"base": base, **others}.items()
    }
    p_values, class_p = [], []
    for name in others:
        pairs = [[np.sum((robust["base"] == a) & (robust[name] == b)) for b in (True, False)] for a in (True, False)]
        p_values.append(tables.mcnemar(pairs, exact=True).pvalue)
        assert found(made, name).p_value == pytest.approx(p_values[-1])
        assert found(made, name).difference.value == pytest.approx(robust[name].mean() - robust["base"].mean())
        for c in range(3):
            at = slice(40 * c, 40 * c + 40)
            pairs = [
                [np.sum((robust["base"][at] == a) & (robust[name][at] == b)) for b in (True, False)]
                for a in (True, False)
            ]
            class_p.append(tables.mcnemar(pairs, exact=True).pvalue)
    adjusted = multitest.multipletests(p_values, method="holm")[1]
    assert [found(made, name).p_holm for name in others] == pytest.approx(list(adjusted))
    changed = multitest.multipletests(class_p, method="holm")[1] < 0.05
    assert found(made, "b").higher == tuple(np.array(("cat", "dog", "car"))[changed[:3]])
    assert found(made, "b").higher == ("cat",)
    assert found(made, "b", "worst").test.startswith("no test: one model each")


def test_common_seeds_are_paired_and_others_are_not(make_run, tmp_path):
    stats = pytest.importorskip("scipy.stats")
    rates = {"a": (0.25, 0.3, 0.4), "b": (0.3, 0.4, 0.425), "c": (0.2, 0.35, 0.3)}
    for method, (name, each) in enumerate(rates.items()):
        for seed, rate in enumerate(each):
            number = seed + (10 if name == "c" else 0)
            make_run(f"{name}-{number}", rate, 0.7, 0.8, changes={"seed": number, "epochs": 1 + method})
    made = overview([tmp_path / "runs"], baseline="a")
    paired, welch = found(made, "b", "worst"), found(made, "c", "worst")
    assert paired.test == "paired t over 3 seeds"
    expected = stats.ttest_rel(rates["b"], rates["a"])
    assert paired.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (paired.difference.low, paired.difference.high) == pytest.approx((interval.low, interval.high))
    assert welch.test == "Welch's t over 3 and 3 seeds"
    expected = stats.ttest_ind(rates["c"], rates["a"], equal_var=False)
    assert welch.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (welch.difference.low, welch.difference.high) == pytest.approx((interval.low, interval.high))


def test_a_repair_is_paired_with_the_run_it_started_from(make_run, tmp_path):
    for seed, (before, after) in enumerate(((0.2, 0.4), (0.3, 0.45), (0.1, 0.4))):
        start = make_run(f"start-{seed}", before, 0.7, 0.8, changes={"seed": seed})
        # The seed of the repair is another one, so that only the start can match them.
        make_run(f"fix-{seed + 5}", after, 0.7, 0.8, changes={"seed": seed + 5, "start": str(start), "epochs": 2})
    each = found(overview([tmp_path / "runs"]), "fix", "worst")
    assert each.test == "paired t over 3 seeds"
    assert each.difference.value == pytest.approx(np.mean([0.2, 0.15, 0.3]))


def test_one_model_against_several_is_tested_over_samples(make_run, make_audit, tmp_path):
    for seed in (0, 1):
        make_run(f"a-{seed}", 0.3, 0.4, 0.5, changes={"seed": seed})
    one = make_audit("one", 0.5, 0.6, 0.7, seed=9)
    made = overview([tmp_path / "runs", one], baseline="a")
    outcomes = [AuditResult.load(tmp_path / f"runs/a-{seed}/audits/a0").outcomes.robust_correct(0) for seed in (0, 1)]
    change = AuditResult.load(one).outcomes.robust_correct(0) - np.mean(outcomes, axis=0)
    error = change.std(ddof=1) / math.sqrt(len(change))
    each = found(made, "one")
    assert each.difference.value == pytest.approx(0.2)
    assert each.p_value == pytest.approx(math.erfc(0.2 / error / math.sqrt(2)))
    assert math.isnan(found(made, "one", "worst").p_value)


def test_seeds_without_spread_prove_nothing(make_run, tmp_path):
    for name, rate in (("a", 0.25), ("b", 0.5)):
        for seed in (0, 1):
            make_run(f"{name}-{seed}", rate, 0.7, 0.8, changes={"seed": seed, "epochs": 1 + (name == "b")})
    made = overview([tmp_path / "runs"])
    assert math.isnan(found(made, "b", "worst").p_value)
    assert "no spread over seeds" in found(made, "b", "worst").test
    assert math.isnan(made.rows[0].worst.low)
    assert " – " in str(made)


def test_over_seeds_is_students_interval():
    stats = pytest.importorskip("scipy.stats")
    values = [0.31, 0.28, 0.36, 0.33]
    made = over_seeds([Estimate(value, 0, 1, "", 100) for value in values])
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (made.mean, made.deviation, made.n) == pytest.approx((np.mean(values), np.std(values, ddof=1), 4))
    assert (made.low, made.high) == pytest.approx((low, high))
    alone = over_seeds([Estimate(0.3, 0.2, 0.4, "Wilson", 100)])
    assert (alone.low, alone.high, alone.method, alone.n) == (0.2, 0.4, "Wilson", 1)
    assert math.isnan(alone.deviation)


def test_the_front_is_what_brute_force_finds():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 6, (2, 40)) / 6
    beaten = [
        any((x[j] >= x[i] and y[j] >= y[i]) and (x[j] > x[i] or y[j] > y[i]) for j in range(40)) for i in range(40)
    ]
    assert front(x, y).tolist() == [not each for each in beaten]


def test_an_unknown_baseline_is_refused(make_audit):
    with pytest.raises(ValueError, match="did you mean 'base'"):
        overview([make_audit("base"), make_audit("b")], baseline="bases")
