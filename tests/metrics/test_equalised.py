"""Equalised accuracy and robustness at a tolerance: violations, intervals and verdicts."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from classwise.metrics import class_table, equalised
from classwise.metrics.equalised import excess_limits

NAMES = ("cat", "dog", "ship")
ERRORS, N = np.array([500, 300, 190]), np.array([1000, 1000, 1000])
TABLES = st.lists(
    st.integers(0, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=8
).filter(lambda pairs: any(n for _, n in pairs))


def test_violations_by_hand():
    table = equalised(ERRORS, N, NAMES, 0.05)
    assert table.average == pytest.approx(0.33)
    np.testing.assert_allclose(table.excess, [0.17, -0.03, -0.14])
    np.testing.assert_allclose(table.violation, [0.12, 0, 0])
    np.testing.assert_allclose(table.slack, [-0.12, 0.08, 0.19])
    assert table.verdicts == ("violated", "holds", "holds")
    assert table.verdict == "violated"
    assert not table.holds


def test_average_is_over_samples():
    table = equalised([10, 90], [100, 300], ("few", "many"), 0.05)
    assert table.average == pytest.approx(100 / 400)
    np.testing.assert_allclose(table.excess, [0.1 - 0.25, 0.3 - 0.25], atol=1e-12)
    # An excess equal to the tolerance holds, whatever rounding makes of it.
    assert table.holds


def test_few_samples_leave_verdicts_open():
    table = equalised([5, 3, 2], [10, 10, 10], NAMES, 0.05)
    assert table.violation[0] > 0
    assert table.verdicts == ("cannot be told",) * 3
    assert table.verdict == "cannot be told"
    wide = equalised(ERRORS, N, NAMES, 0.5)
    assert (wide.verdict, wide.holds, wide.violation.tolist()) == ("holds", True, [0, 0, 0])


def test_interval_by_its_definition():
    table = equalised(ERRORS, N, NAMES, 0.05, 0.9)
    own = proportion_confint(500, 1000, alpha=1 - 0.95 ** (1 / 3), method="beta")
    rest = proportion_confint(490, 2000, alpha=0.05 / 3, method="beta")
    assert table.low[0] == pytest.approx(2 / 3 * (own[0] - rest[1]))
    assert table.high[0] == pytest.approx(2 / 3 * (own[1] - rest[0]))


def test_estimates_hold_violations():
    table = equalised(ERRORS, N, NAMES, 0.05)
    cat = table.estimate("cat")
    assert (cat.value, cat.n) == (pytest.approx(0.12), 1000)
    assert (cat.low, cat.high) == pytest.approx((table.low[0] - 0.05, table.high[0] - 0.05))
    ship = table.estimate(2)
    assert (ship.value, ship.low, ship.high) == (0, 0, 0)
    assert (table.largest.value, table.largest.low, table.largest.high) == (cat.value, cat.low, cat.high)
    assert table.largest.n == 3000


def test_class_table_hands_over_its_errors():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 900)
    clean, attacked = rng.random((2, 900)) < np.array([0.9, 0.8, 0.6])[group]
    table = class_table(group, clean, attacked, NAMES, 0.9)
    for column, errors in (("clean", ~clean), ("robust", ~(clean & attacked)), ("boundary", clean & ~attacked)):
        made = table.equalised(column, 0.07)
        np.testing.assert_allclose(made.error, [errors[group == c].mean() for c in range(3)])
        assert made.average == pytest.approx(errors.mean())
        assert (made.tolerance, made.confidence) == (0.07, 0.9)
    with pytest.raises(ValueError, match="columns"):
        table.equalised("robus", 0.05)


def test_empty_class_is_shown_but_left_out():
    full, table = equalised(ERRORS, N, NAMES, 0.2), equalised([*ERRORS, 0], [*N, 0], (*NAMES, "bird"), 0.2)
    assert table.verdicts == (*full.verdicts, "cannot be told")
    assert (table.verdict, table.holds, table.largest) == (full.verdict, full.holds, full.largest)
    assert (table.low[3], table.high[3]) == (-1, 1)
    assert np.isnan(table.violation[3])
    np.testing.assert_allclose(table.low[:3], full.low)
    data = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert data["error"][3] is data["violation"][3] is None
    assert data["verdicts"] == list(table.verdicts)
    assert [row["verdict"] for row in table.rows()] == data["verdicts"]
    assert [row["n"] for row in table.rows()] == data["n"] == [1000, 1000, 1000, 0]


def test_one_class_never_exceeds_itself():
    table = equalised([7], [50], ["only"], 0.0)
    assert (table.excess[0], table.low[0], table.high[0]) == (0, 0, 0)
    assert table.verdict == "holds"


@given(TABLES, st.floats(0, 0.5))
@settings(deadline=None)
def test_intervals_contain_the_excess_and_verdicts_follow_from_them(pairs, tolerance):
    wrong, n = (np.array(side) for side in zip(*pairs, strict=True))
    table = equalised(wrong, n, [str(c) for c in range(len(n))], tolerance)
    held = n > 0
    assert (table.low[held] <= table.excess[held] + 1e-12).all()
    assert (table.excess[held] <= table.high[held] + 1e-12).all()
    assert ((table.low >= -1) & (table.high <= 1)).all()
    # The excess of all samples together is nothing.
    assert np.sum(n[held] * table.excess[held]) == pytest.approx(0, abs=1e-9)
    for verdict, low, high in zip(table.verdicts, table.low, table.high, strict=True):
        assert (verdict == "violated") == (low > tolerance)
        assert (verdict == "holds") == (high <= tolerance)
    if table.verdict == "holds":
        assert table.holds
    if table.verdict == "violated":
        assert not table.holds


def test_limits_are_vectorised():
    wrong = np.random.default_rng(0).binomial(50, 0.3, (4, 5)).astype(float)
    low, high = excess_limits(wrong, np.full((4, 5), 50.0), 0.95)
    one = equalised(wrong[2], [50] * 5, "abcde", 0.1)
    np.testing.assert_allclose((low[2], high[2]), (one.low, one.high))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": -0.1}, "tolerance"),
        ({"tolerance": 5}, "tolerance"),
        ({"errors": [0.1, 0.2, 0.3]}, "not fractions"),
        ({"errors": [2000, 1, 1]}, r"0\.\.n"),
        ({"names": ("a", "b")}, "one name per class"),
        ({"names": ("a", "b", "b")}, "one name per class"),
        ({"errors": [0, 0, 0], "n": [0, 0, 0]}, "no class has a sample"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_refuses_impossible_input(changes, message):
    good = {"errors": ERRORS, "n": N, "names": NAMES, "tolerance": 0.05}
    with pytest.raises(ValueError, match=message):
        equalised(**(good | changes))
