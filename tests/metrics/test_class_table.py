"""The class table against scikit-learn, counting by hand, and its own symmetries."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from classwise.metrics import aggregates, class_table, spread, wilson
from classwise.metrics.class_table import COLUMNS

NAMES = ("cat", "dog", "ship")
GROUP = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
CLEAN = np.array([1, 1, 0, 1, 1, 0, 1, 1, 1], bool)
ATTACKED = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1], bool)

SAMPLES = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=60)


@pytest.fixture
def table():
    return class_table(GROUP, CLEAN, ATTACKED, NAMES)


def test_counts_by_hand(table):
    assert table.n.tolist() == [3, 2, 4]
    assert table.clean.tolist() == pytest.approx([2 / 3, 1, 3 / 4])
    # The attack repairs one clean error in "cat" and one in "ship"; neither counts as robust.
    assert table.robust.tolist() == pytest.approx([1 / 3, 1 / 2, 3 / 4])
    assert table.boundary.tolist() == pytest.approx([1 / 3, 1 / 2, 0])
    assert table.weakest == "cat"


def test_class_accuracies_equal_recall():
    rng = np.random.default_rng(0)
    labels, clean, attacked = rng.integers(0, 7, (3, 500))
    names = [f"class {c}" for c in range(7)]
    table = class_table(labels, clean == labels, attacked == labels, names)
    np.testing.assert_allclose(table.clean, recall_score(labels, clean, average=None))
    both = np.where(clean == labels, attacked, -1)
    recall = recall_score(labels, both, average=None, labels=range(7), zero_division=0)
    np.testing.assert_allclose(table.robust, recall)
    assert table.class_mean.value == pytest.approx(recall.mean())
    assert table.mean.value == pytest.approx(np.mean(both == labels))


def test_intervals_are_wilson_of_each_class(table):
    for column in COLUMNS:
        x = np.rint(getattr(table, column) * table.n)
        low, high = wilson(x, table.n)
        np.testing.assert_allclose(getattr(table, f"{column}_low"), low)
        np.testing.assert_allclose(getattr(table, f"{column}_high"), high)


def test_confidence_reaches_every_interval():
    wide, narrow = (class_table(GROUP, CLEAN, ATTACKED, NAMES, c) for c in (0.99, 0.5))
    for name in ("worst", "best", "gap", "mean", "class_mean"):
        outer, inner = getattr(wide, name), getattr(narrow, name)
        assert outer.value == inner.value
        assert outer.high - outer.low > inner.high - inner.low
    assert (wide.robust_high - wide.robust_low > narrow.robust_high - narrow.robust_low).all()


def test_summaries_are_those_of_the_robust_counts(table):
    x = [1, 1, 3]
    assert table.worst == aggregates.worst_class(x, table.n)
    assert table.best == aggregates.best_class(x, table.n)
    assert table.gap == aggregates.gap(x, table.n)
    assert table.worst_fifth == aggregates.worst_share(x, table.n, 0.2)
    assert table.worst_share(0.5) == aggregates.worst_share(x, table.n, 0.5)
    assert table.standard_deviation == spread.standard_deviation(x, table.n)
    assert table.gini == spread.gini(x, table.n)
    assert table.normalised_spread == spread.normalised_spread(x, table.n)
    assert table.class_mean == aggregates.mean_over_classes(x, table.n)
    assert table.mean == aggregates.mean_over_samples(x, table.n) == table.overall("robust")
    assert table.overall("clean").value == pytest.approx(7 / 9)
    assert table.overall("boundary").value == pytest.approx(2 / 9)


def test_estimate_by_index_and_by_name(table):
    estimate = table.estimate("robust", "ship")
    assert estimate == table.estimate("robust", 2) == table.estimate("robust", np.int64(2))
    assert (estimate.value, estimate.n) == (0.75, 4)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(float(v) for v in wilson(3, 4)))


@pytest.mark.parametrize(
    ("column", "group", "message"),
    [("robus", 0, "columns"), ("clean", "bird", "ship"), ("clean", 3, "0..2"), ("clean", -1, "0..2")],
)
def test_estimate_refuses_what_is_not_there(table, column, group, message):
    with pytest.raises(ValueError, match=message):
        table.estimate(column, group)


def test_empty_class_is_shown_but_left_out():
    table = class_table(GROUP, CLEAN, ATTACKED, (*NAMES, "bird"))
    full = class_table(GROUP, CLEAN, ATTACKED, NAMES)
    assert table.n[3] == 0
    for column in COLUMNS:
        estimate = table.estimate(column, "bird")
        assert np.isnan(estimate.value)
        assert (estimate.low, estimate.high) == (0, 1)
    for name in ("worst", "best", "gap", "mean", "class_mean", "weakest"):
        assert getattr(table, name) == getattr(full, name)
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False))["robust"][3] is None
    assert np.isnan(table.rows()[3]["robust"])


def test_table_without_samples_has_rows_but_no_summary():
    nothing = np.array([], bool)
    table = class_table(np.array([], int), nothing, nothing, NAMES)
    assert table.n.tolist() == [0, 0, 0]
    for name in ("worst", "mean", "weakest"):
        with pytest.raises(ValueError, match="no class has a sample"):
            getattr(table, name)


def test_rows_and_dict_hold_the_columns(table):
    rows, data = table.rows(), table.to_dict()
    assert [row["name"] for row in rows] == data["names"] == list(NAMES)
    keys = {"n", *COLUMNS, *(f"{c}_{end}" for c in COLUMNS for end in ("low", "high"))}
    assert set(rows[0]) == keys | {"name"}
    assert set(data) == keys | {"names", "confidence"}
    for key in keys:
        assert [row[key] for row in rows] == data[key] == getattr(table, key).tolist()
    assert json.loads(json.dumps(data, allow_nan=False)) == data


@given(SAMPLES, st.permutations(range(5)))
@settings(deadline=None)
def test_permuting_classes_permutes_the_table(samples, order):
    group, clean, attacked = (np.array(side) for side in zip(*samples, strict=True))
    names = np.array(list("abcde"))
    table = class_table(group, clean, attacked, names.tolist())
    moved = class_table(np.argsort(order)[group], clean, attacked, names[order].tolist())
    assert moved.names == tuple(names[order])
    for key, value in table.to_dict().items():
        if key not in ("names", "confidence"):
            assert moved.to_dict()[key] == [value[c] for c in order]
    for name in ("worst", "best", "gap", "mean", "class_mean"):
        ours, theirs = getattr(table, name), getattr(moved, name)
        assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


@given(SAMPLES)
@settings(deadline=None)
def test_clean_is_robust_plus_boundary(samples):
    group, clean, attacked = (np.array(side) for side in zip(*samples, strict=True))
    table = class_table(group, clean, attacked, list("abcde"))
    np.testing.assert_allclose(table.clean, table.robust + table.boundary)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": GROUP + 1}, "label 3, but there are 3 names"),
        ({"group": GROUP - 1}, "label -1"),
        ({"group": GROUP.astype(float)}, "integer"),
        ({"group": GROUP[None]}, "shape"),
        ({"clean_correct": CLEAN[:-1]}, "clean_correct has shape"),
        ({"robust_correct": ATTACKED[:-1]}, "robust_correct has shape"),
        ({"robust_correct": ATTACKED.astype(int)}, "booleans"),
        ({"names": ("cat", "dog", "dog")}, "no name twice"),
        ({"names": ()}, "at least one name"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_refuses_impossible_input(changes, message):
    given_input = {"group": GROUP, "clean_correct": CLEAN, "robust_correct": ATTACKED, "names": NAMES}
    with pytest.raises(ValueError, match=message):
        class_table(**(given_input | changes))
