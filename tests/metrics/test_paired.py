"""Paired comparison against statsmodels, closed forms and a repeated-noise check."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from classwise.metrics import compare_pairs
from classwise.metrics.paired import holm, mcnemar

ARRAYS = ("n", "before", "after", "difference", "low", "high", "p_value", "p_holm")
SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=60)


def drawn(gains, n=200, seed=0):
    """Outcomes with a known chance of a gain per class, and 5 % losses."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(gains)), n)
    before = rng.random(len(group)) < 0.5
    flips = rng.random(len(group)) < np.where(before, 0.05, np.array(gains)[group])
    return group, before, before ^ flips


def cells(before, after):
    return [
        [np.sum(before & after), np.sum(before & ~after)],
        [np.sum(~before & after), np.sum(~before & ~after)],
    ]


def test_equals_statsmodels_in_every_class():
    group, before, after = drawn((0.0, 0.05, 0.1, 0.2, 0.5))
    table = compare_pairs(group, before, after, list("abcde"))
    expected = [reference_mcnemar(cells(before[group == c], after[group == c]), exact=True).pvalue for c in range(5)]
    np.testing.assert_allclose(table.p_value, expected, rtol=1e-9)
    np.testing.assert_allclose(table.p_holm, multipletests(expected, method="holm")[1], rtol=1e-9)
    assert table.overall.p_value == pytest.approx(reference_mcnemar(cells(before, after), exact=True).pvalue)
    for c in range(5):
        assert table.before[c] == pytest.approx(before[group == c].mean())
        assert table.after[c] == pytest.approx(after[group == c].mean())
        assert table.difference[c] == pytest.approx(after[group == c].mean() - before[group == c].mean())
    assert table.overall.difference.value == pytest.approx(after.mean() - before.mean())
    assert table.overall.n == 1000


@pytest.mark.parametrize("fewer", [0, 1, 5, 40])
@pytest.mark.parametrize("more", [1, 5, 40, 900])
def test_mcnemar_equals_statsmodels_at_given_counts(fewer, more):
    expected = reference_mcnemar([[3, fewer], [more, 4]], exact=True).pvalue
    ours = mcnemar(np.array([fewer, more]), np.array([more, fewer]))
    np.testing.assert_allclose(ours, [expected, expected], rtol=1e-9)


def test_one_sided_change_has_a_closed_form():
    assert mcnemar(np.array([6]), np.array([0]))[0] == pytest.approx(2 / 2**6)


def test_interval_of_a_case_worked_by_hand():
    # 12 samples, 3 gained, 1 lost: pseudo-counts give 4/14 and 2/14, variance (6/14 - (2/14)^2) / 14.
    before = np.array([0, 0, 0, 1, *[1] * 4, *[0] * 4], bool)
    after = np.array([1, 1, 1, 0, *[1] * 4, *[0] * 4], bool)
    table = compare_pairs(np.zeros(12, int), before, after, ["only"])
    half = 1.959963984540054 * np.sqrt((6 / 14 - (2 / 14) ** 2) / 14)
    assert table.difference[0] == pytest.approx(2 / 12)
    assert (table.low[0], table.high[0]) == pytest.approx((2 / 14 - half, 2 / 14 + half))
    overall = table.overall.difference
    assert (overall.low, overall.high) == pytest.approx((table.low[0], table.high[0]))


@pytest.mark.parametrize(
    "p_values",
    [
        [0.3],
        [0.01, 0.04, 0.03],
        [0.02, 0.02, 0.02],
        [1.0, 0.0, 0.6, 0.5],
        [0.5, 0.001, 0.02, 0.02, 0.9, 0.011],
    ],
)
def test_holm_equals_statsmodels(p_values):
    np.testing.assert_allclose(holm(np.array(p_values)), multipletests(p_values, method="holm")[1], atol=1e-12)


def test_improved_and_worsened_name_the_classes_that_moved():
    group, before, after = drawn((0.05, 0.6, 0.05))
    after[group == 2] &= np.arange(np.sum(group == 2)) % 2 == 0
    table = compare_pairs(group, before, after, ["same", "up", "down"])
    assert table.improved == ("up",)
    assert table.worsened == ("down",)


