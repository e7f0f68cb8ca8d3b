"""Whether hard classes are hurt more: closed forms, SciPy, and repeated noise."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from classwise.metrics import hurt_more

ERRORS = np.linspace(0.05, 0.35, 10)


def outcomes(counts):
    """Correct before and after, and classes, from counts (both right, lost, gained, both wrong) of each class."""
    before, after, group = [], [], []
    for number, (right, lost, gained, wrong) in enumerate(counts):
        before += [True] * (right + lost) + [False] * (gained + wrong)
        after += [True] * right + [False] * lost + [True] * gained + [False] * wrong
        group += [number] * (right + lost + gained + wrong)
    return np.array(before), np.array(after), np.array(group)


def drawn(before, after, n, rng, stays=0.9):
    """Paired outcomes with these errors: an image that was wrong stays so with a chance."""
    group = np.repeat(np.arange(len(before)), n)
    wrong = rng.random(len(group)) < before[group]
    falls = (after - before * stays) / (1 - before)
    now = np.where(wrong, rng.random(len(group)) < stays, rng.random(len(group)) < falls[group])
    return ~wrong, ~now, group


def test_exact_where_halves_cannot_differ():
    """Classes whose images are all alike have the same errors in every half."""
    before, after, group = outcomes([(6, 0, 0, 0), (0, 0, 0, 6), (0, 6, 0, 0), (0, 0, 6, 0)])
    # Errors before 0, 1, 0, 1 and rises 0, 0, 1, -1: ranks (1.5, 3.5, 1.5, 3.5) and (2.5, 2.5, 4, 1), by hand -3 / sqrt(18).
    rng = np.random.default_rng(0)
    found = hurt_more(before, after, group, rng, splits=3, resamples=20)
    for ends in (found.correlation, found.slope):
        assert ends.low == pytest.approx(ends.value)
        assert ends.high == pytest.approx(ends.value)
    assert found.correlation.value == pytest.approx(-3 / np.sqrt(18))
    assert found.slope.value == pytest.approx(-1)  # covariance -1/4 over variance 1/4
    assert (found.classes, found.correlation.n) == (4, 24)


def test_without_a_difference_before_there_is_no_figure():
    """Nothing is wrong before, whatever was lost."""
    given = outcomes([(6, 0, 0, 0), (6, 0, 0, 0), (0, 6, 0, 0)])
    alike = hurt_more(*given, np.random.default_rng(0), splits=3, resamples=5)
    assert np.isnan(alike.correlation.value)
    assert np.isnan(alike.slope.value)
    assert (alike.correlation.low, alike.correlation.high) == (-1, 1)
    assert (alike.slope.low, alike.slope.high) == (-np.inf, np.inf)
    assert json.dumps(alike.to_dict()["correlation"]["value"]) == "null"


def test_with_many_images_it_is_the_rank_correlation_of_the_classes():
    rises = np.array([0.3, 0.02, 0.25, 0.1, 0.4, 0.15, 0.2, 0.05, 0.35, 0.45])
    rng = np.random.default_rng(3)
    before, after, group = drawn(ERRORS, ERRORS + rises, 40_000, rng)
    found = hurt_more(before, after, group, rng, splits=4, resamples=0)
    assert found.correlation.value == pytest.approx(spearmanr(ERRORS, rises)[0], abs=0.01)
    assert found.slope.value == pytest.approx(np.polyfit(ERRORS, rises, 1)[0], abs=0.03)
    assert np.isnan([found.correlation.low, found.slope.high]).all()


def test_the_whole_table_is_biased_downward_and_the_halves_are_not():
    """With the same rise in every class the rank correlation of the whole tables is negative on average."""
    whole, halves, slopes = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        before, after, group = drawn(ERRORS, ERRORS + 0.3, 30, rng)
        found = hurt_more(before, after, group, rng, splits=5, resamples=0)
        errors, later = (1 - np.bincount(group, each) / 30 for each in (before, after))
        whole.append(spearmanr(errors, later - errors)[0])
        halves.append(found.correlation.value)
        slopes.append(found.slope.value)
    spread = np.std(halves) / np.sqrt(300)  # standard error of the mean, 0.01
    assert np.mean(whole) < -10 * spread
    assert abs(np.mean(halves)) < 3 * spread
    assert abs(np.nanmedian(slopes)) < 0.1


@pytest.mark.slow
def test_without_an_effect_the_interval_covers_nought_in_95_of_100():
    covered = np.zeros(2)
    trials = 200
    for seed in range(trials):
        rng = np.random.default_rng(1000 + seed)
        found = hurt_more(*drawn(ERRORS, ERRORS + 0.3, 200, rng), rng, splits=5, resamples=200)
        covered += [each.low <= 0 <= each.high for each in (found.correlation, found.slope)]
    # 3 standard errors of a share of 0.95 in 200 are 0.046; too wide is no less wrong than too narrow, but harmless.
    assert (covered / trials >= 0.95 - 0.046).all()
    assert (covered / trials <= 0.995).all()


def test_an_effect_is_found_and_the_slope_covered():
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = hurt_more(*drawn(ERRORS, 2 * ERRORS + 0.1, 300, rng), rng, splits=5, resamples=200)
        assert 0 < found.correlation.low < found.correlation.value <= found.correlation.high <= 1
        covered += found.slope.low <= 1 <= found.slope.high
    assert covered >= 17  # of 20, 19 are expected


def test_the_same_seed_gives_the_same_and_names_of_classes_do_not_matter():
    before, after, group = drawn(ERRORS, ERRORS + 0.3, 25, np.random.default_rng(1))
    first, again = (hurt_more(before, after, group, np.random.default_rng(5), resamples=50) for _ in range(2))
    assert first == again
    assert first == hurt_more(before, after, 3 * group + 7, np.random.default_rng(5), resamples=50)
    assert first != hurt_more(before, after, group, np.random.default_rng(6), resamples=50)


def test_a_class_of_one_image_is_left_out():
    before, after, group = drawn(ERRORS, ERRORS + 0.3, 9, np.random.default_rng(1))
    more = [np.append(each, value) for each, value in ((before, True), (after, False), (group, 10))]
    found = [
        hurt_more(*each, np.random.default_rng(5), splits=4, resamples=10) for each in ((before, after, group), more)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"before": np.ones(6)}, "before has dtype float64"),
        ({"after": np.ones(5, bool)}, "after has shape"),
        ({"group": np.arange(6) / 2}, "one class number per image"),
        ({"group": np.array([0, 0, 0, 1, 1, 1])}, "there are 2 classes"),
        ({"group": np.array([0, 0, 1, 1, -2, -2])}, "one class number per image"),
        ({"splits": 0}, "splits 0"),
        ({"confidence": 1.0}, "confidence is 1.0"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, message):
    given = {"before": np.ones(6, bool), "after": np.ones(6, bool), "group": np.repeat([0, 1, 2], 2)} | changes
    with pytest.raises(ValueError, match=message):
        hurt_more(**given, rng=np.random.default_rng(0))


def test_hardness_may_be_another_outcome_than_the_one_that_changes() -> None:
    """Where all is wrong before, the other outcome tells which classes are hard."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(10), 200)
    hardness = rng.random(2000) >= np.linspace(0.05, 0.6, 10)[group]
    before = np.zeros(2000, bool)
    after = rng.random(2000) >= np.linspace(0.3, 0.9, 10)[group]
    assert np.isnan(hurt_more(before, after, group, rng, resamples=0).correlation.value)
    found = hurt_more(before, after, group, rng, hardness=hardness)
    assert found.correlation.value > 0.9  # the harder, the smaller the fall
    assert found.slope.low < 0.6 / 0.55 < found.slope.high
