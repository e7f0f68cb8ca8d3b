"""Matrices over labels against scikit-learn and counting by hand; the symmetric gap against its definition."""

import itertools
import json

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from classwise.metrics import (
    ClassMatrix,
    attack_target_matrix,
    clopper_pearson,
    confusion_matrix,
    symmetric_gap,
    wilson,
)

NAMES = ("cat", "dog", "ship")
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
CLEAN = np.array([0, 0, 0, 2, 1, 1, 2, 0, 2])
ATTACKED = np.array([1, 1, 2, 0, 1, 0, 2, 2, 2])
SQUARES = st.integers(1, 6).flatmap(
    lambda c: st.lists(st.lists(st.integers(0, 40), min_size=c, max_size=c), min_size=c, max_size=c)
)


def drawn(classes=7, size=600, seed=0):
    return np.random.default_rng(seed).integers(0, classes, (3, size))


def test_confusion_matrix_equals_scikit_learn():
    labels, predictions, _ = drawn()
    ours = confusion_matrix(labels, predictions, 7)
    np.testing.assert_array_equal(ours.counts, sklearn.metrics.confusion_matrix(labels, predictions))
    np.testing.assert_allclose(
        ours.fractions(), sklearn.metrics.confusion_matrix(labels, predictions, normalize="true"), rtol=1e-12
    )
    assert ours.counts.dtype == np.int64
    assert ours.names == tuple("0123456")


def test_attack_target_matrix_equals_scikit_learn_on_the_samples_correct_without_attack():
    labels, clean, attacked = drawn(classes=4, seed=1)
    kept = clean == labels
    ours = attack_target_matrix(labels, clean, attacked, 4)
    np.testing.assert_array_equal(ours.counts, sklearn.metrics.confusion_matrix(labels[kept], attacked[kept]))


def test_attack_target_matrix_by_hand():
    matrix = attack_target_matrix(LABELS, CLEAN, ATTACKED, NAMES)
    # One cat and one ship are wrong without attack and left out, though the attack repairs both.
    assert matrix.counts.tolist() == [[0, 2, 1], [1, 1, 0], [0, 0, 2]]
    assert matrix.n.tolist() == [3, 2, 2]
    np.testing.assert_allclose(matrix.fractions(), [[0, 2 / 3, 1 / 3], [1 / 2, 1 / 2, 0], [0, 0, 1]])


def test_falls_into_names_the_most_frequent_target():
    matrix = attack_target_matrix(LABELS, CLEAN, ATTACKED, NAMES)
    target, share = matrix.falls_into("cat")
    assert (target, share.value, share.n) == ("dog", pytest.approx(2 / 3), 3)
    # Two targets could have been picked: each interval gets half the miss probability.
    assert (share.low, share.high) == pytest.approx(tuple(float(v) for v in clopper_pearson(2, 3, 0.975)))
    assert matrix.falls_into(1)[0] == "cat"
    assert matrix.falls_into("ship") is None
    # Staying is no target, however many stay; of tied targets the first is named.
    assert ClassMatrix(NAMES, np.array([[90, 5, 5], [0, 1, 0], [0, 0, 1]])).falls_into(0)[0] == "dog"


def test_estimate_is_wilson_of_the_cell():
    matrix = ClassMatrix(NAMES, np.array([[90, 7, 3], [0, 1, 0], [0, 0, 0]]), confidence=0.9)
    estimate = matrix.estimate("cat", "dog")
    assert estimate == matrix.estimate(0, 1)
    assert (estimate.value, estimate.n) == (0.07, 100)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(float(v) for v in wilson(7, 100, 0.9)))
    empty = matrix.estimate("ship", "cat")
    assert np.isnan(empty.value)
    assert (empty.low, empty.high, empty.n) == (0, 1, 0)
    with pytest.raises(ValueError, match="cat, dog, ship"):
        matrix.estimate("cat", "bird")
    with pytest.raises(ValueError, match=r"0\.\.2"):
        matrix.falls_into(3)