def test_holm_keeps_false_alarms_rare():
    alarms = 0
    for seed in range(400):
        table = compare_pairs(*drawn((0.05,) * 10, n=60, seed=seed), list("abcdefghij"))
        alarms += bool(table.improved or table.worsened)
    assert alarms / 400 <= 0.08


def test_estimate_by_index_and_by_name():
    table = compare_pairs(*drawn((0.05, 0.2)), ["a", "b"])
    estimate = table.estimate("b")
    assert estimate == table.estimate(1)
    assert (estimate.value, estimate.low, estimate.high) == (table.difference[1], table.low[1], table.high[1])
    assert (estimate.method, estimate.n) == (table.overall.difference.method, 200)
    with pytest.raises(ValueError, match="no class is named 'c'"):
        table.estimate("c")


def test_nothing_changed_gives_p_one():
    group, before, _ = drawn((0.1, 0.1))
    table = compare_pairs(group, before, before, ["a", "b"])
    assert table.p_value.tolist() == table.p_holm.tolist() == [1, 1]
    assert table.difference.tolist() == [0, 0]
    assert table.improved == table.worsened == ()
    assert table.overall.p_value == 1


def test_empty_class_is_shown_but_not_tested():
    group, before, after = drawn((0.05, 0.2))
    full = compare_pairs(group, before, after, ["a", "b"])
    table = compare_pairs(group, before, after, ["a", "b", "none"])
    assert table.p_holm[:2].tolist() == full.p_holm.tolist()
    assert (table.n[2], table.low[2], table.high[2], table.p_value[2], table.p_holm[2]) == (0, -1, 1, 1, 1)
    assert np.isnan(table.difference[2])
    assert table.overall == full.overall
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False))["difference"][2] is None


def test_no_samples_at_all():
    nothing = np.array([], bool)
    table = compare_pairs(np.array([], int), nothing, nothing, ["a"])
    assert np.isnan(table.overall.difference.value)
    assert (table.overall.n, table.overall.p_value) == (0, 1)
    json.dumps(table.to_dict(), allow_nan=False)


def test_rows_and_dict_hold_the_columns():
    table = compare_pairs(*drawn((0.05, 0.2)), ["a", "b"])
    rows, data = table.rows(), table.to_dict()
    assert [row["name"] for row in rows] == data["names"] == ["a", "b"]
    assert set(rows[0]) == {"name", *ARRAYS}
    assert set(data) == {"names", "overall", "confidence", *ARRAYS}
    for key in ARRAYS:
        assert [row[key] for row in rows] == data[key] == getattr(table, key).tolist()
    assert data["overall"]["difference"] == table.overall.difference.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@given(SAMPLES)
@settings(deadline=None)
def test_interval_contains_the_difference_and_shrinks_with_n(samples):
    group, before, after = (np.array(side) for side in zip(*samples, strict=True))
    table = compare_pairs(group, before, after, list("abcd"))
    many = compare_pairs(*(np.tile(side, 8) for side in (group, before, after)), list("abcd"))
    held = table.n > 0
    assert (table.low <= table.difference)[held].all()
    assert (table.difference <= table.high)[held].all()
    assert (many.high - many.low < table.high - table.low)[held].all()


@given(SAMPLES)
@settings(deadline=None)
def test_swapping_before_and_after_changes_the_sign(samples):
    group, before, after = (np.array(side) for side in zip(*samples, strict=True))
    forth, back = (compare_pairs(group, *pair, list("abcd")) for pair in ((before, after), (after, before)))
    np.testing.assert_allclose(forth.difference, -back.difference)
    np.testing.assert_allclose(forth.low, -back.high)
    np.testing.assert_allclose(forth.p_holm, back.p_holm)
    assert forth.improved == back.worsened


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"before": np.ones(3, bool)}, "before has shape"),
        ({"after": np.ones(5, bool)}, "after has shape"),
        ({"after": np.ones(4)}, "booleans"),
        ({"group": np.array([0, 1, 2, 0])}, "label 2"),
        ({"confidence": 1.5}, "confidence"),
    ],
)
def test_refuses_impossible_input(changes, message):
    good = {"group": np.array([0, 1, 1, 0]), "before": np.ones(4, bool), "after": np.ones(4, bool)}
    with pytest.raises(ValueError, match=message):
        compare_pairs(**(good | {"names": ["a", "b"]} | changes))
