"""Boundary error both ways: by hand, against the published evaluation, and their identities."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classwise.metrics import boundary_error, class_table, compare_pairs, wilson

NAMES = ("cat", "dog")
GROUP = np.array([0, 0, 0, 0, 1, 1])
CLEAN = np.array([1, 1, 1, 0, 0, 1], bool)
ATTACKED = np.array([0, 0, 1, 1, 1, 1], bool)
SAMPLES = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), min_size=1, max_size=60)


def test_both_ways_by_hand():
    table = boundary_error(GROUP, CLEAN, ATTACKED, NAMES)
    assert table.broken.tolist() == [2, 0]
    assert table.repaired.tolist() == [1, 1]
    assert table.error.tolist() == [0.5, 0]
    # The attack repairs one sample of each class; the public difference takes these off, even below nothing.
    assert table.difference.tolist() == [0.25, -0.5]
    assert not table.agree
    assert boundary_error(GROUP, CLEAN, CLEAN & ATTACKED, NAMES).agree


def test_equals_the_published_evaluation(shared):
    folder = shared / "fixtures/methods"
    common, attack, published = (
        np.load(folder / name) for name in ("common.npz", "eval_pgd20_cw20.npz", "frl_evaluate.npz")
    )
    labels = common["y_eval"]
    clean = common["logits_eval_set"].argmax(1) == labels
    # PGD-20 of another public evaluation on the same samples, radius, step and start.
    attacked = attack["pgd20_pred"] == labels
    table = boundary_error(labels, clean, attacked, tuple("0123456789"))
    np.testing.assert_allclose(table.difference, published["class_bndy_error"], atol=1e-12)
    assert table.difference.mean() == pytest.approx(float(published["total_bndy_error"]))
    # That attack leaves wrong samples alone, so both ways agree.
    assert table.agree
    np.testing.assert_array_equal(table.error, table.difference)


def test_equals_the_derived_fixture(shared):
    data = json.loads((shared / "fixtures/methods/metrics.json").read_text())
    size = 10**5
    group = np.repeat(np.arange(50), size)
    rank = np.tile(np.arange(size), 50)
    clean, robust = (
        rank < np.rint(size * np.array(data[key]))[group] for key in ("class_clean_acc", "class_robust_acc")
    )
    table = boundary_error(group, clean, robust, tuple(map(str, range(50))))
    np.testing.assert_allclose(table.error, data["class_bndy_error"], atol=1.1 / size)


@given(SAMPLES)
@settings(deadline=None)
def test_identities_hold(samples):
    group, clean, attacked = (np.array(side) for side in zip(*samples, strict=True))
    table = boundary_error(group, clean, attacked, "abc")
    classes = class_table(group, clean, attacked, "abc")
    np.testing.assert_array_equal(table.error, classes.boundary)
    np.testing.assert_array_equal(table.low, classes.boundary_low)
    # The public way is a paired difference of accuracies, with that interval.
    pairs = compare_pairs(group, attacked, clean, "abc")
    np.testing.assert_allclose(table.difference, pairs.difference)
    np.testing.assert_allclose(table.difference_low, pairs.low)
    np.testing.assert_allclose(table.difference_high, pairs.high)
    held = table.n > 0
    np.testing.assert_allclose((table.error - table.difference)[held], (table.repaired / table.n.clip(1))[held])
    assert table.agree == bool((table.error == table.difference)[held].all())


def test_estimates_and_dictionary():
    table = boundary_error(GROUP, CLEAN, ATTACKED, (*NAMES, "bird"), 0.9)
    estimate = table.estimate("cat")
    assert (estimate.value, estimate.n) == (0.5, 4)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(float(v) for v in wilson(2, 4, 0.9)))
    difference = table.estimate_difference(1)
    assert (difference.value, difference.low, difference.high) == (
        -0.5,
        table.difference_low[1],
        table.difference_high[1],
    )
    empty = table.estimate_difference("bird")
    assert np.isnan(empty.value)
    assert (empty.low, empty.high) == (-1, 1)
    data = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert data["error"] == [0.5, 0.0, None]
    assert data["repaired"] == [1, 1, 0]
    with pytest.raises(ValueError, match="no class is named"):
        table.estimate("fish")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean_correct": CLEAN[:-1]}, "clean_correct has shape"),
        ({"adversarial_correct": ATTACKED.astype(int)}, "adversarial_correct has dtype"),
        ({"group": GROUP + 1}, "label 2"),
        ({"confidence": 0.0}, "confidence"),
    ],
)
def test_refuses_impossible_input(changes, message):
    good = {"group": GROUP, "clean_correct": CLEAN, "adversarial_correct": ATTACKED, "names": NAMES}
    with pytest.raises(ValueError, match=message):
        boundary_error(**(good | changes))