def test_dictionary_is_strict_json():
    matrix = ClassMatrix(NAMES, np.array([[90, 7, 3], [5, 1, 0], [0, 0, 0]]))
    data = json.loads(json.dumps(matrix.to_dict(), allow_nan=False))
    assert set(data) == {"names", "counts", "fractions", "symmetric_gap", "confidence"}
    assert data["counts"] == matrix.counts.tolist()
    assert data["fractions"][0] == [0.9, 0.07, 0.03]
    assert data["fractions"][2] == [None] * 3
    assert data["symmetric_gap"] == matrix.symmetric_gap.to_dict()
    json.dumps(confusion_matrix(np.array([], int), np.array([], int), 2).to_dict(), allow_nan=False)


@given(SQUARES)
@settings(deadline=None)
def test_symmetric_gap_equals_its_definition(rows):
    counts = np.array(rows)
    estimate = symmetric_gap(counts)
    measured = [c for c in range(len(counts)) if counts[c].sum()]
    pairs = [
        abs(counts[i, j] / counts[i].sum() - counts[j, i] / counts[j].sum())
        for i, j in itertools.combinations(measured, 2)
    ]
    if pairs:
        assert estimate.value == pytest.approx(np.mean(pairs), abs=1e-12)
    else:
        assert np.isnan(estimate.value)
    assert 0 <= estimate.low <= estimate.high <= 1
    if pairs:
        assert estimate.low <= estimate.value + 1e-12
        assert estimate.value <= estimate.high + 1e-12


def test_symmetric_gap_interval_by_its_formula():
    counts = 10 * np.array([[600, 390, 10], [100, 350, 50], [0, 20, 180]])
    estimate = symmetric_gap(counts, 0.9)
    n, log = np.array([10_000, 5000, 2000]), np.log(3 / 0.1)
    error = 2 / 3 * np.sqrt(log / 2 * (1 / n).sum())
    fallen = (np.array([0.4, 0.3, 0.1]) / n).sum() + np.sqrt(log / 2 * (1.0 / n**3).sum())
    assert estimate.high == pytest.approx(estimate.value + error)
    assert estimate.low == pytest.approx(estimate.value - error - np.sqrt(fallen / 3))
    assert estimate.low > 0


def test_symmetric_gap_shrinks_with_n_and_ignores_the_order_of_classes():
    counts = np.array([[60, 30, 10], [5, 40, 5], [0, 2, 8]])
    few, many = symmetric_gap(counts), symmetric_gap(100 * counts)
    assert many.value == pytest.approx(few.value)
    assert many.high - many.low < (few.high - few.low) / 5
    order = [2, 0, 1]
    assert symmetric_gap(counts[order][:, order]) == few
    with_empty = np.zeros((4, 4), int)
    with_empty[:3, :3] = counts
    assert symmetric_gap(with_empty) == few


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.ones((2, 3), int), "shape"),
        (np.ones(4, int), "shape"),
        (np.full((2, 2), 0.5), "not fractions"),
        (np.array([[1, -1], [0, 2]]), "at least 0"),
    ],
)
def test_symmetric_gap_refuses_impossible_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        symmetric_gap(counts)
    with pytest.raises(ValueError, match="confidence"):
        symmetric_gap(np.ones((2, 2), int), 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS + 1}, "label 3"),
        ({"predictions": np.where(ATTACKED == 0, -1, ATTACKED)}, "label -1"),
        ({"predictions": ATTACKED[:-1]}, "per sample"),
        ({"predictions": ATTACKED.astype(float)}, "integer"),
        ({"classes": ("a", "a", "b")}, "no name twice"),
        ({"classes": 0}, "at least one name"),
    ],
)
def test_refuses_impossible_input(changes, message):
    good = {"labels": LABELS, "predictions": ATTACKED, "classes": NAMES}
    with pytest.raises(ValueError, match=message):
        confusion_matrix(**(good | changes))


def test_attack_target_matrix_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="one of each per sample"):
        attack_target_matrix(LABELS, CLEAN[:-1], ATTACKED, NAMES)
